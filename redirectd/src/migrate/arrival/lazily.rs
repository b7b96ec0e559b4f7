//! A process whose memory follows it: it runs here first, and is ended if its memory
//! does not come.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::watch,
    task::{JoinError, JoinHandle},
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use super::{
    Arrival,
    home::{Leading, Ours},
};
use crate::{
    error::{Error, Kind},
    migrate::{
        criu::{Criu, lazy::LazyPages, pages::Progress, remnants},
        errands::Errand,
        fate::decided,
        handover::{Belongings, Follows, Told, Way},
        machine::MoveState,
        pages_way::PagesWay,
    },
    node,
};

/// How often home is told how much has come.
const TELLING: Duration = Duration::from_millis(250);

/// Memory on its way here.
struct Taking {
    lazy: Arc<LazyPages>,
    task: JoinHandle<Result<(), Error>>,
    progress: watch::Receiver<Progress>,
    errand: Errand,
}

impl Arrival {
    /// Revives the process, waits for home's word, lets it run, and waits until all of its
    /// memory is here. Whether it runs here.
    ///
    /// Without that word it never runs: whoever would give it brings the memory, too.
    pub(super) fn revive_lazily(
        mut self,
        (mut way, pages): (Way, PagesWay),
        belongings: &Belongings,
        on_arrival: impl FnOnce(i32),
        runtime: &Handle,
    ) -> bool {
        let (pid, r#move) = (self.papers.passage.pid, self.papers.passage.r#move);
        let criu = Criu::new("criu");
        let began = LazyPages::start(&criu, self.folder.path()).map(|(lazy, taker)| {
            let (come, progress) = watch::channel(Progress::default());
            let lazy = Arc::new(lazy);
            let its = Arc::clone(&lazy);
            let PagesWay { way: pages, errand } = pages;
            let task = runtime.spawn(async move { taker.take(pages, &its, &come).await });
            Taking { lazy, task, progress, errand }
        });
        let mut home = Leading::new(&mut way, None, runtime);
        let revived = began.and_then(|mut taking| {
            let lazy = &taking.lazy;
            let restored = self.restore_by(
                |restore, on_stage| criu.restore_lazily(restore, lazy, on_stage),
                belongings,
                &mut home,
            );
            match restored {
                Ok(lost) => Ok((taking, lost)),
                Err(error) => Err(runtime.block_on(taking.end()).unwrap_or(error)),
            }
        });
        let (mut taking, lost) = match revived {
            Ok(revived) => revived,
            Err(error) => {
                let ours = home.ours;
                self.warn(&error);
                let _ = runtime.block_on(node::say(&mut way, &Told::Failed(error)));
                drop(way);
                self.does_not_run(ours, runtime);
                return false;
            }
        };
        on_arrival(pid);
        info!(pid, r#move, ?lost, "a process has come and runs here; its memory follows");
        let followed = runtime.block_on(async {
            // Who does not hear it has died, and the memory does not come.
            let _ = node::say(&mut way, &Told::Running { lost }).await;
            taking.follow(&mut way).await
        });
        let told = match followed {
            Ok(follows) => {
                info!(pid, r#move, bytes = follows.over, "all memory of a process is here");
                Told::Whole(follows)
            }
            Err(error) => {
                error!(
                    pid,
                    r#move,
                    error = error.one_line(),
                    "a process was ended: its memory does not come"
                );
                Told::Failed(error)
            }
        };
        let _ = runtime.block_on(node::say(&mut way, &told));
        // Only now is all of it told.
        drop(taking);
        give_back();
        matches!(told, Told::Whole(_))
    }

    /// Clears what is left of one whose memory cannot come any more.
    pub(super) fn lose(&mut self, runtime: &Handle) {
        let (pid, r#move) = (self.papers.passage.pid, self.papers.passage.r#move);
        warn!(pid, r#move, "a process that was coming does not: its memory is elsewhere");
        if let Err(error) = remnants::clear(self.folder.path()) {
            self.warn(&error);
        }
        self.does_not_run(Ours::Perhaps, runtime);
    }

    /// Nothing is left of it here: if it was this machine's, nobody has it.
    fn does_not_run(&mut self, ours: Ours, runtime: &Handle) {
        match ours {
            Ours::No => {}
            Ours::Yes => self.tell_peers(),
            Ours::Perhaps => match runtime.block_on(decided(&*self.arbiter, &mut self.patience)) {
                Ok(MoveState::Committed) => self.tell_peers(),
                Ok(_) => {}
                // The next redirectd hears whose it was.
                Err(_) => self.folder.leave(),
            },
        }
    }
}

impl Taking {
    /// Waits until all memory is here, and tells home by `way` how far it is.
    async fn follow(&mut self, way: &mut Way) -> Result<Follows, Error> {
        let mut ticks = interval(TELLING);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        let taken = loop {
            tokio::select! {
                taken = &mut self.task => break taken,
                _ = ticks.tick() => {
                    let now = Follows::from(*self.progress.borrow());
                    if told != Some(now) {
                        told = Some(now);
                        self.errand.tell(now);
                        // If home does not hear it, it brings no memory either.
                        let _ = node::say(way, &Told::Follows(now)).await;
                    }
                }
            }
        };
        taken.map_err(|why| died(&why)).flatten()?;
        Ok(Follows::from(*self.progress.borrow()))
    }

    /// Takes no more; why none came, if that is known.
    async fn end(&mut self) -> Option<Error> {
        if !self.task.is_finished() {
            self.task.abort();
        }
        (&mut self.task).await.ok()?.err()
    }
}

/// Gives the memory that pages have lain in back to the kernel. The C library would keep
/// it, and each program that this one starts would take longer to start: its page tables
/// are copied for that, while the next process that comes is frozen.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes nothing but what of the free memory is the kernel's.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn died(why: &JoinError) -> Error {
    Error::new(Kind::Failed, format!("the memory of the process does not come: {why}"))
}
