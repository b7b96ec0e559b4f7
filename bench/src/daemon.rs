//! redirectd itself, as it is installed: the daemon in home's namespace, spoken
//! to through its socket.

use std::{
    fmt::Write as _,
    fs::{self, File},
    os::unix::net::UnixStream,
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

use crate::{
    command::run,
    interrupt,
    netns::Netns,
    pins::Pins,
    scenario::Scenario,
    stream::{HOME_PORT, HOST_PORT, PORTS},
    topology::{HOME, HOST, IN0, OUT0},
    track::AT_ONCE,
};

/// How long the daemon may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// The daemon's folder among our pins.
const PINS: &str = "redirectd";

/// A running daemon; stopped, with all it has pinned, when dropped.
pub(crate) struct Daemon {
    child: Child,
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
        Self::configured(home, &configuration(attach, scenario))
    }

    /// Starts one in `home` with this configuration.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn configured(home: &Netns, configuration: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let pins = Pins::new()?;
        let config = folder.path().join("redirectd.yaml");
        fs::write(&config, configuration)?;
        let log = File::create(folder.path().join("log"))?;
        let program = program("redirectd")?;
        let child = home
            .command(&program.display().to_string())
            .arg("--config")
            .arg(&config)
            .arg("--state-dir")
            .arg(folder.path().join("state"))
            .arg("--pin-dir")
            .arg(pins.path().join(PINS))
            .arg("--socket")
            .arg(folder.path().join("socket"))
            .args(["--log", "warn"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start redirectd")?;
        let mut daemon = Self { child, folder, pins };
        daemon.wait_until_ready()?;
        Ok(daemon)
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
        wait(Client::new(self.socket()).get(path))
    }

    /// Sends `body` to `path` of its API, on a connection of its own as the
    /// command line does.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        wait(Client::new(self.socket()).send_to(Method::POST, path, body))
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
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
        let mut command = Command::new(program("redirect")?);
        command.arg("--socket").arg(self.socket()).args(["apply", "-f"]).arg(file);
        run(&mut command, "").map(drop).with_context(|| self.log())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("redirectd ended ({status}): {}", self.log());
            }
            ensure!(Instant::now() < deadline, "redirectd is not ready: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(id) = self.child.id().try_into() {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!("warning: redirectd does not stop; killed");
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            thread::sleep(Duration::from_millis(10));
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

fn configuration(attach: &str, scenario: &Scenario) -> String {
    // Room to spare: a full table is another question.
    let redirects = 2 * scenario.redirects + 1024;
    let flows = 2 * scenario.flows + 1024;
    let half_open = 2 * scenario.flows.min(AT_ONCE) + 1024;
    format!(
        "version: 1\nhome: [{HOME}]\ninterfaces:\n  {IN0}: {{ attach: {attach} }}\n  \
         {OUT0}: {{ attach: {attach} }}\ntimers: {{ udp: 24h, udp_unreplied: 24h }}\n\
         tables: {{ redirects: {redirects}, flows: {flows}, half_open: {half_open} }}\n"
    )
}

fn wait<T>(answer: impl Future<Output = Result<T, redirectd::error::Error>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for the daemon")?;
    runtime.block_on(answer).map_err(|error| anyhow!("{error}"))
}

/// One of redirectd's programs, built beside the bench.
fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the bench's own program")?;
    let folder = own.parent().context("the bench's program lies in no folder")?;
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "there is no {}: `cargo xtask bench` builds it, and so does `cargo build -p redirectd` \
         with the bench's own profile",
        path.display()
    );
    Ok(path)
}
