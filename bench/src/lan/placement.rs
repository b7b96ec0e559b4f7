//! Which processors do whose work: home's has one for itself, so that how busy
//! home is can be read off it.
//!
//! A veth hands packets to the other end on the processor that sends them, so
//! that the peer's processor would do home's work. NAPI changes that: the
//! receiving end takes packets when its poll function is called, and where that
//! is a thread of the kernel (threaded NAPI), the thread can be told where to
//! run. Home's interface gets such a thread on home's processor, and the
//! switch's port towards home one on another, for what home sends. Home's
//! processes, and all threads of the bench that enter home's namespace, are kept
//! on home's processor, the other hosts' off it. So home's processor does, for
//! each packet, what follows its arrival at home's interface and precedes its
//! arrival at the switch, and no more.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::{command::run, netns::Netns, processor};

/// Home's processor, and those of everyone else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Home's.
    pub(crate) home: usize,
    /// The others', all that there are.
    pub(crate) others: Vec<usize>,
}

impl Placement {
    /// With the processor `home` for home.
    ///
    /// # Errors
    /// There is no other one.
    pub(crate) fn new(home: usize) -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let others: Vec<_> = (0..CpuSet::count())
            .filter(|&n| n != home && allowed.is_set(n).unwrap_or(false))
            .collect();
        ensure!(
            !others.is_empty(),
            "home's work needs a processor of its own, and this machine has one in all"
        );
        Ok(Self { home, others })
    }
}

/// Lets threads on `processors` alone receive at `interface`, which must be up
/// and have NAPI; returns their ids.
///
/// # Errors
/// It has no NAPI, or the kernel is older than 6.2 and does not give another
/// name to an interface that is up.
pub(super) fn receive_on(netns: &Netns, interface: &str, processors: &[usize]) -> Result<Vec<Pid>> {
    // The kernel names the threads after the interface. With a name that no
    // other interface on the machine has, they are known for this one's.
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let unique = format!("rdb{:x}n{number:x}", std::process::id());
    netns.run("ip", &format!("link set {interface} name {unique}"))?;
    let threads = start_threads(netns, &unique);
    netns.run("ip", &format!("link set {unique} name {interface}"))?;
    let threads = threads?;
    ensure!(!threads.is_empty(), "no thread receives at {interface}: it has no NAPI");
    for &thread in &threads {
        sched_setaffinity(thread, &processor::set(processors)?)
            .with_context(|| format!("cannot tell the NAPI thread of {interface} where to run"))?;
    }
    Ok(threads)
}

/// Gives each NAPI instance of `interface` a thread, and returns these.
fn start_threads(netns: &Netns, interface: &str) -> Result<Vec<Pid>> {
    // A mounted /sys is that of the namespace it was mounted in.
    let script =
        format!("mount -t sysfs sysfs /sys && echo 1 >/sys/class/net/{interface}/threaded");
    run(netns.command("unshare").args(["--mount", "sh", "-c", &script]), "")?;
    let prefix = format!("napi/{interface}-");
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse() else { continue };
        // It may have ended meanwhile.
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with(&prefix) {
            threads.push(Pid::from_raw(id));
        }
    }
    Ok(threads)
}
