//! What redirects and flows take: memory of the kernel's maps, and the daemon's
//! own.
//!
//! Maps are asked for their own account of it (`memlock` in fdinfo), which
//! since Linux 6.4 is what they hold at the moment. A difference of the whole
//! machine's memory would tell of others too.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;

use crate::{
    daemon::{Daemon, Settings, rules},
    recorder::Recorder,
    result::Better,
    scenario::Scenario,
    stream,
    suite::Effort,
    topology::{HOME, IN0, Lab, OUT0, PEER0},
    track::establish,
    traffic::Generator,
};

/// The metric.
const MEMORY: &str = "memory";

const MAPS: &str = "kernel maps";
const DAEMON: &str = "daemon";

/// How many steps of progress it has.
pub(super) const STEPS: usize = 4;

/// Sizes of the tables that the others are compared with.
const SMALL: u32 = 1 << 10;

/// What is measured, for the report.
pub(super) fn introduce(effort: &Effort, recorder: &mut Recorder) {
    recorder.metric(MEMORY, "bytes", Better::Lower).digits = 0;
    let (large, redirects, flows) = amounts(effort);
    recorder.parameter(
        MEMORY,
        format!(
            "differences, divided by the number: between tables of {SMALL} and of {large} (room); \
             between none and {redirects} redirects, {flows} established flows, in tables with \
             room. Kernel maps: `memlock` of all pinned maps in fdinfo. Daemon: VmRSS"
        ),
    );
}

/// A large size of a table, and how many redirects and flows are entered.
fn amounts(effort: &Effort) -> (u32, u32, u32) {
    if effort.quick { (1 << 14, 1_000, 1_000) } else { (1 << 18, 100_000, 100_000) }
}

/// Measures all of it.
///
/// # Errors
/// The daemon does not start, or the kernel gives no account of a map.
pub(super) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    recorder.progress.step("memory", "room");
    let (large, redirects, flows) = amounts(effort);
    let lab = Lab::new()?;
    let small = Settings {
        home: HOME,
        attach: "xdp",
        interfaces: &[IN0, OUT0],
        redirects: SMALL,
        flows: SMALL,
        half_open: SMALL,
    };
    let base = Held::by(&Daemon::with(&lab.home, &small)?)?;
    for (what, settings) in [
        ("each redirect there is room for", Settings { redirects: large, ..small }),
        ("each established flow there is room for", Settings { flows: large, ..small }),
        ("each half-open flow there is room for", Settings { half_open: large, ..small }),
    ] {
        let held = Held::by(&Daemon::with(&lab.home, &settings)?)?;
        held.record(&base, large - SMALL, what, recorder);
    }
    in_force(&lab, redirects, recorder)?;
    recorder.note(
        "Memory: what maps give as their own is what they ask for; the allocator rounds entries up \
         to its classes of 96, 128, 192, 256 or 512 bytes. A redirect or an established flow takes \
         its room too; a half-open one is room and nothing else, for its table is filled at the \
         start. Room is for IPv4 and IPv6 alike.",
    );
    established(&lab, flows, effort, recorder)
}

fn in_force(lab: &Lab, redirects: u32, recorder: &mut Recorder) -> Result<()> {
    recorder.progress.step("memory", "redirects");
    let scenario = Scenario { flows: 1, redirects };
    let mut daemon = Daemon::start(&lab.home, "xdp", &scenario)?;
    let before = Held::by(&daemon)?;
    daemon.apply(&daemon.rule_file("rules.yaml", &rules(&scenario))?)?;
    let fresh = Held::by(&daemon)?;
    fresh.record(&before, redirects, "each redirect, just applied", recorder);
    recorder.progress.step("memory", "redirects, adopted");
    daemon.end(nix::sys::signal::Signal::SIGTERM)?;
    daemon.again(&lab.home)?;
    let adopted = Held::by(&daemon)?;
    adopted.record(&before, redirects, "each redirect, after a restart", recorder);
    Ok(())
}

fn established(lab: &Lab, flows: u32, effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    recorder.progress.step("memory", "flows");
    let scenario = Scenario { flows, redirects: 1 };
    let daemon = Daemon::start(&lab.home, "xdp", &scenario)?;
    daemon.apply(&daemon.rule_file("rules.yaml", &rules(&scenario))?)?;
    let before = Held::by(&daemon)?;
    let mut generator = lab.peer.enter(|| Generator::new(PEER0, &stream::stream(flows)))?;
    establish(lab, &mut generator, effort.processor)?;
    Held::by(&daemon)?.record(&before, flows, "each established flow", recorder);
    Ok(())
}

/// Bytes that a daemon and its maps hold.
#[derive(Debug, Clone, Copy)]
struct Held {
    maps: u64,
    daemon: u64,
}

impl Held {
    fn by(daemon: &Daemon) -> Result<Self> {
        Ok(Self { maps: of_maps(&daemon.pins())?, daemon: of_process(daemon.id())? })
    }

    /// Records what each of `number` takes, by what was held `before` them.
    fn record(&self, before: &Self, number: u32, what: &str, recorder: &mut Recorder) {
        let each = |now: u64, then: u64| (now as f64 - then as f64) / f64::from(number);
        recorder.record(MEMORY, what, MAPS, each(self.maps, before.maps));
        recorder.record(MEMORY, what, DAEMON, each(self.daemon, before.daemon));
    }
}

/// Bytes that the maps pinned in `folder` hold, by their own account.
fn of_maps(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Ok(object) = MapData::from_pin(&path) else { continue };
        let fd = object.fd().as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
        // Programs and links are pinned there too.
        if field(&info, "map_type:").is_ok() {
            bytes += field(&info, "memlock:").with_context(|| format!("{}", path.display()))?;
        }
    }
    ensure!(bytes > 0, "no map with memory is pinned in {}", folder.display());
    Ok(bytes)
}

fn of_process(id: u32) -> Result<u64> {
    Ok(1024 * field(&fs::read_to_string(format!("/proc/{id}/status"))?, "VmRSS:")?)
}

/// The number behind `name` in a file of /proc.
fn field(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).with_context(|| format!("no number at {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        let text = "Name:\tx\nVmRSS:\t    1234 kB\nmemlock:\t4096\n";
        assert_eq!(field(text, "VmRSS:").unwrap(), 1234);
        assert_eq!(field(text, "memlock:").unwrap(), 4096);
        assert!(field(text, "gone:").is_err());
    }
}
