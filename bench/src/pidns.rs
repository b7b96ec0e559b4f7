//! PID namespaces that are gone, with all processes in them, when their owner is:
//! a process that moves keeps its number, which takes a place where it is free.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    command::{not_installed, run},
    interrupt,
    netns::Netns,
    pair::process::Process,
};

/// How long a program may take to start, one that fills gigabytes of memory too,
/// and to go.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const MOMENT: Duration = Duration::from_millis(2);

/// Processes of its own for a network namespace, with a `/run` of their own on a
/// tmpfs, where CRIU keeps what it knows of the kernel.
#[derive(Debug)]
pub(crate) struct Pidns {
    /// Its first process, as the rest of the world counts.
    init: u32,
    // With it go all others.
    _process: Process,
}

impl Pidns {
    /// Makes one in `netns`.
    ///
    /// # Errors
    /// `unshare` fails, most likely for want of root.
    pub(crate) fn new(netns: &Netns) -> Result<Self> {
        let mut command = netns.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.arg(env::current_exe().context("cannot find the bench's own binary")?);
        command.args(["pair", "init"]);
        let mut process = Process::spawn(command)?;
        process.wait_until_ready()?;
        Ok(Self { init: only_child(process.id())?, _process: process })
    }

    /// `program`, to be run in it, with [`criu`] to be found by its name.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--net", "--pid", "--mount", "--"]);
        let (path, criu) = (env::var("PATH").unwrap_or_default(), criu());
        let folder = criu.parent().unwrap_or(Path::new("")).display();
        command.args(["env", &format!("PATH={folder}:{path}"), program]);
        command
    }

    /// A file of its own, by the name it has outside.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        let root = Path::new("/proc").join(self.init.to_string()).join("root");
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Starts `line` with the number `pid`, as a service is: child of the first
    /// process, with no file open but `log`. Returns when `ready` is in there.
    ///
    /// # Errors
    /// The number is taken, or it does not start; what it wrote is in the message.
    pub(crate) fn start(&self, pid: i32, line: &[&str], log: &Path, ready: &str) -> Result<()> {
        // The next process is the program: setsid takes the number of the shell.
        let script = format!("echo {} >/proc/sys/kernel/ns_last_pid; exec \"$@\"", pid - 1);
        let launch = "exec \"$@\" </dev/null >\"$0\" 2>&1";
        let mut command = self.command("sh");
        command.args(["-c", &script, "sh", "setsid", "--fork", "sh", "-c", launch]);
        command.arg(log).args(line).current_dir("/");
        run(&mut command, "")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            interrupt::check()?;
            let said = fs::read_to_string(log).unwrap_or_default();
            if said.contains(ready) {
                break;
            }
            ensure!(Instant::now() < deadline, "`{}` is not ready: {said}", line.join(" "));
            thread::sleep(MOMENT);
        }
        ensure!(self.has(pid), "process {pid} is not there; is its number another's?");
        Ok(())
    }

    /// Whether it has a process of this number.
    pub(crate) fn has(&self, pid: i32) -> bool {
        self.outside(&Path::new("/proc").join(pid.to_string())).exists()
    }

    /// Kills the process of this number and waits until it is gone.
    ///
    /// # Errors
    /// It does not go.
    pub(crate) fn kill(&self, pid: i32) -> Result<()> {
        let mut kill = self.command("kill");
        run(kill.args(["-KILL", &pid.to_string()]), "")?;
        let deadline = Instant::now() + PATIENCE;
        while self.has(pid) {
            ensure!(Instant::now() < deadline, "process {pid} does not go");
            thread::sleep(MOMENT);
        }
        Ok(())
    }
}

/// The one child of the process `id`.
///
/// # Errors
/// It has none yet after a while, or more than one.
pub(crate) fn only_child(id: u32) -> Result<u32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.with_context(|| format!("process {id} has ended"))?;
        if let Ok(child) = children.trim().parse() {
            return Ok(child);
        }
        ensure!(Instant::now() < deadline, "process {id} has children {children:?}, and not one");
        thread::sleep(MOMENT);
    }
}

/// The CRIU that `cargo xtask setup` has brought, else the one on PATH.
pub(crate) fn criu() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the bench lies in it");
    let target = bpf_build::toolchain::target_dir(workspace);
    let own = bpf_build::toolchain::tools_dir(&target).join("bin/criu");
    if own.is_file() { own } else { "criu".into() }
}

/// Why CRIU cannot be run, if so.
pub(crate) fn no_criu() -> Option<String> {
    let criu = criu();
    if criu.is_absolute() { None } else { not_installed("criu") }
}
