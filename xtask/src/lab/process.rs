//! Real programs: started, watched, and killed when nobody needs them any more.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};

use super::{cleanup, soon, until, wait::on_this_machine};

/// How long a program that is run to its end may take.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// How long a program that is killed may take to go.
const GOING: Duration = Duration::from_secs(5);

/// A program that runs beside us. Dropping it kills it and its children.
#[derive(Debug)]
pub struct Process {
    line: String,
    child: Child,
    log: PathBuf,
    group: cleanup::Token,
}

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// The exit code; a signal counts 128 more than its number, as in a shell.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// The standard output of a program that succeeded.
    ///
    /// # Errors
    /// When it did not succeed, with everything it wrote.
    pub fn success(self) -> Result<String> {
        ensure!(self.code == 0, "{self}");
        Ok(self.stdout)
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "`{}` ended with {}", self.line, self.code)?;
        write!(f, "stdout: {}\nstderr: {}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}

impl Process {
    /// Starts `command`; what it writes goes to the file `log`.
    pub(super) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let line = shown(&command);
        let output =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        let child = spawn(&mut command)?;
        let group = cleanup::Token::process_group(child.id());
        Ok(Self { line, child, log: log.to_owned(), group })
    }

    /// Its process id; that of the program itself.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Its standard input.
    ///
    /// # Panics
    /// When it was taken before.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("the standard input is taken once")
    }

    /// Waits until it has written `text`.
    ///
    /// # Errors
    /// When it ends without that, or takes more than ten seconds.
    pub fn wait_for_log(&mut self, text: &str) -> Result<()> {
        self.ready_when(&format!("`{}` says {text:?}", self.line), |log| log.contains(text))
    }

    /// Waits until `ready` holds for what it has written.
    ///
    /// # Errors
    /// When it ends before that, or takes more than ten seconds.
    pub fn ready_when(&mut self, what: &str, mut ready: impl FnMut(&str) -> bool) -> Result<()> {
        let outcome = soon(what, || {
            if ready(&self.log()) {
                return Some(Ok(()));
            }
            let ended = self.child.try_wait().ok().flatten()?;
            // It may have written its last words between the two looks.
            Some(if ready(&self.log()) { Ok(()) } else { Err(ended) })
        });
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("`{}` ended with {status}:\n{}", self.line, self.log()),
            Err(late) => Err(late.context(format!("its log:\n{}", self.log()))),
        }
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("`{}` ends", self.line);
        let status = until(limit, &what, || self.child.try_wait().ok().flatten())?;
        self.group.forget();
        Ok(status)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).with_context(|| format!("cannot send {signal} to `{}`", self.line))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(on_this_machine(GOING)).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended().unwrap_or_default() {
            // Its number may be somebody else's by now.
            self.group.forget();
        } else {
            self.group.remove();
            let _ = self.child.wait();
        }
    }
}

/// Runs `command` to its end.
pub(super) fn run(mut command: Command) -> Result<Finished> {
    let line = shown(&command);
    // Files rather than pipes: no reader is needed, and nobody blocks.
    let (mut stdout, mut stderr) = (scratch()?, scratch()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = spawn(&mut command)?;
    let group = cleanup::Token::process_group(child.id());
    let limit = on_this_machine(RUN_LIMIT);
    let ended = until(limit, &format!("`{line}` ends"), || child.try_wait().ok().flatten());
    let Ok(status) = ended else {
        let _ = child.kill();
        let _ = child.wait();
        bail!("`{line}` took longer than {limit:?}:\n{}{}", text(&mut stdout)?, text(&mut stderr)?);
    };
    group.forget();
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(Finished { line, code, stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
}

/// Starts it as the leader of a process group that does not survive us.
fn spawn(command: &mut Command) -> Result<Child> {
    command.process_group(0);
    // SAFETY: between fork and exec only prctl is called, which is
    // async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    command.spawn().with_context(|| format!("cannot start `{}`", shown(command)))
}

fn scratch() -> Result<File> {
    tempfile::tempfile().context("cannot make a temporary file")
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The command line as one would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
