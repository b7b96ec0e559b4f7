//! From the daemon's arguments to a running daemon, and to its orderly end.

mod ending;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use axum::Router;
use clap::Parser;
use nix::fcntl::{Flock, FlockArg};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{self, SignalKind},
    sync::watch,
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tracing::{error, info, warn};

use self::ending::see_through;
use crate::{
    api::{
        access::{Access, Caller},
        client::Client,
        events::Happening,
        server,
        socket::Socket,
    },
    conduct::eviction::Evictions,
    config::Config,
    daemon::{self, Daemon, Handle, Parts},
    dataplane::Dataplane,
    error::{Error, Kind},
    log::Log,
    metrics,
    migrate::{
        errands::Errands, guests::Guests, journal::FileJournal, service::Migration,
        takeover::Takeover,
    },
    node::{self, service::Services},
    state::FileStore,
};

/// How long open requests may take to end when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// Keeps moved processes reachable at their home address.
///
/// Runs on the home node, loads the programs that redirect packets, and serves
/// the `redirect` command. Programs and flows stay in the kernel when it stops.
#[derive(Debug, Clone, Parser)]
#[command(name = "redirectd", version)]
pub struct Options {
    /// The main configuration file; rules.d/*.yaml beside it belongs to it
    #[arg(long, value_name = "FILE", default_value = "/etc/redirectd/redirectd.yaml")]
    pub config: PathBuf,

    /// Where redirects made by `redirect add` are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/redirectd")]
    pub state_dir: PathBuf,

    /// Where programs and tables are pinned, on a BPF file system
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/redirectd")]
    pub pin_dir: PathBuf,

    /// Listen here instead of where the configuration says
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// What to log: a level, or a filter such as `redirectd=debug,hyper=warn`
    #[arg(long, value_name = "FILTER", env = "REDIRECTD_LOG", default_value = "info")]
    pub log: String,

    /// Push out an XDP program that is in the way on an interface
    #[arg(long)]
    pub replace: bool,

    /// Attach by clsact even where the kernel has TCX, which is since 6.6
    #[arg(long)]
    pub clsact: bool,

    /// Take everything off this machine and end: programs, tables, flows, and
    /// the kernel settings; configuration and state stay
    #[arg(long)]
    pub uninstall: bool,
}

/// What the daemon is asked from outside while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Read the configuration anew (SIGHUP).
    Reload,
    /// Stop (SIGTERM, SIGINT).
    Stop,
}

/// Source of [`Signal`]s; the process's own, or a test's.
pub trait Signals: Send {
    /// The next one.
    fn next(&mut self) -> impl Future<Output = Signal> + Send;
}

