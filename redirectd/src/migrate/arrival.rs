//! The side that a process comes to: takes it in, and lets it run when it is this
//! machine's.

mod home;
mod lazily;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use tokio::{
    io::{copy, sink},
    runtime::Handle,
    task::spawn_blocking,
};
use tracing::{info, warn};

use self::home::{Asked, Home, Leading, Ours};
use super::{
    criu::{
        Criu, Restore, RestoreStage, connections, datagrams, lost, remnants, sockopts, stream,
        workdir::{PLACES, WorkDir},
    },
    fate::{Arbiter, Patience, decided, delivered},
    handover::{Belongings, Told, Way, Word},
    machine::MoveState,
    memory,
    pages_way::{Expected, PagesWay},
    papers::{Papers, Stage},
};
use crate::{
    error::Error,
    node,
    process::{Needs, Offer, Tree},
};

/// What is done at each stage of a restore.
type OnStage<'a> = dyn FnMut(RestoreStage) -> Result<(), Error> + 'a;

/// A process on its way in.
#[derive(Debug)]
pub struct Arrival {
    papers: Papers,
    folder: WorkDir,
    /// The way that the memory comes by, if it follows.
    pages: Option<Expected>,
    /// A copy of it was revived here before, and is gone.
    again: bool,
    arbiter: Arc<dyn Arbiter>,
    patience: Patience,
}

impl Arrival {
    /// Makes ready for the process of `papers` to come, and for its memory to follow by
    /// `pages`, if it does; `arbiter` knows what becomes of the move.
    ///
    /// # Errors
    /// There is no room for its images.
    pub fn new(
        papers: Papers,
        pages: Option<Expected>,
        arbiter: Arc<dyn Arbiter>,
        patience: Patience,
    ) -> Result<Self, Error> {
        let folder = WorkDir::create(&PLACES, &format!("arriving-{}", papers.passage.pid))?;
        folder.note(&papers)?;
        Ok(Self { papers, folder, pages, again: false, arbiter, patience })
    }

    /// What another has left of one, with its images in `folder`.
    #[must_use]
    pub fn found(
        papers: Papers,
        folder: WorkDir,
        arbiter: Arc<dyn Arbiter>,
        patience: Patience,
    ) -> Self {
        Self { papers, folder, pages: None, again: true, arbiter, patience }
    }

    /// Takes it in by `way`; `on_arrival` is called once it runs. Comes back when nothing
    /// is left to do: whether it runs here.
    pub async fn take_in(
        mut self,
        mut way: Way,
        on_arrival: impl FnOnce(i32) + Send + 'static,
    ) -> bool {
        match self.receive(&mut way).await {
            Ok((belongings, pages)) => {
                // Of a way that is cut, the next word tells.
                let _ = node::say(&mut way, &Told::Received).await;
                let runtime = Handle::current();
                // Goes on if this is dropped; then the way is cut, and home is asked.
                let revive = move || match pages {
                    None => self.revive(way, &belongings, on_arrival, &runtime),
                    Some(pages) => {
                        self.revive_lazily((way, pages), &belongings, on_arrival, &runtime)
                    }
                };
                spawn_blocking(revive).await.unwrap_or(false)
            }
            Err(error) => {
                self.warn(&error);
                let _ = node::say(&mut way, &Told::Failed(error)).await;
                // What home still sends would be answered by a reset, on which it
                // would not hear why.
                let _ = copy(&mut way, &mut sink()).await;
                false
            }
        }
    }

    async fn receive(&mut self, way: &mut Way) -> Result<(Belongings, Option<PagesWay>), Error> {
        let free = Offer::for_needs(&Needs::default(), None)?.free_memory;
        let room = free.min(self.folder.room());
        stream::receive::receive(way, self.folder.path(), room).await?;
        let belongings: Belongings = node::hear(way).await?;
        self.folder.note(&self.papers.at_stage(Stage::Come(belongings.clone())))?;
        let pages = match self.pages.take() {
            None => None,
            Some(expected) => Some(expected.come().await?),
        };
        Ok((belongings, pages))
    }

    /// Revives the process, waits until it is this machine's, and lets it run.
    fn revive(
        mut self,
        mut way: Way,
        belongings: &Belongings,
        on_arrival: impl FnOnce(i32),
        runtime: &Handle,
    ) -> bool {
        let arbiter = Some((Arc::clone(&self.arbiter), self.patience.clone()));
        let mut home = Leading::new(&mut way, arbiter, runtime);
        let mut revived = self.restore(belongings, &mut home);
        let ours = home.ours == Ours::Yes;
        if ours && let Err(error) = &revived {
            // There is no other copy any more.
            self.warn(error);
            self.again = true;
            revived = self.restore(belongings, &mut self.asked(runtime));
        }
        let told = self.finish(revived, ours, on_arrival);
        // Who does not hear it asks home's journal, which knows whose it is.
        let _ = runtime.block_on(node::say(&mut way, &told));
        if ours {
            runtime.block_on(self.be_heard(&mut way));
        }
        matches!(told, Told::Running { .. })
    }

    /// Waits until home has delivered what it held.
    async fn be_heard(&mut self, way: &mut Way) {
        if !matches!(node::hear(way).await, Ok(Word::Heard)) {
            delivered(&*self.arbiter, &mut self.patience).await;
        }
    }

    fn asked<'a>(&'a self, runtime: &'a Handle) -> Asked<'a> {
        Asked { arbiter: &*self.arbiter, patience: &self.patience, runtime }
    }

