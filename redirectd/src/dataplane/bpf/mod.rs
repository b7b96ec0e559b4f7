//! The kernel's side of the [`Dataplane`]: the only user of aya.
//!
//! Everything is pinned in one directory of a BPF file system. What is pinned
//! is the truth; [`Bpf::open`] reads it and mends what a daemon that died in the
//! middle of a change has left.

mod attach;
mod batch;
mod counters;
mod entries;
mod family;
mod flows;
mod link;
mod load;
#[cfg(feature = "log")]
mod log;
mod maps;
mod netlink;
mod ports;
mod record;
mod slots;

use std::path::PathBuf;

use aya::Ebpf;

pub use self::load::uninstall;
use self::{maps::Maps, slots::Slots};
use super::{
    Attach, Attached, Change, Dataplane, FlowInfo, Installed, ReasonCount, RedirectCounters, Slot,
    TableUse, Timers,
};
use crate::{config::Tables, error::Error, rule::PortRange};

/// How to open the dataplane.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where programs, links and maps are pinned; on a BPF file system.
    pub pin_dir: PathBuf,
    /// Sizes of tables that are made anew; those that are adopted keep theirs.
    pub tables: Tables,
    /// Ports for the SNAT side where the peer's own is taken.
    pub snat_ports: PortRange,
}

/// The programs and maps in the kernel.
pub struct Bpf {
    ebpf: Ebpf,
    maps: Maps,
    slots: Slots,
    attached: Vec<Attached>,
    options: Options,
}

impl Bpf {
    /// Loads the programs; adopts pinned maps and the links of an earlier
    /// daemon, whose programs are replaced without a gap.
    ///
    /// # Errors
    /// No BPF file system, missing privileges, maps of another version, or a
    /// kernel that refuses the programs.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let (mut ebpf, mut maps) = load::load(options)?;
        let attached = attach::adopt(&mut ebpf, &options.pin_dir)?;
        let slots = Slots::adopt(&mut maps)?;
        #[cfg(feature = "log")]
        log::follow(&mut ebpf)?;
        Ok(Self { ebpf, maps, slots, attached, options: options.clone() })
    }

    /// Runs a program `repeat` times on `packet`, an Ethernet frame, without
    /// sending anything: for tests and measurements.
    ///
    /// # Errors
    /// The kernel refuses the packet; it wants at least an Ethernet header.
    pub fn test_run(
        &mut self,
        program: TestProgram,
        packet: &[u8],
        repeat: u32,
    ) -> Result<TestRun, Error> {
        use aya::programs::{TestRun as _, TestRunOptions};
        let mut out = vec![0; packet.len() + 4096];
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            repeat,
            ..TestRunOptions::new()
        };
        let result = match program {
            TestProgram::Tc => load::tc_program(&mut self.ebpf, load::TC)?.test_run(options),
            TestProgram::Xdp => load::xdp_program(&mut self.ebpf)?.test_run(options),
        };
        let result = result.map_err(|error| load::refused("run a program on a packet", &error))?;
        out.truncate(result.data_size_out as usize);
        Ok(TestRun { verdict: result.return_value, packet: out, duration: result.duration })
    }
}

/// Which program [`Bpf::test_run`] runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TestProgram {
    /// The tc entry.
    Tc,
    /// The XDP entry.
    Xdp,
}

/// What a program did with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRun {
    /// The program's return value: `TC_ACT_*` or `XDP_*`.
    pub verdict: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// Time for one run, on average; whole nanoseconds, truncated.
    pub duration: std::time::Duration,
}

impl Dataplane for Bpf {
    fn installed(&self) -> Result<Vec<Installed>, Error> {
        Ok(self.slots.installed())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.slots.apply(&mut self.maps, changes)
    }

    fn flows(&self, visit: &mut dyn FnMut(FlowInfo)) -> Result<(), Error> {
        flows::list(&self.maps, visit)
    }

    fn expire(&mut self, timers: &Timers) -> Result<u64, Error> {
        let swept = flows::sweep(&mut self.maps, timers, self.slots.doomed())?;
        self.slots.free(&mut self.maps, &swept.in_use)?;
        Ok(swept.removed)
    }

    fn counters(&self, slot: Slot) -> Result<RedirectCounters, Error> {
        counters::of_slot(&self.maps, slot)
    }

    fn reasons(&self) -> Result<Vec<ReasonCount>, Error> {
        counters::reasons(&self.maps)
    }

    fn tables(&self) -> Result<Vec<TableUse>, Error> {
        counters::tables(&self.maps, self.slots.used())
    }

    fn attach(
        &mut self,
        interface: &str,
        attach: Attach,
        replace: bool,
    ) -> Result<Attached, Error> {
        attach::attach(self, interface, attach, replace)
    }

    fn detach(&mut self, interface: &str) -> Result<(), Error> {
        attach::detach(self, interface)
    }

    fn attached(&self) -> Vec<Attached> {
        self.attached.clone()
    }
}
