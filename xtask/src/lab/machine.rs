//! A host that has processes of its own, as machines have: a PID namespace
//! beside the network namespace. Processes that move keep their numbers, which
//! takes a place where these are free.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};

use super::{Finished, Host, Process, soon};

/// The first process of a machine: adopts and reaps, as init does. Before that,
/// it makes `/run` a tmpfs, where CRIU keeps what it has found out of the kernel,
/// and takes terminals of its own, whose numbers no other machine uses.
const INIT: &str = "import os, subprocess, time
subprocess.run(['mount', '-t', 'tmpfs', 'run', '/run'], check=True)
terminals = ['-o', 'newinstance,ptmxmode=0666,mode=0620,gid=5', 'devpts', '/dev/pts']
subprocess.run(['mount', '-t', 'devpts'] + terminals, check=True)
print('init is ready', flush=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(.002)
";

/// Becomes another program that has no files open but its log: those of whoever
/// runs the lab are another machine's.
const LAUNCH: &str = "import os, sys
os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
os.dup2(1, 2)
os.closerange(3, 1024)
with open(sys.argv[2] + '.new', 'w') as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[2] + '.new', sys.argv[2])
os.chdir('/')
os.execvp(sys.argv[3], sys.argv[3:])
";

/// A host with processes of its own. Dropping it kills them all.
#[derive(Debug)]
pub struct Machine {
    host: Host,
    /// Its first process, as the rest of the world counts.
    init: u32,
    started: AtomicU32,
    _process: Process,
}

impl Machine {
    /// Gives `host` processes of its own.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub fn new(host: &Host) -> Result<Self> {
        let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let mut process = host.start(&[&unshare[..], &["python3", "-c", INIT]].concat())?;
        process.wait_for_log("init is ready")?;
        let pid = process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let init = children.trim().parse().context("unshare has one child")?;
        Ok(Self { host: host.clone(), init, started: AtomicU32::new(0), _process: process })
    }

    /// The host it is.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The words before a command line that has it run on this machine.
    #[must_use]
    pub fn enter(&self) -> Vec<String> {
        let target = self.init.to_string();
        ["nsenter", "--target", &target, "--net", "--pid", "--mount", "--"]
            .map(str::to_owned)
            .into()
    }

    /// Its processes, by its own numbers.
    #[must_use]
    pub fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.init.to_string()).join("root/proc")
    }

    /// Starts a program of its own, as a service is: child of the first process,
    /// without a terminal. Gives its number on this machine and its log.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, line: &[&str]) -> Result<(i32, PathBuf)> {
        self.launch(&[], line)
    }

    fn launch(&self, by: &[&str], line: &[&str]) -> Result<(i32, PathBuf)> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let file = |what| self.host.dir().join(format!("{}-{number}.{what}", self.host.name()));
        let (log, pid) = (file("log"), file("pid"));
        let files = [&log, &pid].map(|path| path.to_str().expect("the lab's names are plain"));
        let launch = ["setsid", "--fork", "python3", "-c", LAUNCH];
        self.run(&[by, &launch[..], &files, line].concat())?.success()?;
        let pid = soon("a program has started", || fs::read_to_string(&pid).ok())?;
        Ok((pid.trim().parse()?, log))
    }

    /// Starts a program as [`Machine::start`] does, with the number `pid`.
    ///
    /// # Errors
    /// When the number is taken, or it does not start.
    pub fn start_as(&self, pid: i32, line: &[&str]) -> Result<PathBuf> {
        // The next process is the program: setsid takes the number of the shell.
        let last = (pid - 1).to_string();
        let sysctl = format!("echo {last} >/proc/sys/kernel/ns_last_pid; exec \"$@\"");
        let (started, log) = self.launch(&["sh", "-c", &sysctl, "sh"], line)?;
        ensure!(started == pid, "the program became {started} instead of {pid}");
        Ok(log)
    }

    /// Runs a program on this machine to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started, or takes longer than a minute.
    pub fn run(&self, line: &[&str]) -> Result<Finished> {
        let enter = self.enter();
        let words: Vec<&str> =
            enter.iter().map(String::as_str).chain(line.iter().copied()).collect();
        self.host.try_run(&words)
    }

    /// The number that one of its processes has for the rest of the world.
    #[must_use]
    pub fn outside(&self, pid: i32) -> Option<i32> {
        let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(&self.init.to_string());
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let outside = entry.file_name().into_string().ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            let inside = numbers.split_whitespace().next_back()?;
            (inside == pid.to_string() && space(&outside) == own).then(|| outside.parse().ok())?
        })
    }

    /// Whether it has a process of this number.
    #[must_use]
    pub fn has(&self, pid: i32) -> bool {
        self.proc().join(pid.to_string()).exists()
    }
}

/// The CRIU that `cargo xtask setup` has brought, else the one on PATH.
#[must_use]
pub fn criu() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in it");
    let target = bpf_build::toolchain::target_dir(workspace);
    let own = bpf_build::toolchain::tools_dir(&target).join("bin/criu");
    if own.is_file() { own } else { "criu".into() }
}

/// The words before a command line that has it find [`criu`] by its name.
#[must_use]
pub fn with_criu() -> Vec<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let criu = criu();
    let folder = criu.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    vec!["env".to_owned(), format!("PATH={folder}:{path}")]
}