/// The signals of this process.
#[derive(Debug)]
pub struct ProcessSignals {
    hang_up: unix::Signal,
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl ProcessSignals {
    /// Takes SIGHUP, SIGTERM and SIGINT over from their default action.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn take() -> io::Result<Self> {
        Ok(Self {
            hang_up: unix::signal(SignalKind::hangup())?,
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }
}

impl Signals for ProcessSignals {
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
        }
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// It cannot start, or its thread dies.
pub async fn run(
    options: &Options,
    config: Config,
    dataplane: Box<dyn Dataplane>,
    (log, _lock): (Log, Lock),
    mut signals: impl Signals,
) -> Result<(), Error> {
    let access = Access::new(config.api.group.as_deref())?;
    let socket = match Socket::inherited()? {
        Some(socket) => socket,
        None => {
            Socket::bind(options.socket.as_ref().unwrap_or(&config.api.socket), access.group())?
        }
    };
    let metrics = match config.metrics {
        Some(address) => Some(metrics::listen(address).await?),
        None => None,
    };
    let nodes = node::Opened::read(&options.state_dir, config.node_listen)?;
    let daemon = Daemon::start(Parts {
        dataplane,
        store: Box::new(FileStore::new(&options.state_dir)),
        journal: Box::new(FileJournal::new(&options.state_dir)),
        config,
        config_path: options.config.clone(),
        replace: options.replace,
    })?;
    let (handle, thread) = daemon::spawn(daemon)?;

    let (stop, stopping) = watch::channel(false);
    let path = socket.path().map_err(|e| Error::new(Kind::Failed, e.to_string()))?;
    let guests = Guests::of(&options.state_dir);
    let errands = Errands::default();
    let until = (errands.clone(), stopping.clone());
    let migration = Migration::new(handle.weak(), guests.clone(), &options.state_dir, until);
    let takeover =
        Takeover::new(handle.weak(), guests.clone(), options.state_dir.clone(), stopping.clone());
    let evictions = Evictions::new(Client::new(path), options.state_dir.clone(), errands.clone());
    let services = Services::default().with(migration).with(evictions);
    let nodes = nodes.serve(services, stopping.clone())?;
    tokio::spawn(takeover.run());
    let listener = socket.listener().map_err(|e| Error::new(Kind::Failed, e.to_string()))?;
    let router = server::router(handle.clone(), (nodes.clone(), guests), access, log);
    let api = serve_api(listener, router, stopping.clone());
    let router = metrics::router(handle.clone(), nodes);
    let metrics = metrics.map(|listener| serve_metrics(listener, router, stopping));

    notify(&[sd_notify::NotifyState::Ready]);
    info!("ready");
    let result = attend(&handle, &mut signals).await;
    notify(&[sd_notify::NotifyState::Stopping]);
    errands.stop();
    // Should its thread be gone, the next daemon does it.
    let give_up = |daemon: &mut Daemon| {
        daemon.give_up_moves();
        Ok(())
    };
    let _ = handle.call(give_up).await;
    if result.is_ok() {
        see_through(&errands, &handle, &mut signals).await;
    }
    handle.events().publish(Happening::Stopping);
    let _ = stop.send(true);
    for server in [Some(api), metrics].into_iter().flatten() {
        if timeout(FAREWELL, server).await.is_err() {
            warn!("a request was still open; cut");
        }
    }
    drop(handle);
    drop(socket);
    let _ = thread.join();
    info!("stopped; programs, redirects and flows stay in the kernel and go on");
    result
}

/// Does what comes by itself and by signals, until told to stop.
async fn attend(handle: &Handle, signals: &mut impl Signals) -> Result<(), Error> {
    let mut ticks = ticks();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => reload(handle).await,
                Signal::Stop => return Ok(()),
            },
            _ = ticks.tick() => tick(handle).await?,
        }
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(daemon::TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Has the daemon do what comes by itself.
async fn tick(handle: &Handle) -> Result<(), Error> {
    // Answered by the thread that owns the dataplane: what the watchdog hears is that
    // this thread lives.
    let ticked = handle.call(|daemon| {
        daemon.tick();
        Ok(())
    });
    ticked.await.inspect_err(|error| {
        error!(error = error.one_line(), "giving up; the packet path goes on by itself");
    })?;
    if sd_notify::watchdog_enabled().is_some() {
        notify(&[sd_notify::NotifyState::Watchdog]);
    }
    Ok(())
}

async fn reload(handle: &Handle) {
    let mut states = vec![sd_notify::NotifyState::Reloading];
    states.extend(sd_notify::NotifyState::monotonic_usec_now());
    notify(&states);
    // Refused or done, the daemon has logged it and goes on.
    let _ = handle.call(|daemon| daemon.reload(false)).await;
    notify(&[sd_notify::NotifyState::Ready]);
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told");
    }
}

fn serve_api(
    listener: UnixListener,
    router: Router,
    stopping: watch::Receiver<bool>,
) -> JoinHandle<io::Result<()>> {
    let service = router.into_make_service_with_connect_info::<Caller>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stopped(stopping));
    tokio::spawn(server.into_future())
}

fn serve_metrics(
    listener: TcpListener,
    router: Router,
    stopping: watch::Receiver<bool>,
) -> JoinHandle<io::Result<()>> {
    tokio::spawn(
        axum::serve(listener, router).with_graceful_shutdown(stopped(stopping)).into_future(),
    )
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = pin!(stopping.wait_for(|&stop| stop)).await;
}

/// The right to be the one daemon of a state directory: two would undo each
/// other's work. Lasts until dropped, or until the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes it for `state_dir`, which is made if it is not there.
    ///
    /// # Errors
    /// Another daemon has it, or the directory cannot be used.
    pub fn take(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join("lock");
        let file = fs::create_dir_all(state_dir).and_then(|()| File::create(&path));
        let file = file.map_err(|error| {
            Error::new(Kind::Failed, format!("cannot make {}: {error}", path.display()))
                .cure("name another --state-dir, or run redirectd as root")
        })?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            let what = format!("another redirectd runs on {}", state_dir.display());
            Error::new(Kind::Conflict, what)
                .cure("stop it (`systemctl stop redirectd`), or name another --state-dir")
        })?;
        Ok(Self { _file: file })
    }
}
