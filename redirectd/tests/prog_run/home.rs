//! The home node under test: the real programs and tables in the real kernel,
//! and what they do with one packet.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::maps::{HashMap, Map, MapData};
use nix::net::if_::if_nametoindex;
use redirectd::{
    config::Tables,
    dataplane::{
        Attach, Change, Dataplane as _, FlowInfo, Traffic,
        bpf::{Bpf, Options, TestProgram},
    },
    rule::{Flows, Mode, PortRange, Protocol, Redirect},
};
use redirectd_ebpf::abi::Neighbour;
use xtask::lab::{Lab, Pins};

use crate::{
    network::{self, BACK, BACK_MAC, FRONT, FRONT_MAC, Mac},
    run::{self, Arrival},
};

/// Which programs are on home's interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// tc alone.
    Tc,
    /// XDP, and tc behind it for what XDP passes.
    XdpAndTc,
}

/// A packet's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It left.
    Sent(Vec<u8>),
    /// It was left to the kernel, untouched.
    Passed,
    /// It was dropped.
    Dropped,
}

/// What became of a packet.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its end.
    pub(crate) fate: Fate,
    /// Whether it was the XDP program that sent it.
    pub(crate) by_xdp: bool,
    /// The reasons that were counted for it.
    pub(crate) counted: BTreeMap<String, Traffic>,
}

/// The loopback interface's index, which is the same everywhere.
const LOOPBACK: u32 = 1;

/// Sizes of the tables, so small that opening them takes no time.
pub(crate) const TABLES: Tables =
    Tables { redirects: 64, flows: 1024, half_open: 1024, held_mib: 1 };

/// Ports for the SNAT side.
pub(crate) const SNAT_FIRST: u16 = 61_000;
/// See [`SNAT_FIRST`].
pub(crate) const SNAT_LAST: u16 = 65_535;

/// The home node.
pub(crate) struct Home {
    pub(crate) bpf: Bpf,
    pub(crate) entry: Entry,
    pub(crate) options: Options,
    front: u32,
    back: u32,
    // Last: they go after the programs.
    _pins: Pins,
    _lab: Lab,
}

/// Runs `test` on a new home for each entry.
pub(crate) fn at_home(test: impl Fn(&mut Home) + Sync) {
    for entry in [Entry::Tc, Entry::XdpAndTc] {
        at_entry(entry, TABLES, &test);
    }
}

/// Runs `test` on a new home.
pub(crate) fn at_entry(entry: Entry, tables: Tables, test: impl Fn(&mut Home) + Sync) {
    network::inside(|| test(&mut Home::new(entry, tables)));
}

impl Home {
    fn new(entry: Entry, tables: Tables) -> Self {
        let lab = Lab::new().expect("a lab");
        let pins = lab.pins();
        let snat_ports = PortRange::new(SNAT_FIRST, SNAT_LAST).expect("a range");
        let options =
            Options { pin_dir: pins.path().to_owned(), tables, snat_ports, clsact: false };
        let index = |name| if_nametoindex(name).expect("home's interfaces are there");
        let (front, back) = (index(FRONT), index(BACK));
        let bpf = Bpf::open(&options).unwrap_or_else(|error| panic!("{error}"));
        let mut home = Self { bpf, entry, options, front, back, _pins: pins, _lab: lab };
        home.attach();
        home.neighbours_are_seen(u64::MAX / 2);
        home
    }

    /// Lets the kernel have seen a packet for every neighbour at `when`, in
    /// nanoseconds of the monotonic clock. Far ahead, no packet takes the way by
    /// the kernel's neighbour table, at a moment the test does not choose.
    pub(crate) fn neighbours_are_seen(&self, when: u64) {
        let map = MapData::from_pin(self.options.pin_dir.join("NEIGHBOURS")).expect("it is pinned");
        let mut neighbours =
            HashMap::<_, Neighbour, u64>::try_from(Map::LruHashMap(map)).expect("its types");
        for ifindex in [self.front, self.back] {
            for last in 0..=u8::MAX {
                let neighbour = Neighbour { ifindex, mac: [2, 0, 0, 0, 0, last], zero: 0 };
                neighbours.insert(neighbour, when, 0).expect("there is room");
            }
        }
    }

