//! A process whose memory follows it: it is ended here once the move is committed, and
//! until its memory is over, the one at the destination depends on this machine.

use std::path::Path;

use tokio::{
    io::AsyncWriteExt as _,
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};
use tracing::{error, info, warn};

use super::{Answer, Departure, GOING, Left, Side, failed, given_up, must_be};
use crate::{
    error::Error,
    migrate::{
        criu::{
            connections, end, gone,
            pages::{
                Progress,
                give::{Giver, Stages},
            },
        },
        errands::Errand,
        fate::settled,
        handover::{Follows, Leaving, Order},
        living::Living,
        machine::MoveState,
        pages_way::PagesWay,
        papers::Stage,
    },
    node,
};

/// Memory on its way over. When this is dropped, it goes no further.
pub(super) struct Giving {
    stages: Stages,
    /// All processes that have it, by their numbers here and in the images.
    pids: Vec<i32>,
    task: JoinHandle<Result<(), Error>>,
    progress: watch::Receiver<Progress>,
    errand: Errand,
}

impl Drop for Giving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Giving {
    /// Begins to give what the frozen processes `pids` have left `behind`, by `way`.
    pub(super) fn begin(
        images: &Path,
        pids: &[i32],
        (mut stages, giver): (Stages, Giver),
        PagesWay { way, errand }: PagesWay,
    ) -> Result<Self, Error> {
        let (gone, progress) = watch::channel(Progress::default());
        let numbers: Vec<(i32, i32)> = pids.iter().map(|&pid| (pid, pid)).collect();
        stages.frozen(images, &numbers)?;
        let task = tokio::spawn(async move { giver.give(way, &gone).await });
        Ok(Self { stages, pids: pids.to_owned(), task, progress, errand })
    }

    /// Waits until all is over.
    async fn end(&mut self) -> Result<(), Error> {
        while self.progress.changed().await.is_ok() {
            self.errand.tell(Follows::from(*self.progress.borrow_and_update()));
        }
        (&mut self.task).await.map_err(|why| failed(&why.to_string())).flatten()
    }
}

impl Departure {
    /// From `order`, which must be to yield, to where the processes are ended; `answer`
    /// lets the dump go on.
    pub(super) async fn yields(
        &mut self,
        side: &mut Side,
        order: Order,
        mut giving: Giving,
        answer: Answer,
    ) -> Result<Giving, Error> {
        must_be(Order::Yield, order)?;
        // If not, they run here already.
        giving.stages.must_be_kept()?;
        // Before home can commit the move: whoever finds this asks home.
        let processes = giving.pids.iter().filter_map(|&pid| Living::of(pid)).collect();
        self.folder.note(&self.papers.at_stage(Stage::Yielded(processes)))?;
        let order = match node::say(&mut side.to, &Leaving::Yielded).await {
            Ok(()) => node::hear(&mut side.from).await,
            Err(error) => Err(error),
        };
        match order {
            Ok(Order::End) => {}
            Ok(Order::Stay) => return Err(given_up()),
            other => {
                warn!(pid = self.pid(), ?other, "no order comes; asking home whose the process is");
                if settled(&*self.arbiter, &mut self.patience).await? != MoveState::Committed {
                    return Err(given_up());
                }
            }
        }
        if let Err(error) = gone::kill(&giving.pids) {
            // They must not run on here; the next one tries again.
            self.folder.leave();
            return Err(error);
        }
        giving.stages.ended();
        let _ = answer.send(Ok(()));
        // If nobody hears it, nobody takes the memory either.
        let _ = node::say(&mut side.to, &Leaving::Gone).await;
        Ok(giving)
    }

    /// Waits until their memory is over, or cannot be had any more.
    pub(super) async fn empties(
        self,
        mut side: Side,
        mut giving: Giving,
        dumping: JoinHandle<Result<Vec<i32>, Error>>,
    ) -> Left {
        let given = giving.end().await;
        // Without the giver, CRIU ends too; it holds their numbers.
        if let Ok(Err(error)) = dumping.await {
            self.warn(&error);
        }
        let pids = giving.pids.clone();
        let wait = move || gone::wait(Path::new("/proc"), &pids, GOING);
        if let Ok(Err(error)) = spawn_blocking(wait).await {
            self.warn(&error);
        }
        let said = match given {
            Ok(()) => {
                info!(pid = self.pid(), "all memory of a process that has left is over");
                Leaving::Emptied
            }
            Err(error) => {
                let pid = self.pid();
                error!(
                    pid,
                    error = error.one_line(),
                    "the memory of a process that has left is lost"
                );
                Leaving::Lost(error)
            }
        };
        let _ = node::say(&mut side.to, &said).await;
        let _ = side.to.shutdown().await;
        Left::Gone
    }

    /// What to do with `processes` that were frozen until home says whose they are, and
    /// may run by now: whoever held them has died.
    pub(super) async fn yielded(mut self, processes: &[Living]) -> Left {
        match settled(&*self.arbiter, &mut self.patience).await {
            Ok(MoveState::Committed) => {}
            Ok(_) => return Left::Stayed,
            Err(_) => {
                // The next redirectd hears whose they are.
                self.folder.leave();
                return Left::Stayed;
            }
        }
        let living = processes.iter().filter(|process| process.lives());
        let pids: Vec<i32> = living.map(|process| process.pid).collect();
        if pids.is_empty() {
            return Left::Gone;
        }
        let pid = self.pid();
        error!(pid, "a process that is another machine's ran on here; ended");
        let ended = spawn_blocking(move || {
            // Its peers are not to believe that it has said all.
            match connections::reset(&pids) {
                Ok(reset) => warn!(pid, reset, "reset the connections of a process that is lost"),
                Err(error) => warn!(pid, error = error.one_line(), "peers may not hear of its end"),
            }
            end(&pids).map_err(|why| failed(&format!("cannot run sh to end them: {why}")))?;
            gone::wait(Path::new("/proc"), &pids, GOING)
        });
        if let Err(error) = ended.await.map_err(|why| failed(&why.to_string())).flatten() {
            self.warn(&error);
        }
        Left::Gone
    }
}
