//! The side that a process leaves: has it frozen and written down, sends it, ends
//! it when it is revived elsewhere, and revives it here if it has to stay after all.

mod back;
mod dump;
mod lazily;
mod sending;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncWriteExt as _, WriteHalf, split},
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_blocking},
};
use tracing::{error, info, warn};

use self::{
    back::Back,
    dump::{Halt, Halted, dump},
    lazily::Giving,
    sending::{Answer, send},
};
use super::{
    criu::{
        gone, remnants,
        stream::send::Sender,
        workdir::{PLACES, WorkDir},
    },
    fate::{Arbiter, Patience, settled},
    handover::{Leaving, Order, Way},
    machine::MoveState,
    memory,
    pages_way::{Expected, PagesWay},
    papers::{Papers, Stage},
};
use crate::{
    error::{Error, Kind},
    node,
    process::Tree,
};

/// How long killed processes may take to go, until that is told.
const GOING: Duration = Duration::from_secs(5);

/// A process about to leave.
#[derive(Debug)]
pub struct Departure {
    papers: Papers,
    folder: WorkDir,
    /// The way that the memory follows by, if it does.
    pages: Option<Expected>,
    /// Another may have tried to revive it already.
    again: bool,
    arbiter: Arc<dyn Arbiter>,
    patience: Patience,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It is elsewhere.
    Gone,
    /// It is here.
    Stayed,
    /// It was ended, and is here again.
    Back,
}

impl Departure {
    /// Makes ready for the process of `papers` to leave, and for its memory to follow by
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
        let folder = WorkDir::create(&PLACES, &format!("leaving-{}", papers.passage.pid))?;
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

    /// Does what is left to do of one that was [found](Self::found).
    pub async fn resume(mut self) -> Left {
        // What another has half made of it has never run.
        if let Err(error) = remnants::clear(self.folder.path()) {
            self.warn(&error);
        }
        match &self.papers.stage {
            Stage::Ending if Tree::of(self.pid()).is_err() => self.in_doubt(None).await,
            Stage::Yielded(processes) => {
                let processes = processes.clone();
                self.yielded(&processes).await
            }
            _ => self.stays().await,
        }
    }

    /// Lets it go by `way`, as home orders.
    pub async fn leave(mut self, mut way: Way) -> Left {
        let pages = match self.pages.take() {
            None => None,
            Some(expected) => match expected.come().await {
                Ok(pages) => Some(pages),
                Err(error) => return self.refuses(way, true, error).await,
            },
        };
        let (halts, mut coming) = mpsc::channel(1);
        let (pid, images) = (self.pid(), self.folder.path().to_owned());
        let memory = self.papers.passage.memory;
        let dumping = spawn_blocking(move || dump(pid, &images, memory, &halts));
        let (from, to) = split(way);
        let mut side = Side { from, to, whole: true };
        let orders = self.write_down(&mut side, pages, &mut coming).await;
        // Whoever still waits for an answer is told no.
        drop(coming);
        let orders = match orders {
            Ok(Some(giving)) => return self.empties(side, giving, dumping).await,
            orders => orders.map(drop),
        };
        let ended = self.ended(orders, dumping).await;
        let Side { from, to, whole } = side;
        way = from.unsplit(to);
        match ended {
            Ok(()) => self.gone(way).await,
            Err(error) => self.refuses(way, whole, error).await,
        }
    }

    /// It stays, because of `error`, which is told if what was said up to here makes
    /// sense.
    async fn refuses(self, mut way: Way, whole: bool, error: Error) -> Left {
        self.warn(&error);
        if whole {
            let _ = node::say(&mut way, &Leaving::Stays(error)).await;
        }
        let _ = way.shutdown().await;
        self.stays().await
    }

    /// The process runs on here. A home that is elsewhere may not have heard it, and
    /// would hold its packets.
    async fn stays(mut self) -> Left {
        if self.papers.home.is_none() {
            return Left::Stayed;
        }
        if settled(&*self.arbiter, &mut self.patience).await.is_err() {
            self.folder.leave();
        }
        Left::Stayed
    }

    /// Up to the order to end it, which is answered; its memory goes by `pages` then, if
    /// it follows.
    async fn write_down(
        &mut self,
        side: &mut Side,
        pages: Option<PagesWay>,
        coming: &mut mpsc::Receiver<Halt>,
    ) -> Result<Option<Giving>, Error> {
        let (mut proceed, mut proceeds) = (None, None);
        if self.papers.passage.memory == memory::Way::Precopy {
            let (sender, receiver) = oneshot::channel();
            (proceed, proceeds) = (Some(sender), Some(receiver));
        } else {
            let Some(Halt { stage: Halted::Frozen, answer }) = coming.recv().await else {
                return Err(ended_early());
            };
            node::say(&mut side.to, &Leaving::Frozen).await?;
            must_be(Order::Proceed, node::hear(&mut side.from).await?)?;
            let _ = answer.send(Ok(()));
        }
        let from = &mut side.from;
        let mut order = Box::pin(async {
            if let Some(proceed) = proceed {
                must_be(Order::Proceed, node::hear(from).await?)?;
                let _ = proceed.send(());
            }
            node::hear(from).await
        });
        let sending = send(self.folder.path(), &mut side.to, proceeds, pages, coming);
        let (answer, giving) = tokio::select! {
            sent = sending => match sent {
                Ok(sent) => sent,
                Err(error) => {
                    // Home hears no more of the images, but a word.
                    let _ = Sender::give_up(&mut side.to).await;
                    return Err(error);
                }
            },
            order = &mut order => {
                side.whole = false;
                must_be(Order::Proceed, order?)?;
                return Err(given_up());
            }
        };
        let order = order.await?;
        if let Some(giving) = giving {
            return self.yields(side, order, giving, answer).await.map(Some);
        }
        must_be(Order::End, order)?;
        self.folder.note(&self.papers.at_stage(Stage::Ending))?;
        let _ = answer.send(Ok(()));
        Ok(None)
    }