    fn attach(&mut self) {
        let attach = match self.entry {
            Entry::Tc => Attach::Tc,
            Entry::XdpAndTc => Attach::Xdp,
        };
        for interface in [FRONT, BACK] {
            self.bpf.attach(interface, attach, false).expect("veth has both");
        }
    }

    /// The daemon goes and comes again, with `options`.
    pub(crate) fn restart(&mut self) -> Result<(), redirectd::error::Error> {
        self.bpf = Bpf::open(&self.options)?;
        Ok(())
    }

    /// Carries out one change of rules.
    pub(crate) fn apply(&mut self, change: Change) {
        self.bpf.apply(&[change]).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Adds a redirect.
    pub(crate) fn add(&mut self, redirect: &Redirect) {
        self.apply(Change::Add(redirect.clone()));
    }

    /// All flows there are.
    pub(crate) fn flows(&self) -> Vec<FlowInfo> {
        let mut flows = Vec::new();
        self.bpf.flows(&mut |flow| flows.push(flow)).expect("the flows can be read");
        flows
    }

    /// Packets and bytes counted so far for each reason.
    pub(crate) fn reasons(&self) -> BTreeMap<String, Traffic> {
        let reasons = self.bpf.reasons().expect("the reasons can be read");
        reasons.into_iter().map(|count| (count.reason, count.traffic)).collect()
    }

    /// What was counted since `before`.
    pub(crate) fn counted_since(
        &self,
        before: &BTreeMap<String, Traffic>,
    ) -> BTreeMap<String, Traffic> {
        difference(before, &self.reasons())
    }

    /// The interface that a frame for `station` comes in through.
    fn interface(&self, station: Mac) -> u32 {
        match station {
            FRONT_MAC => self.front,
            BACK_MAC => self.back,
            network::NO_MAC => LOOPBACK,
            _ => self.front,
        }
    }

    /// Gives `frame` to the programs as the interface does to which its MAC
    /// address belongs.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> Outcome {
        let station = frame.first_chunk().copied().unwrap_or(network::NO_MAC);
        let interface = self.interface(station);
        self.receive_as(frame, Arrival { interface, ..Arrival::default() })
    }

    /// As [`Home::receive`]; `arrival` says how, but for the interface.
    pub(crate) fn receive_with(&mut self, frame: &[u8], arrival: Arrival) -> Outcome {
        let station = frame.first_chunk().copied().unwrap_or(network::NO_MAC);
        self.receive_as(frame, Arrival { interface: self.interface(station), ..arrival })
    }

    /// As [`Home::receive`], without a look at what was counted: that takes longer
    /// than all the rest.
    pub(crate) fn receive_uncounted(&mut self, frame: &[u8]) -> Fate {
        let station = frame.first_chunk().copied().unwrap_or(network::NO_MAC);
        let arrival = Arrival { interface: self.interface(station), ..Arrival::default() };
        self.pass_through(frame, arrival).0
    }

    /// What the XDP program does with a frame, which is on its way to tc if it passes.
    pub(crate) fn xdp_alone(&mut self, frame: &[u8]) -> Fate {
        let station = frame.first_chunk().copied().unwrap_or(network::NO_MAC);
        let interface = self.interface(station);
        let program = self.bpf.program(TestProgram::Xdp).expect("it is loaded");
        xdp_fate(frame, run::xdp(program, frame, interface))
    }

    /// What the XDP program does with a frame at `lo`.
    pub(crate) fn xdp_at_loopback(&mut self, frame: &[u8]) -> Fate {
        let program = self.bpf.program(TestProgram::Xdp).expect("it is loaded");
        xdp_fate(frame, run::xdp(program, frame, LOOPBACK))
    }

    /// The tc entry at the front.
    pub(crate) fn front_entry(&mut self) -> FrontEntry {
        let program = self.bpf.program(TestProgram::Tc).expect("it is loaded");
        let program = program.try_clone_to_owned().expect("one more descriptor");
        FrontEntry { program, interface: self.front }
    }

