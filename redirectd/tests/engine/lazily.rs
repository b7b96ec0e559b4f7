//! A move in which the memory follows the process.

use std::{
    fs,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use redirectd::{
    error::Error,
    migrate::criu::{
        Dump, DumpStage, Restore, gone,
        images::{TREE, tree},
        lazy::LazyPages,
        pages::{
            Progress,
            give::{self, Stages},
        },
    },
};
use tokio::{
    io::{AsyncReadExt as _, BufReader, copy, copy_buf, split},
    net::UnixStream,
    runtime::{Builder, Runtime},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use xtask::lab::until;

use crate::{
    arrival::Arrival,
    home::Move,
    scene::{GOING, Place, Scene, as_error, frozen, mending},
    transfer::Transfer,
};

/// More than any program of these tests has.
const ALL: u64 = 1 << 40;
/// What the link takes in one piece.
const AT_ONCE: usize = 256 << 10;
/// How long memory may take to follow, on a busy machine.
const FOLLOWING: Duration = Duration::from_secs(60);

/// What is different in some tests.
#[derive(Clone, Copy, Default)]
pub(crate) struct How {
    /// The link holds back what home sends after so many bytes.
    pub(crate) held_after: Option<u64>,
    /// The move is given up when the host has revived the process.
    pub(crate) given_up: bool,
}

/// A process that runs where it has moved to, while its memory follows.
pub(crate) struct Following {
    /// The link between home and the host.
    link: JoinHandle<()>,
    release: Option<oneshot::Sender<()>>,
    progress: [watch::Receiver<Progress>; 2],
    /// For how long it did not run.
    pub(crate) frozen: Duration,
}

/// How it ended for both sides.
pub(crate) struct Ends {
    pub(crate) home: Result<(), Error>,
    pub(crate) host: Result<(), Error>,
}

impl Following {
    /// What home and the host know of the memory.
    pub(crate) fn progress(&self) -> [Progress; 2] {
        self.progress.each_ref().map(|side| *side.borrow())
    }

    /// Waits until so many bytes have come to the host.
    pub(crate) fn wait_for(&self, bytes: u64) -> Result<()> {
        let come = || (self.progress()[1].over >= bytes).then_some(());
        until(FOLLOWING, "memory has come", come)
    }

    /// Nothing is held back any more.
    pub(crate) fn release(&mut self) {
        let _ = self.release.take().map(|release| release.send(()));
    }

    /// The link is cut.
    pub(crate) fn cut(&self) {
        self.link.abort();
    }
}

/// What carries the memory.
struct Carriage {
    runtime: Runtime,
    stages: Stages,
    giving: JoinHandle<Result<(), Error>>,
    taking: Option<JoinHandle<Result<(), Error>>>,
    far: Option<UnixStream>,
    come: watch::Sender<Progress>,
}

impl Scene {
    /// Moves a process with all below it, and its memory after it. Calls `meanwhile`
    /// when it runs there; comes back when all has ended, and nothing is left of
    /// the process where it was.
    pub(crate) fn migrate_lazily(
        &self,
        pid: i32,
        from: &Place,
        to: &Place,
        how: How,
        meanwhile: impl FnOnce(&mut Following) -> Result<()>,
    ) -> Result<Ends> {
        let (there, here) = (self.folder("there")?, self.folder("here")?);
        let (images, arrived) = (there.path().to_owned(), here.path().to_owned());
        let moved = Move::begin(&self.daemon, &["four", "six"], from, to)?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (near, link, release, far) = link(&runtime, how)?;
        let (source, stages, giver) = give::leave()?;
        let (gone_over, home) = watch::channel(Progress::default());
        let (come, host) = watch::channel(Progress::default());
        let giving = runtime.spawn(async move { giver.give(near, &gone_over).await });
        let mut carriage = Carriage { runtime, stages, giving, taking: None, far: Some(far), come };
        let (runs, does_it) = mpsc::channel();
        let begun = Instant::now();
        let dumped = thread::scope(|scope| {
            let readdress = |image: &[u8]| {
                moved.readdress(image, Vec::new()).map(|(image, _)| image).map_err(as_error)
            };
            let mut transfer = Some(Transfer::begin(scope, &images, &arrived, readdress)?);
            let (carriage, moved) = (&mut carriage, &moved);
            let dumping = scope.spawn({
                let (images, arrived) = (images.clone(), arrived.clone());
                move || {
                    let dump = Dump { pid, images: images.clone(), shell_job: false };
                    let mut frozen_at = begun;
                    from.criu().dump_lazily(&dump, source, &mut |stage| match stage {
                        DumpStage::Running => Ok(()),
                        DumpStage::Frozen => {
                            frozen_at = Instant::now();
                            moved.park().map_err(as_error)
                        }
                        DumpStage::Written => {
                            let frozen = frozen(&images, from).map_err(as_error)?;
                            carriage.stages.frozen(&images, &frozen)?;
                            transfer.take().expect("all is written once").complete()?;
                            let restore = Restore { images: arrived.clone(), shell_job: false };
                            let lazy = carriage.start(to, &restore)?;
                            let (criu, mend) = (to.criu(), mending(&frozen, to)?);
                            let arrival = Arrival::by(
                                move |stages| criu.restore_lazily(&restore, &lazy, stages),
                                mend,
                            )?;
                            if how.given_up {
                                return Err(as_error(anyhow::anyhow!("it is given up")));
                            }
                            moved.commit().map_err(as_error)?;
                            gone::kill(&frozen.iter().map(|(_, pid)| *pid).collect::<Vec<_>>())?;
                            carriage.stages.ended();
                            arrival.complete()?;
                            let _ = runs.send(frozen_at.elapsed());
                            Ok(())
                        }
                    })
                }
            });
            let seen = watch_it(&does_it, link, release, [home, host], meanwhile);
            dumping.join().expect("the dump does not panic").map_err(anyhow::Error::from).and(seen)
        });
        if let Err(error) = dumped {
            // Fails if it is committed, and a test has found something since.
            let _ = moved.abort(&error.to_string());
            return Err(error);
        }
        let tree = tree::processes(&fs::read(images.join(TREE))?)?;
        let pids: Vec<i32> = tree.iter().map(|process| process.pid).collect();
        gone::wait(&from.machine.proc(), &pids, GOING)?;
        carriage.ends()
    }
}

/// Calls `meanwhile` when the process runs, if it comes to that.
fn watch_it(
    runs: &Receiver<Duration>,
    link: JoinHandle<()>,
    release: oneshot::Sender<()>,
    progress: [watch::Receiver<Progress>; 2],
    meanwhile: impl FnOnce(&mut Following) -> Result<()>,
) -> Result<()> {
    let Ok(frozen) = runs.recv() else { return Ok(()) };
    let mut following = Following { link, release: Some(release), progress, frozen };
    let seen = meanwhile(&mut following);
    following.release();
    seen
}

impl Carriage {
    /// Has CRIU on the host ready for processes without memory.
    fn start(&mut self, to: &Place, restore: &Restore) -> Result<Arc<LazyPages>, Error> {
        let (lazy, taker) = LazyPages::start(&to.criu(), &restore.images)?;
        let lazy = Arc::new(lazy);
        let far = self.far.take().expect("it starts once");
        let (come, serving) = (self.come.clone(), Arc::clone(&lazy));
        let taking = async move { taker.take(far, &serving, &come).await };
        self.taking = Some(self.runtime.spawn(taking));
        Ok(lazy)
    }

    /// Waits until both sides have ended.
    fn ends(self) -> Result<Ends> {
        let taking = self.taking.context("the host has taken something")?;
        let both = async { tokio::join!(self.giving, taking) };
        let (home, host) = self.runtime.block_on(async { timeout(FOLLOWING, both).await })?;
        Ok(Ends { home: home?, host: host? })
    }
}

type Link = (UnixStream, JoinHandle<()>, oneshot::Sender<()>, UnixStream);

/// Two ends of a link, that which runs it, and what lets go what it holds back.
fn link(runtime: &Runtime, how: How) -> Result<Link> {
    let _inside = runtime.enter();
    let ((near, home), (far, host)) = (UnixStream::pair()?, UnixStream::pair()?);
    let (release, released) = oneshot::channel::<()>();
    let running = runtime.spawn(async move {
        let (from_home, mut to_home) = split(home);
        let (mut from_host, mut to_host) = split(host);
        let down = async {
            let from_home = BufReader::with_capacity(AT_ONCE, from_home);
            let mut first = from_home.take(how.held_after.unwrap_or(ALL));
            let _ = copy_buf(&mut first, &mut to_host).await;
            let _ = released.await;
            let _ = copy_buf(&mut first.into_inner(), &mut to_host).await;
        };
        let up = async {
            let _ = copy(&mut from_host, &mut to_home).await;
        };
        // When one side is gone, the other hears of it.
        tokio::select! { () = down => {}, () = up => {} }
    });
    Ok((near, running, release, far))
}
