//! A program beside a test: what it does is written in Python, for that can do
//! what few programs do on demand.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// What every program can use.
const PRELUDE: &str = "\
import ctypes, mmap, os, socket, sys, tempfile, threading, time
# PR_SET_PDEATHSIG: whoever leaves the process group ends with it all the same.
os.register_at_fork(after_in_child=lambda: ctypes.CDLL(None).prctl(1, 9))
keep = []
def bound(kind, family, address, port, only6=None, protocol=0):
    s = socket.socket(family, kind, protocol)
    keep.append(s)
    if only6 is not None:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only6)
    s.bind((address, port))
    if kind == socket.SOCK_STREAM:
        s.listen()
    return s
TCP, UDP, V4, V6 = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.AF_INET, socket.AF_INET6
def ready():
    print('ready', flush=True)
    sys.stdin.read()
";

/// A running program; it and its children are killed when this is dropped.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Runs `script`, and then waits until it is told to go: where it says
    /// `ready()` itself, it goes on after that.
    pub(crate) fn start(script: &str) -> Self {
        Self::run_by(&[], script)
    }

    /// The same, run by the words of `wrapper`.
    pub(crate) fn run_by(wrapper: &[&str], script: &str) -> Self {
        let words = [wrapper, &["python3", "-c"]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(format!("{PRELUDE}{script}\nready()\n"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the program failed");
        Self { child }
    }

    /// Its process id, as one writes it.
    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
