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

/// Has a child in a session of its own become another program that has no files open but
/// its log: those of whoever runs the lab are another machine's. The child has the number
/// that is asked for: the kernel gives it that or none (`set_tid` of clone3). What it begins
/// has numbers after it, as ever, but not the next ones: they stay free for who asks.
const LAUNCH: &str = "import ctypes, os, signal, sys
def fork_as(number):
    with open('/proc/sys/kernel/ns_last_pid', 'w') as last:
        last.write(str(number + 100))
    wanted = ctypes.c_int(number)
    arguments = (ctypes.c_uint64 * 10)()
    arguments[4], arguments[8], arguments[9] = signal.SIGCHLD, ctypes.addressof(wanted), 1
    libc = ctypes.PyDLL(None, use_errno=True)
    clone3 = ctypes.c_long(435)
    made = libc.syscall(clone3, arguments, ctypes.c_size_t(ctypes.sizeof(arguments)))
    if made < 0:
        why = os.strerror(ctypes.get_errno())
        sys.exit(f'no process can have the number {number}: {why}')
    return made
number, log, pid, *line = sys.argv[1:]
if fork_as(int(number)) if number else os.fork():
    os._exit(0)
os.setsid()
os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
os.dup2(1, 2)
os.closerange(3, 1024)
with open(pid + '.new', 'w') as file:
    file.write(str(os.getpid()))
os.rename(pid + '.new', pid)
os.chdir('/')
os.execvp(line[0], line)
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
        self.launch("", line)
    }

    /// The same with the number `pid`, or with any if it is empty.
    fn launch(&self, pid: &str, line: &[&str]) -> Result<(i32, PathBuf)> {
        let count = self.started.fetch_add(1, Ordering::Relaxed);
        let file = |what| self.host.dir().join(format!("{}-{count}.{what}", self.host.name()));
        let (log, number) = (file("log"), file("pid"));
        let files = [&log, &number].map(|path| path.to_str().expect("the lab's names are plain"));
        self.run(&[&["python3", "-c", LAUNCH, pid], &files[..], line].concat())?.success()?;
        let number = soon("a program has started", || fs::read_to_string(&number).ok())?;
        Ok((number.trim().parse()?, log))
    }

    /// Starts a program as [`Machine::start`] does, with the number `pid`.
    ///
    /// # Errors
    /// When the number is taken, or it does not start.
    pub fn start_as(&self, pid: i32, line: &[&str]) -> Result<PathBuf> {
        let (started, log) = self.launch(&pid.to_string(), line)?;
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