    /// Does what is left to do of one that was [found](Self::found): revives the
    /// process if it is this machine's, and does not run.
    pub fn resume(mut self, on_arrival: impl FnOnce(i32), runtime: &Handle) {
        let there = || Tree::of(self.papers.passage.pid).is_ok();
        match self.papers.stage.clone() {
            Stage::Come(_) if self.papers.passage.memory == memory::Way::Lazy => self.lose(runtime),
            Stage::Come(belongings) => {
                if !self.revive_again(&belongings, on_arrival, runtime) {
                    return;
                }
            }
            Stage::Running if there() => on_arrival(self.papers.passage.pid),
            // It has ended since.
            Stage::Running => {}
            // Home has noticed, and it stays where it was.
            _ => return,
        }
        // The one before may not have had the time to. Peers of one that has ended are told so.
        runtime.block_on(delivered(&*self.arbiter, &mut self.patience));
    }

    /// Revives a process that has come and does not run yet, if it is this machine's; whether
    /// it is.
    fn revive_again(
        &mut self,
        belongings: &Belongings,
        on_arrival: impl FnOnce(i32),
        runtime: &Handle,
    ) -> bool {
        let cleared = remnants::clear(self.folder.path());
        // What is there now is done, and not half made.
        let there = Tree::of(self.papers.passage.pid).is_ok();
        let revived = match runtime.block_on(decided(&*self.arbiter, &mut self.patience)) {
            Ok(MoveState::Committed) if there => Ok(mend(belongings)),
            Ok(MoveState::Committed) => {
                cleared.and_then(|()| self.restore(belongings, &mut self.asked(runtime)))
            }
            Ok(_) => return false,
            Err(_) => {
                self.folder.leave();
                return false;
            }
        };
        self.finish(revived, true, on_arrival);
        true
    }

    /// What is to be told of the last try. `ours`: it is this machine's, which nothing
    /// changes any more.
    fn finish(
        &mut self,
        revived: Result<Vec<String>, Error>,
        ours: bool,
        on_arrival: impl FnOnce(i32),
    ) -> Told {
        let (pid, from) = (self.papers.passage.pid, self.papers.passage.r#move);
        match revived {
            Ok(lost) => {
                on_arrival(pid);
                info!(pid, r#move = from, ?lost, "a process has come, and runs here");
                Told::Running { lost }
            }
            Err(error) => {
                self.warn(&error);
                if !ours && self.patience.is_over() {
                    // The next redirectd hears whose it is.
                    self.folder.leave();
                }
                Told::Failed(if ours { self.keep(error) } else { error })
            }
        }
    }

    /// One try; `home` says whether it may run.
    fn restore(&self, belongings: &Belongings, home: &mut dyn Home) -> Result<Vec<String>, Error> {
        let criu = Criu::new("criu");
        self.restore_by(|restore, on_stage| criu.restore(restore, on_stage), belongings, home)
    }

    /// One try by `revive`, with all that is to be done at CRIU's stages.
    fn restore_by(
        &self,
        revive: impl FnOnce(&Restore, &mut OnStage<'_>) -> Result<i32, Error>,
        belongings: &Belongings,
        home: &mut dyn Home,
    ) -> Result<Vec<String>, Error> {
        let restore = Restore { images: self.folder.path().to_owned(), shell_job: false };
        let mut lost = Vec::new();
        revive(&restore, &mut |stage| match stage {
            RestoreStage::Revived { .. } => {
                datagrams::deliver(&belongings.datagrams)?;
                home.word()
            }
            RestoreStage::Resuming { .. } => {
                lost = self.resuming(belongings, home);
                Ok(())
            }
            RestoreStage::Begun | RestoreStage::Resumed { .. } => Ok(()),
        })?;
        Ok(lost)
    }

    /// It is about to run; gives what it has lost.
    fn resuming(&self, belongings: &Belongings, home: &mut dyn Home) -> Vec<String> {
        let heard = home.standing();
        let mut lost = mend(belongings);
        if self.again && heard {
            lost.extend(connections::give_up(self.papers.passage.pid));
        }
        // It runs whether this is written or not.
        self.folder
            .note(&self.papers.at_stage(Stage::Running))
            .unwrap_or_else(|error| self.warn(&error));
        lost
    }

    /// Keeps the images of a process that is this machine's and cannot be revived: it is lost.
    fn keep(&mut self, error: Error) -> Error {
        self.tell_peers();
        let folder = self.folder.stay();
        error.cure(format!("its images are kept in {}", Path::display(&folder)))
    }

    /// Nobody has the process any more.
    fn tell_peers(&self) {
        lost::tell_peers(self.papers.passage.pid, self.papers.passage.r#move, self.folder.path());
    }

    fn warn(&self, error: &Error) {
        let (pid, r#move) = (self.papers.passage.pid, self.papers.passage.r#move);
        warn!(pid, r#move, error = error.one_line(), "a process could not come here");
    }
}

/// Sets the options of sockets that CRIU has forgotten. From here on the process is
/// this machine's, so that what is lost is told and no more.
fn mend(belongings: &Belongings) -> Vec<String> {
    let mut lost = Vec::new();
    for (pid, kept) in &belongings.options {
        match sockopts::mend(*pid, kept) {
            Ok(options) => {
                lost.extend(options.iter().map(|option| format!("process {pid}: {option}")));
            }
            Err(error) => lost.push(error.one_line()),
        }
    }
    lost
}
