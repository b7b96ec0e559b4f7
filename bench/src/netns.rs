//! Network namespaces that are gone when their owner is.

use std::{
    fs::File,
    os::unix::fs::MetadataExt as _,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use anyhow::{Context, Result};
use nix::{
    sched::{CloneFlags, sched_setaffinity, setns},
    unistd::Pid,
};

use crate::{command::run, console::say, processor};

/// A network namespace of this run's own; removed, with all interfaces in it,
/// when dropped.
#[derive(Debug)]
pub(crate) struct Netns {
    name: String,
    file: File,
    /// Where what runs in it runs; empty: anywhere.
    processors: Vec<usize>,
}

impl Netns {
    /// Makes one. `role` is part of its name, for people who look.
    ///
    /// # Errors
    /// `ip` fails, most likely for want of root.
    pub(crate) fn new(role: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rdbench-{}-{number}-{role}", process::id());
        run(Command::new("ip").args(["netns", "add", &name]), "")
            .context("the bench makes network namespaces, for which it must be root")?;
        let path = path(&name);
        match File::open(&path) {
            Ok(file) => Ok(Self { name, file, processors: Vec::new() }),
            Err(error) => {
                delete(&name);
                Err(error).with_context(|| format!("cannot open {path}"))
            }
        }
    }

    /// Keeps all that is started in it or enters it from now on, on `processors`.
    pub(crate) fn keep_on(&mut self, processors: &[usize]) {
        self.processors = processors.to_vec();
    }

    /// What tells it from other namespaces of this machine: its inode number.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn id(&self) -> Result<u64> {
        Ok(self.file.metadata().with_context(|| format!("cannot examine {}", self.name))?.ino())
    }

    /// Its name, as `ip netns` knows it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `program`, to be run in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        // Not `ip netns exec`, which mounts a new /sys and so hides the BPF file system.
        command.arg(format!("--net={}", path(&self.name)));
        if !self.processors.is_empty() {
            let list: Vec<_> = self.processors.iter().map(usize::to_string).collect();
            command.args(["taskset", "--cpu-list", &list.join(",")]);
        }
        command.arg(program);
        command
    }

    /// Runs `program` with blank-separated `arguments` in it.
    ///
    /// # Errors
    /// As [`run`].
    pub(crate) fn run(&self, program: &str, arguments: &str) -> Result<String> {
        run(self.command(program).args(arguments.split_whitespace()), "")
    }

    /// Calls `inside` on a thread that is in it.
    ///
    /// # Errors
    /// The namespace cannot be entered, or those of `inside`.
    pub(crate) fn enter<T: Send>(&self, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("cannot enter network namespace {}", self.name))?;
                if !self.processors.is_empty() {
                    let set = processor::set(&self.processors)?;
                    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| {
                        format!("cannot run on processors {:?}", self.processors)
                    })?;
                }
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

fn path(name: &str) -> String {
    format!("/run/netns/{name}")
}

fn delete(name: &str) {
    if let Err(error) = run(Command::new("ip").args(["netns", "del", name]), "") {
        say(&format!("warning: network namespace {name} is left behind: {error:#}"));
    }
}
