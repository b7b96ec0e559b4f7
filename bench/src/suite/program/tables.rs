//! redirectd's programs with tables filled by hand, as its daemon fills them.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, PerCpuArray},
    programs::ProgramFd,
};
use nix::net::if_::if_nametoindex;
use redirectd_bench_bpf::Stream;
use redirectd_ebpf::{
    abi::{
        ABI_VERSION, Flow, FlowKey, NextHop, Settings, SlotCounters, SlotWord, Tuple, flow_flags,
        slot_state,
    },
    nat::Deltas,
    wire::proto,
};

use super::{Entry, wrapper::load};
use crate::{
    pins::Pins,
    stream::{self, HOME_PORT, HOST_PORT},
    topology::{HOST, OUT0, nth},
};

/// The packet path's programs, in a form that ELF readers accept.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirectd.bpf.o"));

/// The redirect's slot, and its generation.
const SLOT: u32 = 1;
const GENERATION: u32 = 1;

/// Loaded programs and their maps.
pub(super) struct Tables {
    bpf: Ebpf,
    // The maps are pinned by name, so they need a place of their own.
    _pins: Pins,
}

impl Tables {
    /// Loads them with the flows of [`stream::stream`] of one and of `flows`
    /// flows established. Call it in home's namespace.
    ///
    /// # Errors
    /// The kernel refuses the programs.
    pub(super) fn new(flows: u32) -> Result<Self> {
        let pins = Pins::new()?;
        let mut bpf = EbpfLoader::new()
            .default_map_pin_directory(pins.path())
            .load(OBJECT)
            .context("cannot load redirectd's programs")?;
        load(&mut bpf, Entry::Xdp, name(Entry::Xdp))?;
        load(&mut bpf, Entry::Tc, name(Entry::Tc))?;
        let mut tables = Self { bpf, _pins: pins };
        tables.fill(flows)?;
        Ok(tables)
    }

    /// The program for `entry`.
    ///
    /// # Errors
    /// It is not loaded.
    pub(super) fn program(&self, entry: Entry) -> Result<&ProgramFd> {
        Ok(self.bpf.program(name(entry)).context("no such program")?.fd()?)
    }

    /// Packets translated so far.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(super) fn translated(&self) -> Result<u64> {
        let counters: PerCpuArray<_, SlotCounters> =
            self.bpf.map("SLOT_COUNTERS").context("no SLOT_COUNTERS")?.try_into()?;
        Ok(counters.get(&SLOT, 0)?.iter().map(|counters| counters.to_host.packets).sum())
    }

    fn fill(&mut self, flows: u32) -> Result<()> {
        let settings = Settings {
            abi_version: ABI_VERSION,
            snat_first: 61_000,
            snat_last: 65_535,
            flows_max: u64::from(flows) + 1,
        };
        self.array("SETTINGS")?.set(0, settings, 0)?;
        self.array("SLOTS")?.set(SLOT, SlotWord::new(GENERATION, slot_state::ACTIVE), 0)?;
        let mut interfaces: HashMap<_, u32, u32> =
            self.bpf.map_mut("XDP_INTERFACES").context("no XDP_INTERFACES")?.try_into()?;
        interfaces.insert(if_nametoindex(OUT0)?, 1, 0)?;
        let mut table: HashMap<_, FlowKey<u32>, Flow<u32>> =
            self.bpf.map_mut("FLOWS4").context("no FLOWS4")?.try_into()?;
        for stream in [stream::stream(1), stream::stream(flows)] {
            for (key, flow) in entries(&stream) {
                table.insert(key, flow, 0)?;
            }
        }
        Ok(())
    }

    fn array<T: aya::Pod>(&mut self, name: &str) -> Result<Array<&mut aya::maps::MapData, T>> {
        let map = self.bpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        Ok(map.try_into()?)
    }
}

fn name(entry: Entry) -> &'static str {
    match entry {
        Entry::Xdp => "redirectd_xdp",
        Entry::Tc => "redirectd_tc",
    }
}

/// The flows of `stream`, peer → host.
fn entries(stream: &Stream) -> impl Iterator<Item = (FlowKey<u32>, Flow<u32>)> {
    let Stream { peer, home, targets, per_target, peer_port, .. } = *stream;
    (0..targets).flat_map(move |target| {
        (0..per_target).map(move |n| {
            let source_port = (peer_port + n as u16).to_be();
            let from = Tuple {
                source: address(nth(peer.into(), target)),
                destination: address(home.into()),
                source_port,
                destination_port: (HOME_PORT + target as u16).to_be(),
            };
            let to = Tuple {
                source: address(home.into()),
                destination: address(HOST),
                source_port,
                destination_port: (HOST_PORT + target as u16).to_be(),
            };
            (FlowKey { tuple: from, protocol: proto::UDP.into() }, flow(&from, to))
        })
    })
}

fn flow(from: &Tuple<u32>, to: Tuple<u32>) -> Flow<u32> {
    let deltas = Deltas::between(from, &to);
    Flow {
        to,
        slot: SLOT,
        generation: GENERATION,
        flags: flow_flags::TO_HOST,
        handshake: 0,
        addresses: deltas.addresses.0,
        ports: deltas.ports.0,
        hop: NextHop::default(),
        last_seen: 0,
        packets: 0,
        bytes: 0,
    }
}

/// As it lies in a packet.
fn address(address: Ipv4Addr) -> u32 {
    u32::from(address).to_be()
}
