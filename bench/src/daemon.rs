//! redirectd itself, as it is installed: the daemon in home's namespace, spoken
//! to through its socket.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, File},
    net::Ipv4Addr,
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hyper::Method;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use redirectd::api::{client::Client, types::Stats};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    command::run,
    console::say,
    interrupt,
    netns::Netns,
    pidns::{Pidns, only_child},
    pins::Pins,
    scenario::Scenario,
    stream::{HOME_PORT, HOST_PORT, PORTS},
    topology::{HOME, HOST, IN0, OUT0},
    track::AT_ONCE,
};

/// How long the daemon may take to be ready, among a million flows too, and to stop.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether it is ready, or gone.
const MOMENT: Duration = Duration::from_millis(1);

/// In the daemon's folder.
const CONFIGURATION: &str = "redirectd.yaml";
const SOCKET: &str = "socket";
const LOG: &str = "log";
const STATE: &str = "state";

/// The daemon's folder among our pins.
const PINS: &str = "redirectd";

/// What its configuration says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// Home's address.
    pub(crate) home: Ipv4Addr,
    /// `xdp` or `tc`, at all interfaces.
    pub(crate) attach: &'a str,
    /// Home's interfaces.
    pub(crate) interfaces: &'a [&'a str],
    /// Size of the table of redirects.
    pub(crate) redirects: u32,
    /// Size of the table of established flows.
    pub(crate) flows: u32,
    /// Size of the table of half-open flows.
    pub(crate) half_open: u32,
}

impl<'a> Settings<'a> {
    /// Room for what `scenario` asks, and to spare: a full table is another
    /// question.
    pub(crate) fn of(attach: &'a str, scenario: &Scenario) -> Self {
        let redirects = 2 * scenario.redirects + 1024;
        let flows = 2 * scenario.flows + 1024;
        let half_open = 2 * scenario.flows.min(AT_ONCE) + 1024;
        Self { home: HOME, attach, interfaces: &[IN0, OUT0], redirects, flows, half_open }
    }

    fn text(&self) -> String {
        let Self { home, attach, redirects, flows, half_open, .. } = self;
        let mut text = format!("version: 1\nhome: [{home}]\ninterfaces:\n");
        for interface in self.interfaces {
            let _ = writeln!(text, "  {interface}: {{ attach: {attach} }}");
        }
        let _ = write!(
            text,
            "timers: {{ udp: 24h, udp_unreplied: 24h }}\n\
             tables: {{ redirects: {redirects}, flows: {flows}, half_open: {half_open} }}\n"
        );
        text
    }
}

/// A running daemon; stopped, with all it has pinned, when dropped.
pub(crate) struct Daemon {
    child: Child,
    /// The daemon itself, where `child` only waits for it.
    behind: Option<u32>,
    runtime: Runtime,
    folder: TempDir,
    // Removed after the daemon has stopped.
    pins: Pins,
}