    /// Waits for the end of the dump: of the processes, or of their being frozen.
    async fn ended(
        &self,
        orders: Result<(), Error>,
        dumping: JoinHandle<Result<Vec<i32>, Error>>,
    ) -> Result<(), Error> {
        let dumped = dumping.await.map_err(|why| failed(&why.to_string())).flatten();
        match (orders, dumped) {
            (Ok(()), Ok(pids)) => {
                let wait = move || gone::wait(Path::new("/proc"), &pids, GOING);
                if let Ok(Err(error)) = spawn_blocking(wait).await {
                    // What is left is a zombie: it does nothing any more.
                    self.warn(&error);
                }
                Ok(())
            }
            (Ok(()), Err(error)) => Err(error),
            // The dump has said why there were no images; or the way has.
            (Err(_), Err(error)) if error != given_up() => Err(error),
            (Err(error), _) => Err(error),
        }
    }

    /// They are ended here; what becomes of the images is home's to say.
    async fn gone(mut self, mut way: Way) -> Left {
        let order = match node::say(&mut way, &Leaving::Gone).await {
            Ok(()) => node::hear(&mut way).await,
            Err(error) => Err(error),
        };
        match order {
            Ok(Order::Forget) => Left::Gone,
            Ok(_) => self.in_doubt(Some(way)).await,
            Err(error) => {
                self.warn(&error);
                self.in_doubt(None).await
            }
        }
    }

    /// Finds out whose the process is, and revives it if it is this machine's.
    async fn in_doubt(&mut self, way: Option<Way>) -> Left {
        let revived = match self.revive().await {
            Err(error) => self.is_lost(error).await,
            revived => revived,
        };
        let (said, left) = match revived {
            Ok(true) => (Leaving::Back, Left::Back),
            Ok(false) => (Leaving::Gone, Left::Gone),
            Err(error) if self.patience.is_over() => {
                // The next redirectd hears whose it is.
                self.folder.leave();
                (Leaving::Lost(error), Left::Stayed)
            }
            Err(error) => {
                let kept = self.folder.stay();
                error!(
                    pid = self.pid(),
                    images = %kept.display(),
                    error = error.one_line(),
                    "a process that had to stay could not be revived"
                );
                let cure = format!("its images are in {}: `criu restore`", kept.display());
                (Leaving::Lost(error.cure(cure)), Left::Gone)
            }
        };
        if let Some(mut way) = way {
            let _ = node::say(&mut way, &said).await;
        }
        left
    }

    /// Revives the process, unless the move is committed: whether it did.
    async fn revive(&mut self) -> Result<bool, Error> {
        let arbiter = Arc::clone(&self.arbiter);
        let fate = self.patience.ask(|| Box::pin(async { arbiter.fate().await.map(Some) })).await?;
        if fate == MoveState::Committed {
            return Ok(false);
        }
        // What peers have sent since the abort may have come to a copy that is lost.
        let again = self.again && fate == MoveState::Aborted;
        let back = Back { pid: self.pid(), images: self.folder.path().to_owned(), again };
        let (mut patience, runtime) = (self.patience.clone(), Handle::current());
        let revived = spawn_blocking(move || {
            // Only now, for what has been held is delivered by it.
            back.revive(&mut || runtime.block_on(settled(&*arbiter, &mut patience)))
        });
        let revived = revived.await.map_err(|why| failed(&why.to_string())).flatten()?;
        if revived {
            info!(pid = self.pid(), "the process could not go, and runs here again");
        }
        Ok(revived)
    }

    fn pid(&self) -> i32 {
        self.papers.passage.pid
    }

    fn warn(&self, error: &Error) {
        let pid = self.pid();
        warn!(pid, error = error.one_line(), "a process has not left as it should");
    }
}

/// The two directions of the way to home.
struct Side {
    from: tokio::io::ReadHalf<Way>,
    to: WriteHalf<Way>,
    /// What has been sent makes sense up to here.
    whole: bool,
}

fn must_be(wanted: Order, order: Order) -> Result<(), Error> {
    match order {
        order if order == wanted => Ok(()),
        Order::Stay => Err(given_up()),
        order => Err(failed(&format!("home says {order:?} where {wanted:?} was due"))),
    }
}

fn given_up() -> Error {
    failed("the move was given up")
}

fn ended_early() -> Error {
    failed("CRIU ended before all was written")
}

fn failed(what: &str) -> Error {
    Error::new(Kind::Failed, what)
}
