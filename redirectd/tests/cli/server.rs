//! A daemon in this process, and the command line beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use redirectd::{
    config,
    dataplane::fake::Fake,
    error::Error,
    log::Log,
    run::{self, Lock, Options, Signal, Signals},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// What a test's daemon is configured with unless the test says otherwise. The
/// addresses are of documentation prefixes and on no machine.
pub(crate) const CONFIG: &str = "\
version: 1
home: [192.0.2.1, \"2001:db8::1\"]
hosts:
  c: [192.0.2.3, \"2001:db8::3\"]
  d: 192.0.2.4
interfaces:
  eth7: { attach: auto }
";

/// The log belongs to the process, and so to all daemons of this one.
static LOG: OnceLock<Log> = OnceLock::new();

/// A daemon on a thread of this process; gone when dropped.
pub(crate) struct Server {
    /// Its packet path.
    pub(crate) fake: Fake,
    folder: TempDir,
    running: Option<Running>,
}

struct Running {
    signals: mpsc::UnboundedSender<Signal>,
    thread: JoinHandle<Result<(), Error>>,
}

struct TestSignals(mpsc::UnboundedReceiver<Signal>);

impl Signals for TestSignals {
    async fn next(&mut self) -> Signal {
        self.0.recv().await.unwrap_or(Signal::Stop)
    }
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Server {
    /// A daemon configured with [`CONFIG`].
    pub(crate) fn start() -> Self {
        Self::start_with(CONFIG)
    }

    /// A daemon configured with `config`.
    pub(crate) fn start_with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("redirectd.yaml"), config).unwrap();
        let fake = Fake::new(64, &["eth7", "eth8"]);
        let mut server = Self { fake, folder, running: None };
        server.run().unwrap();
        server
    }

    /// Starts the daemon; an error if it does not come to listen.
    pub(crate) fn run(&mut self) -> Result<(), Error> {
        let (options, fake) = (self.options(), self.fake.clone());
        let (signals, received) = mpsc::unbounded_channel();
        let thread = thread::spawn(move || daemon(&options, fake, TestSignals(received)));
        let socket = self.socket();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !thread.is_finished() && Instant::now() < deadline {
            // The socket is there before the daemon is; it answers when it is ready.
            if socket.exists() && self.redirect(&["status"]).code == 0 {
                self.running = Some(Running { signals, thread });
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        drop(signals);
        match thread.join().unwrap() {
            Err(error) => Err(error),
            Ok(()) => panic!("the daemon did not come to listen"),
        }
    }

    fn options(&self) -> Options {
        Options {
            config: self.path("redirectd.yaml"),
            state_dir: self.path("state"),
            pin_dir: self.path("pins"),
            socket: Some(self.socket()),
            log: "warn".to_owned(),
            replace: false,
            clsact: false,
            uninstall: false,
        }
    }

    /// Starts a second daemon with the first one's folder.
    pub(crate) fn try_beside(first: &Self) -> Result<(), Error> {
        let (_signals, received) = mpsc::unbounded_channel();
        daemon(&first.options(), first.fake.clone(), TestSignals(received))
    }

    /// Stops the daemon, as by SIGTERM, and waits for its end.
    pub(crate) fn stop(&mut self) {
        if let Some(Running { signals, thread }) = self.running.take() {
            signals.send(Signal::Stop).unwrap();
            thread.join().unwrap().unwrap();
        }
    }

    /// As by SIGHUP; returns at once.
    pub(crate) fn reload(&self) {
        self.running.as_ref().unwrap().signals.send(Signal::Reload).unwrap();
    }

    /// A file of this daemon's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The daemon's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("redirectd.sock")
    }

    /// Runs `redirect` with `arguments` against this daemon.
    pub(crate) fn redirect(&self, arguments: &[&str]) -> Ended {
        redirect(&self.socket(), arguments)
    }

    /// Runs `redirect` and expects it to succeed; what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.redirect(arguments);
        assert_eq!(ended.code, 0, "redirect {arguments:?}: {ended:?}");
        ended.out
    }

    /// Runs `redirect` and expects it to end with `code`; what it said of it.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let ended = self.redirect(arguments);
        assert_eq!(ended.code, code, "redirect {arguments:?}: {ended:?}");
        assert!(!ended.err.is_empty(), "redirect {arguments:?} said nothing");
        ended.err
    }

    /// Runs `redirect --json` and expects it to succeed; what it printed.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        serde_json::from_str(&self.ok(&all)).expect("JSON")
    }

    /// The names and states of all redirects, as `redirect list` has them.
    #[track_caller]
    pub(crate) fn listed(&self) -> Vec<String> {
        let list = self.json(&["list"]);
        let redirects = list["redirects"].as_array().unwrap();
        redirects
            .iter()
            .map(|r| format!("{} {}", r["name"].as_str().unwrap(), r["state"].as_str().unwrap()))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop();
        }
    }
}

fn daemon(options: &Options, fake: Fake, signals: TestSignals) -> Result<(), Error> {
    let config = config::load(&options.config)?;
    let lock = Lock::take(&options.state_dir)?;
    let log = LOG.get_or_init(|| Log::start(&options.log).unwrap()).clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run::run(options, config, Box::new(fake), (log, lock), signals))
}

/// Runs `redirect` with `arguments` against the daemon on `socket`.
pub(crate) fn redirect(socket: &Path, arguments: &[&str]) -> Ended {
    let output = command(socket).args(arguments).stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code().expect("ended by itself"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The command `redirect` for the daemon on `socket`.
pub(crate) fn command(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redirect"));
    command.env("REDIRECTD_SOCKET", socket).env_remove("NO_COLOR");
    command
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within ten seconds");
        thread::sleep(Duration::from_millis(10));
    }
}