    fn receive_as(&mut self, frame: &[u8], arrival: Arrival) -> Outcome {
        let before = self.reasons();
        let (fate, by_xdp) = self.pass_through(frame, arrival);
        let counted = self.counted_since(&before);
        Outcome { fate, by_xdp, counted }
    }

    /// Through the entries in turn, until one of them does not pass the frame on.
    fn pass_through(&mut self, frame: &[u8], arrival: Arrival) -> (Fate, bool) {
        if self.entry == Entry::XdpAndTc && arrival.interface != LOOPBACK {
            let program = self.bpf.program(TestProgram::Xdp).expect("it is loaded");
            let ran = run::xdp(program, frame, arrival.interface);
            let fate = xdp_fate(frame, ran);
            if fate != Fate::Passed {
                return (fate, true);
            }
        }
        let program = self.bpf.program(TestProgram::Tc).expect("it is loaded");
        let ran = run::tc(program, frame, arrival);
        (ran.map_or(Fate::Passed, |ran| tc_fate(frame, ran)), false)
    }
}

/// The tc program, for packets that come while home does something else.
pub(crate) struct FrontEntry {
    program: OwnedFd,
    interface: u32,
}

impl FrontEntry {
    /// Gives `frame` to the program.
    pub(crate) fn receive(&self, frame: &[u8]) -> Fate {
        let arrival = Arrival { interface: self.interface, ..Arrival::default() };
        let ran = run::tc(self.program.as_fd(), frame, arrival);
        tc_fate(frame, ran.expect("it is long enough"))
    }
}

/// `XDP_DROP`, `XDP_PASS`, `XDP_TX`, `XDP_REDIRECT` of linux/bpf.h.
fn xdp_fate(frame: &[u8], ran: run::Ran) -> Fate {
    match ran.verdict {
        1 => Fate::Dropped,
        2 => passed(frame, &ran.packet, "XDP"),
        verdict @ (3 | 4) => {
            // Back out of the interface it came in through, or out of another: the
            // addresses of the two interfaces tell.
            let same = frame[..6] == ran.packet[6..12];
            assert_eq!(verdict, if same { 3 } else { 4 }, "XDP_TX or XDP_REDIRECT");
            Fate::Sent(ran.packet)
        }
        other => panic!("the XDP program returned {other}"),
    }
}

/// `TCX_NEXT`, `TCX_DROP`, `TCX_REDIRECT` of linux/bpf.h.
fn tc_fate(frame: &[u8], ran: run::Ran) -> Fate {
    match ran.verdict {
        -1 => passed(frame, &ran.packet, "tc"),
        2 => Fate::Dropped,
        7 => Fate::Sent(ran.packet),
        other => panic!("the tc program returned {other}"),
    }
}

fn passed(before: &[u8], after: &[u8], entry: &str) -> Fate {
    assert_eq!(before, after, "{entry} passed a packet that it had changed");
    Fate::Passed
}

/// What was counted in between.
fn difference(
    before: &BTreeMap<String, Traffic>,
    after: &BTreeMap<String, Traffic>,
) -> BTreeMap<String, Traffic> {
    let mut counted = BTreeMap::new();
    for (reason, after) in after {
        let before = before.get(reason).copied().unwrap_or_default();
        if before != *after {
            let packets = after.packets - before.packets;
            counted.insert(reason.clone(), Traffic { packets, bytes: after.bytes - before.bytes });
        }
    }
    counted
}

/// A redirect of one port of home's, for all peers.
pub(crate) fn redirect(protocol: Protocol, home: (IpAddr, u16), target: (IpAddr, u16)) -> Redirect {
    Redirect {
        name: format!("{protocol}-{}-{}", if home.0.is_ipv4() { 4 } else { 6 }, home.1),
        protocols: vec![protocol],
        home: home.0,
        ports: PortRange::single(home.1).expect("a port"),
        target: target.0,
        target_port: target.1,
        host: None,
        peers: Vec::new(),
        mode: Mode::Nat,
        flows: Flows::NewOnly,
    }
}
