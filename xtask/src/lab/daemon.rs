//! redirectd itself on a host, with its own configuration, state and pins.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Finished, Host, Machine, Process, cleanup, soon, with_criu};

/// Where the programs under test are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The daemon.
    pub redirectd: PathBuf,
    /// The command line.
    pub redirect: PathBuf,
}

/// A running redirectd on a host. Dropping it ends it and removes its pins.
#[derive(Debug)]
pub struct Daemon {
    host: Host,
    binaries: Binaries,
    config: PathBuf,
    state: PathBuf,
    pins: PathBuf,
    socket: PathBuf,
    /// The words before its command line.
    by: Vec<String>,
    process: Option<Process>,
    _removal: cleanup::Token,
}

impl Daemon {
    /// Starts it on `host` with the configuration `yaml`, to which version and
    /// socket are added. Returns when it answers.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub fn start(host: &Host, binaries: &Binaries, yaml: &str) -> Result<Self> {
        let mut daemon = Self::prepare(host, binaries, yaml)?;
        daemon.start_again()?;
        Ok(daemon)
    }

    /// The same among the processes of `machine`, with the CRIU of the lab. It ends
    /// with the machine.
    ///
    /// # Errors
    /// As for [`Daemon::start`].
    pub fn start_on(machine: &Machine, binaries: &Binaries, yaml: &str) -> Result<Self> {
        Self::start_by(machine, &[], binaries, yaml)
    }

    /// The same, run by other programs: `by` are the words before its command line.
    ///
    /// # Errors
    /// As for [`Daemon::start`].
    pub fn start_by(
        machine: &Machine,
        by: &[&str],
        binaries: &Binaries,
        yaml: &str,
    ) -> Result<Self> {
        let mut daemon = Self::prepare(machine.host(), binaries, yaml)?;
        daemon.by = machine.enter();
        daemon.by.extend(with_criu());
        daemon.by.extend(by.iter().map(|&word| word.to_owned()));
        daemon.start_again()?;
        Ok(daemon)
    }

    /// All but the start, for tests of a start that fails.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn prepare(host: &Host, binaries: &Binaries, yaml: &str) -> Result<Self> {
        let name = format!("{}-{}", host.lab().id, host.name());
        let folder = host.dir().join(format!("redirectd-{}", host.name()));
        fs::create_dir(&folder)?;
        let pins = Path::new("/sys/fs/bpf").join(name);
        let removal = cleanup::Token::folder(&pins);
        let daemon = Self {
            host: host.clone(),
            binaries: binaries.clone(),
            config: folder.join("redirectd.yaml"),
            state: folder.join("state"),
            pins,
            socket: folder.join("socket"),
            by: Vec::new(),
            process: None,
            _removal: removal,
        };
        daemon.configure(yaml)?;
        Ok(daemon)
    }

    /// Writes the configuration; the running daemon is not told.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, yaml: &str) -> Result<()> {
        let socket = self.socket.display();
        let yaml = format!("version: 1\napi: {{ socket: {socket} }}\n{yaml}");
        fs::write(&self.config, yaml).context("cannot write the configuration")
    }

    /// Starts it, after the first time or after [`Daemon::sigkill`].
    ///
    /// # Errors
    /// When it does not answer; with its log.
    pub fn start_again(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts it from now on by `words`, which run what follows them.
    ///
    /// # Errors
    /// When it does not answer; with its log.
    pub fn start_again_by(&mut self, words: &[&str]) -> Result<()> {
        self.by.extend(words.iter().map(|&word| word.to_owned()));
        self.start_again()
    }

    /// Starts it with more options.
    ///
    /// # Errors
    /// When it does not answer; with its log.
    pub fn start_with(&mut self, options: &[&str]) -> Result<()> {
        let by: Vec<&str> = self.by.iter().map(String::as_str).collect();
        let mut process = self.host.start(&[&by[..], &self.line(), options].concat())?;
        let socket = self.socket.clone();
        // It listens before its programs are attached, and says when they are.
        process.ready_when("redirectd is ready", |log| {
            log.contains(" ready") && UnixStream::connect(&socket).is_ok()
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs it to its end, for a start that fails and for `--uninstall`.
    ///
    /// # Errors
    /// When it does not end.
    pub fn run_with(&self, options: &[&str]) -> Result<Finished> {
        self.host.try_run(&[&self.line()[..], options].concat())
    }

    fn line(&self) -> [&str; 7] {
        [
            text(&self.binaries.redirectd),
            "--config",
            text(&self.config),
            "--state-dir",
            text(&self.state),
            "--pin-dir",
            text(&self.pins),
        ]
    }

    /// Runs `redirect ARGS` on home, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn try_redirect(&self, args: &[&str]) -> Result<Finished> {
        let line = [text(&self.binaries.redirect), "--socket", text(&self.socket)];
        self.host.try_run(&[&line[..], args].concat())
    }

    /// Runs `redirect ARGS` on home.
    ///
    /// # Errors
    /// When it does not succeed; with the daemon's log.
    pub fn redirect(&self, args: &[&str]) -> Result<String> {
        let done = self.try_redirect(args)?.success();
        done.with_context(|| format!("the daemon's log:\n{}", self.log()))
    }

    /// Runs `redirect ARGS --json` on home.
    ///
    /// # Errors
    /// When it does not succeed, or does not write JSON.
    pub fn json(&self, args: &[&str]) -> Result<serde_json::Value> {
        let text = self.redirect(&[args, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn sigkill(&mut self) -> Result<()> {
        let process = self.process.take().context("redirectd is not running")?;
        if let Some(pid) = self.within(&process) {
            kill(pid, Signal::SIGKILL)?;
            // Its lock is free once it is gone.
            soon("it is gone", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()))?;
        }
        process.kill()
    }

    /// The daemon itself, where `process` only entered the machine for it: whoever
    /// enters a PID namespace waits outside for a child.
    fn within(&self, process: &Process) -> Option<Pid> {
        if self.by.is_empty() {
            return None;
        }
        let outer = process.pid();
        let children = format!("/proc/{outer}/task/{outer}/children");
        let children = fs::read_to_string(children).ok()?;
        children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("redirectd is not running")?;
        match self.within(process) {
            Some(pid) => Ok(kill(pid, signal)?),
            None => process.signal(signal),
        }
    }

    /// Waits for its end; gives how it ended, and what it wrote.
    ///
    /// # Errors
    /// When it is not running, or does not end within `limit`.
    pub fn ends(&mut self, limit: Duration) -> Result<(ExitStatus, String)> {
        let mut process = self.process.take().context("redirectd is not running")?;
        let status = process.wait(limit).with_context(|| process.log())?;
        Ok((status, process.log()))
    }

    /// What it has written since it was started last.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Its folder in the BPF file system.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the lab's names are plain")
}