impl Daemon {
    /// Starts one in `home` that is `attach`ed (`xdp` or `tc`) to both
    /// interfaces and has room for what `scenario` asks; no redirects yet.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn start(home: &Netns, attach: &str, scenario: &Scenario) -> Result<Self> {
        Self::with(home, &Settings::of(attach, scenario))
    }

    /// Starts one in `home` with `settings`; no redirects yet.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn with(home: &Netns, settings: &Settings<'_>) -> Result<Self> {
        Self::configured(home, &settings.text())
    }

    /// Starts one in `home` with this configuration; no redirects yet.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn configured(home: &Netns, configuration: &str) -> Result<Self> {
        Self::run_by(|program| home.command(program), configuration)
    }

    /// Starts one among the processes of `machine` with this configuration; no
    /// redirects yet.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn among(machine: &Pidns, configuration: &str) -> Result<Self> {
        let mut daemon = Self::run_by(|program| machine.command(program), configuration)?;
        // `nsenter` stays, as it cannot be of that namespace itself.
        daemon.behind = Some(only_child(daemon.child.id())?);
        Ok(daemon)
    }

    fn run_by(command: impl Fn(&str) -> Command, configuration: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let pins = Pins::new()?;
        fs::write(folder.path().join(CONFIGURATION), configuration)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot wait for the daemon")?;
        let child = spawn(&command, folder.path(), &pins)?;
        let mut daemon = Self { child, behind: None, runtime, folder, pins };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// Ends it with `signal`, and waits until it is gone. Programs, redirects
    /// and flows stay.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn end(&mut self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.id().try_into()?), signal).context("cannot end redirectd")?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "redirectd does not end: {}", self.log());
            thread::sleep(MOMENT);
        }
        Ok(())
    }

    /// Starts it again after [`Self::end`], in `home`, where it was.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn again(&mut self, home: &Netns) -> Result<()> {
        self.child = spawn(&|program: &str| home.command(program), self.folder.path(), &self.pins)?;
        self.wait_until_ready()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.behind.unwrap_or_else(|| self.child.id())
    }

    /// Where it has pinned its maps and links.
    pub(crate) fn pins(&self) -> PathBuf {
        self.pins.path().join(PINS)
    }

    /// How many flows are established, by its own count.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn established(&self) -> Result<u64> {
        let stats: Stats = self.get("/v1/stats")?;
        let table = stats.tables.iter().find(|table| table.table == "flows");
        Ok(table.context("redirectd tells nothing of a table of flows")?.used)
    }

    /// Asks it for what is at `path` of its API.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.wait(Client::new(self.socket()).get(path))
    }

    /// Sends `body` to `path` of its API, on a connection of its own as the
    /// command line does.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.wait(Client::new(self.socket()).send_to(Method::POST, path, body))
    }

    fn wait<T>(
        &self,
        answer: impl Future<Output = Result<T, redirectd::error::Error>>,
    ) -> Result<T> {
        self.runtime.block_on(answer).map_err(|error| anyhow!("{error}"))
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Its state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join(STATE)
    }

    /// Writes a rule file with `rules` for [`Self::apply`], and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn rule_file(&self, name: &str, rules: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, rules).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// `redirect apply -f FILE`.
    ///
    /// # Errors
    /// It fails; the message has the daemon's log.
    pub(crate) fn apply(&self, file: &Path) -> Result<()> {
        self.redirect(["apply".as_ref(), "-f".as_ref(), file.as_os_str()])
    }

    /// `redirect ARGUMENTS`.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(crate) fn redirect<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<()> {
        self.told(arguments).map(drop)
    }

    /// What `redirect ARGUMENTS --json` prints.
    ///
    /// # Errors
    /// As [`Self::apply`]; or it prints no JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = self.told(arguments.iter().chain(&["--json"]))?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    fn told<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        let mut command = Command::new(program("redirect")?);
        command.arg("--socket").arg(self.socket()).args(arguments);
        run(&mut command, "").with_context(|| self.log())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("redirectd ended ({status}): {}", self.log());
            }
            ensure!(Instant::now() < deadline, "redirectd is not ready: {}", self.log());
            thread::sleep(MOMENT);
        }
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its number may be another's once it has been waited for.
        if let (Ok(None), Ok(id)) = (self.child.try_wait(), self.id().try_into()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                say("warning: redirectd does not stop; killed");
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            thread::sleep(MOMENT);
        }
    }
}

/// The redirect that takes the traffic, and the idle ones, as a rule file.
pub(crate) fn rules(scenario: &Scenario) -> String {
    let last = HOME_PORT + PORTS - 1;
    let mut text = format!(
        "version: 1\nredirects:\n  busy: {{ protocol: udp, home: \"{HOME}:{HOME_PORT}-{last}\", \
         to: \"{HOST}:{HOST_PORT}\" }}\n"
    );
    for (n, (home, port)) in scenario.idle_endpoints().enumerate() {
        let _ = writeln!(
            text,
            "  idle-{n}: {{ protocol: udp, home: \"{home}:{port}\", to: \"{HOST}:{HOST_PORT}\" }}"
        );
    }
    text
}

/// Starts the daemon, by `command`, with what is in `folder`.
fn spawn(command: &impl Fn(&str) -> Command, folder: &Path, pins: &Pins) -> Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join(LOG))?;
    command(&program("redirectd")?.display().to_string())
        .arg("--config")
        .arg(folder.join(CONFIGURATION))
        .arg("--state-dir")
        .arg(folder.join(STATE))
        .arg("--pin-dir")
        .arg(pins.path().join(PINS))
        .arg("--socket")
        .arg(folder.join(SOCKET))
        .args(["--log", "warn"])
        // Ctrl-C is for the bench, which ends its processes itself.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start redirectd")
}

/// One of redirectd's programs, built beside the bench.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the bench's own program")?;
    let folder = own.parent().context("the bench's program lies in no folder")?;
    // Unit tests lie one folder deeper.
    let folder = if folder.ends_with("deps") { folder.join("..") } else { folder.to_owned() };
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "there is no {}: `cargo xtask bench` builds it, and so does `cargo build -p redirectd` \
         with the bench's own profile",
        path.display()
    );
    Ok(path)
}
