//! redirectd's programs as its daemon has loaded them, with flows that went
//! through home before.

use anyhow::{Context, Result, ensure};
use aya::{
    maps::MapInfo,
    programs::{ProgramFd, loaded_programs},
};
use redirectd::api::types::RedirectList;

use super::Entry;
use crate::{
    daemon::{Daemon, rules},
    scenario::Scenario,
    stream,
    topology::{Lab, PEER0},
    track::establish,
    traffic::Generator,
};

/// A map that both programs use; by it they are told from those of other
/// daemons on the machine.
const SHARED_MAP: &str = "FLOWS4";

/// The programs, and the daemon behind them.
pub(super) struct Tested {
    xdp: ProgramFd,
    tc: ProgramFd,
    daemon: Daemon,
}

impl Tested {
    /// Starts a daemon in `lab`, and establishes `flows` flows through it.
    ///
    /// # Errors
    /// The daemon does not start, or packets get lost.
    pub(super) fn new(lab: &Lab, flows: u32, processor: usize) -> Result<Self> {
        let scenario = Scenario { flows, redirects: 1 };
        let daemon = Daemon::start(&lab.home, "xdp", &scenario)?;
        daemon.apply(&daemon.rule_file("rules.yaml", &rules(&scenario))?)?;
        let mut generator = lab.peer.enter(|| Generator::new(PEER0, &stream::stream(flows)))?;
        establish(lab, &mut generator, processor)?;
        let counted = daemon.established()?;
        ensure!(counted == u64::from(flows), "{counted} of {flows} flows are established");
        let map = MapInfo::from_pin(daemon.pins().join(SHARED_MAP))
            .with_context(|| format!("redirectd has pinned no {SHARED_MAP}"))?
            .id();
        Ok(Self { xdp: find("redirectd_xdp", map)?, tc: find("redirectd_tc", map)?, daemon })
    }

    /// The program for `entry`.
    pub(super) fn program(&self, entry: Entry) -> &ProgramFd {
        match entry {
            Entry::Xdp => &self.xdp,
            Entry::Tc => &self.tc,
        }
    }

    /// Packets translated towards the host so far, by redirectd's own count.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub(super) fn translated(&self) -> Result<u64> {
        let list: RedirectList = self.daemon.get("/v1/redirects")?;
        Ok(list.redirects.iter().map(|redirect| redirect.counters.to_host.packets).sum())
    }
}

/// The loaded program `name` that uses the map with the id `map`.
fn find(name: &str, map: u32) -> Result<ProgramFd> {
    loaded_programs()
        .flatten()
        .find(|program| {
            program.name_as_str() == Some(name)
                && matches!(program.map_ids(), Ok(Some(maps)) if maps.contains(&map))
        })
        .with_context(|| format!("redirectd has loaded no {name}"))?
        .fd()
        .with_context(|| format!("cannot get at {name}"))
}
