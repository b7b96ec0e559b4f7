//! The side that a process comes to: takes it in, and lets it run when it is this
//! machine's.

mod lazily;

use std::{path::Path, sync::Arc};

use tokio::{
    io::{copy, sink},
    runtime::Handle,
    task::spawn_blocking,
};
use tracing::{info, warn};

use super::{
    criu::{
        Criu, Restore, RestoreStage, connections, datagrams, remnants, sockopts, stream,
        workdir::{PLACES, WorkDir},
    },
    fate::{Arbiter, Patience, decided},
    handover::{Belongings, Told, Way, Word},
    machine::MoveState,
    memory,
    pages_way::Expected,
    papers::{Papers, Stage},
};
use crate::{
    error::{Error, Kind},
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

    async fn receive(&mut self, way: &mut Way) -> Result<(Belongings, Option<Way>), Error> {
        let free = Offer::for_needs(&Needs::default(), None)?.free_memory;
        stream::receive::receive(way, self.folder.path(), free).await?;
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
        let mut ours = false;
        let (arbiter, mut patience) = (Arc::clone(&self.arbiter), self.patience.clone());
        let mut revived = self.restore(belongings, &mut || {
            runtime.block_on(the_word(&mut way, &*arbiter, &mut patience))?;
            ours = true;
            Ok(())
        });
        if ours && let Err(error) = &revived {
            // There is no other copy any more: its connections may be lost, the
            // process need not be.
            self.warn(error);
            self.again = true;
            revived = self.restore(belongings, &mut || Ok(()));
        }
        let told = self.finish(revived, ours, on_arrival);
        // Who does not hear it asks home's journal, which knows whose it is.
        let _ = runtime.block_on(node::say(&mut way, &told));
        matches!(told, Told::Running { .. })
    }

    /// Does what is left to do of one that was [found](Self::found): revives the
    /// process if it is this machine's, and does not run.
    pub fn resume(mut self, on_arrival: impl FnOnce(i32), runtime: &Handle) {
        let there = || Tree::of(self.papers.passage.pid).is_ok();
        let belongings = match self.papers.stage.clone() {
            Stage::Come(_) if self.papers.passage.memory == memory::Way::Lazy => {
                return self.is_lost();
            }
            Stage::Come(belongings) => belongings,
            Stage::Running if there() => return on_arrival(self.papers.passage.pid),
            // It has ended since; or home has noticed, and it stays where it was.
            _ => return,
        };
        let cleared = remnants::clear(self.folder.path());
        let revived = match runtime.block_on(decided(&*self.arbiter, &mut self.patience)) {
            Ok(MoveState::Committed) if there() => Ok(mend(&belongings)),
            Ok(MoveState::Committed) => {
                cleared.and_then(|()| self.restore(&belongings, &mut || Ok(())))
            }
            Ok(_) => return,
            Err(_) => return self.folder.leave(),
        };
        self.finish(revived, true, on_arrival);
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

    /// One try; `word` says whether it may run.
    fn restore(
        &self,
        belongings: &Belongings,
        word: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Vec<String>, Error> {
        let criu = Criu::new("criu");
        self.restore_by(|restore, on_stage| criu.restore(restore, on_stage), belongings, word)
    }

    /// One try by `revive`, with all that is to be done at CRIU's stages.
    fn restore_by(
        &self,
        revive: impl FnOnce(&Restore, &mut OnStage<'_>) -> Result<i32, Error>,
        belongings: &Belongings,
        word: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Vec<String>, Error> {
        let restore = Restore { images: self.folder.path().to_owned(), shell_job: false };
        let mut lost = Vec::new();
        revive(&restore, &mut |stage| match stage {
            RestoreStage::Revived { .. } => {
                datagrams::deliver(&belongings.datagrams)?;
                word()
            }
            RestoreStage::Resuming { .. } => {
                lost = self.resuming(belongings);
                Ok(())
            }
            RestoreStage::Begun | RestoreStage::Resumed { .. } => Ok(()),
        })?;
        Ok(lost)
    }

    /// It is about to run; gives what it has lost.
    fn resuming(&self, belongings: &Belongings) -> Vec<String> {
        let mut lost = mend(belongings);
        if self.again {
            lost.extend(connections::give_up(self.papers.passage.pid));
        }
        // It runs whether this is written or not.
        self.folder
            .note(&self.papers.at_stage(Stage::Running))
            .unwrap_or_else(|error| self.warn(&error));
        lost
    }

    /// Keeps the images of a process that is this machine's and cannot be revived.
    fn keep(&mut self, error: Error) -> Error {
        let folder = self.folder.stay();
        error.cure(format!("its images are kept in {}", Path::display(&folder)))
    }

    fn warn(&self, error: &Error) {
        let (pid, r#move) = (self.papers.passage.pid, self.papers.passage.r#move);
        warn!(pid, r#move, error = error.one_line(), "a process could not come here");
    }
}

/// Says that the process is there, and waits until it is this machine's: by home's
/// word, or, if that does not come, by what its journal says.
async fn the_word(
    way: &mut Way,
    arbiter: &dyn Arbiter,
    patience: &mut Patience,
) -> Result<(), Error> {
    let word = match node::say(way, &Told::Revived).await {
        Ok(()) => node::hear(way).await,
        Err(error) => Err(error),
    };
    let ours = match word {
        Ok(Word::Go) => true,
        Ok(Word::Never) => false,
        Err(error) => {
            warn!(
                error = error.one_line(),
                "the word to let a process run does not come; asking home"
            );
            decided(arbiter, patience).await? == MoveState::Committed
        }
    };
    if ours {
        return Ok(());
    }
    Err(Error::new(Kind::Failed, "the process stays where it was"))
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
