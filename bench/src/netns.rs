//! Network namespaces that are gone when their owner is.

use std::{
    fs::File,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::command::run;

/// A network namespace of this run's own; removed, with all interfaces in it,
/// when dropped.
#[derive(Debug)]
pub(crate) struct Netns {
    name: String,
    file: File,
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
            Ok(file) => Ok(Self { name, file }),
            Err(error) => {
                delete(&name);
                Err(error).with_context(|| format!("cannot open {path}"))
            }
        }
    }

    /// Its name, as `ip netns` knows it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `program`, to be run in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        // Not `ip netns exec`, which mounts a new /sys and so hides the BPF file system.
        command.arg(format!("--net={}", path(&self.name))).arg(program);
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
        eprintln!("warning: network namespace {name} is left behind: {error:#}");
    }
}
