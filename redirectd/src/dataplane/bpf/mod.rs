//! The kernel's side of the [`Dataplane`]: the only user of aya.
//!
//! Everything is pinned in one directory of a BPF file system. What is pinned
//! is the truth; [`Bpf::open`] reads it and mends what a daemon that died in the
//! middle of a change has left.

mod attach;
mod batch;
mod connect;
mod counters;
mod endpoint_set;
mod entries;
mod family;
mod flows;
mod follow;
mod groups;
mod link;
mod load;
#[cfg(feature = "log")]
mod log;
mod maps;
mod park;
mod pins;
mod record;
mod slots;

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    path::PathBuf,
};

use aya::Ebpf;
use tracing::warn;

pub use self::load::uninstall;
use self::{groups::Groups, maps::Maps, park::Parking, slots::Slots};
use super::{
    Attach, Attached, Change, Connection, Dataplane, FlowInfo, Group, GroupInfo, Held, Installed,
    ReasonCount, RedirectCounters, Relocation, Replayed, Slot, TableUse, Timers,
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
    /// Attach by clsact even where the kernel has TCX.
    pub clsact: bool,
}

/// The programs and maps in the kernel.
pub struct Bpf {
    ebpf: Ebpf,
    maps: Maps,
    slots: Slots,
    groups: Groups,
    parking: Parking,
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
        let groups = Groups::adopt(&maps, slots.in_groups(&maps)?)?;
        let mut parking = Parking::new(maps::take(&mut ebpf, "PARKED")?)?;
        for group in groups.delivered(&maps)? {
            // Without it what is held is lost, but all else goes on.
            if let Err(error) = parking.open(&mut ebpf, group, &attached) {
                warn!(group = group.0, "held packets cannot be delivered: {}", error.one_line());
            }
        }
        if groups.is_empty() {
            park::forget(&mut maps)?;
        }
        #[cfg(feature = "log")]
        log::follow(&mut ebpf)?;
        Ok(Self { ebpf, maps, slots, groups, parking, attached, options: options.clone() })
    }

    /// A loaded program, for tests and measurements with `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    /// The built-in object has no such program.
    pub fn program(&mut self, program: TestProgram) -> Result<BorrowedFd<'_>, Error> {
        let fd = match program {
            TestProgram::Tc => load::tc_program(&mut self.ebpf, load::TC)?.fd(),
            TestProgram::Xdp => load::xdp_program(&mut self.ebpf)?.fd(),
        };
        Ok(fd.map_err(|error| load::refused("use a program", &error))?.as_fd())
    }
}

/// Which program [`Bpf::program`] hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TestProgram {
    /// The tc entry.
    Tc,
    /// The XDP entry.
    Xdp,
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
        self.parking.tidy(&mut self.maps, !self.groups.is_empty())?;
        let swept =
            flows::sweep(&mut self.maps, timers, self.slots.doomed(), &self.groups.slots())?;
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
        let attached = attach::attach(self, interface, attach, replace)?;
        self.parking.follow(&mut self.ebpf, &attached)?;
        Ok(attached)
    }

    fn detach(&mut self, interface: &str) -> Result<(), Error> {
        attach::detach(self, interface)
    }

    fn attached(&self) -> Vec<Attached> {
        self.attached.clone()
    }

    fn group_begin(&mut self, relocation: &Relocation) -> Result<Group, Error> {
        self.begin(relocation)
    }

    fn group_park(&mut self, group: Group) -> Result<(), Error> {
        self.park(group)
    }

    fn group_return(
        &mut self,
        group: Group,
        connections: &[Connection],
    ) -> Result<Vec<Connection>, Error> {
        self.return_from(group, connections)
    }

    fn group_commit(&mut self, group: Group) -> Result<(), Error> {
        self.commit(group)
    }

    fn group_commit_held(&mut self, group: Group) -> Result<(), Error> {
        self.commit_held(group)
    }

    fn group_abort(&mut self, group: Group) -> Result<(), Error> {
        self.abort(group)
    }

    fn group_held(&self, group: Group) -> Result<Held, Error> {
        self.groups.check(group)?;
        groups::held(&self.parking, &self.maps, group)
    }

    fn group_replay(&mut self, group: Group) -> Result<Replayed, Error> {
        self.replay(group)
    }

    fn groups(&self) -> Result<Vec<GroupInfo>, Error> {
        Ok(self.groups.list())
    }
}
