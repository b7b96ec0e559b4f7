//! Provisional: home's work on one processor.

use std::{collections::HashSet, fs, process::Command};

use anyhow::{Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    command::run,
    lan::{INTERFACE, Lan},
};

pub(super) struct Placement {
    threads: HashSet<u32>,
    processor: usize,
}

pub(super) fn place(lan: &Lan, processor: usize) -> Result<Placement> {
    lan.home.run("ethtool", &format!("-K {INTERFACE} gro on"))?;
    let before = polling()?;
    let echo = format!("echo 1 > /sys/class/net/{INTERFACE}/threaded");
    run(Command::new("ip").args(["netns", "exec", lan.home.name(), "sh", "-c", &echo]), "")?;
    let threads: HashSet<u32> = polling()?.difference(&before).copied().collect();
    ensure!(!threads.is_empty(), "no thread polls home's interface");
    let placement = Placement { threads, processor };
    placement.pin(&placement.threads)?;
    Ok(placement)
}

impl Placement {
    pub(super) fn threads(&self) -> impl Iterator<Item = u32> {
        self.threads.iter().copied()
    }

    pub(super) fn pin(&self, processes: &HashSet<u32>) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(self.processor)?;
        for &process in processes {
            let task = format!("/proc/{process}/task");
            for thread in fs::read_dir(task)? {
                let thread = thread?.file_name().to_string_lossy().parse()?;
                sched_setaffinity(Pid::from_raw(thread), &set)?;
            }
        }
        Ok(())
    }
}

fn polling() -> Result<HashSet<u32>> {
    let mut found = HashSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse() else { continue };
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with("napi/eth0-") {
            found.insert(process);
        }
    }
    Ok(found)
}
