//! The pinned maps, typed, and errors that say which one failed.

use std::path::Path;

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray, ProgramArray, lpm_trie::Key},
};
use redirectd_ebpf::{
    abi::{
        Endpoint, Entry, Flow, FlowKey, Location, PeerPrefix, Record, Settings, SlotCounters,
        SlotWord, Station, Traffic,
    },
    group::{GroupCounts, GroupWord},
};

use super::family::MapAddr;
use crate::error::{Error, Kind};

type V4 = u32;
type V6 = [u32; 4];

/// A table of flows.
pub(super) struct FlowTable<A: MapAddr> {
    /// To look up and change single entries.
    pub map: HashMap<MapData, FlowKey<A>, Flow<A>>,
    /// The same map, to be read whole.
    pub data: MapData,
}

/// The maps of one address family.
pub(super) struct FamilyMaps<A: MapAddr> {
    pub flows: FlowTable<A>,
    pub half_open: FlowTable<A>,
    pub redirects: HashMap<MapData, Endpoint<A>, Entry>,
    pub peers: LpmTrie<MapData, PeerPrefix<A>, u32>,
}

/// All maps user space reads or writes.
pub(super) struct Maps {
    pub v4: FamilyMaps<V4>,
    pub v6: FamilyMaps<V6>,
    pub slots: Array<MapData, SlotWord>,
    pub locations: Array<MapData, Location>,
    pub slot_counters: PerCpuArray<MapData, SlotCounters>,
    pub endpoint_set: Array<MapData, u64>,
    pub reasons: PerCpuArray<MapData, Traffic>,
    pub settings: Array<MapData, Settings>,
    pub counts: Array<MapData, u64>,
    pub xdp_interfaces: Array<MapData, Station>,
    pub programs: ProgramArray<MapData>,
    pub records: HashMap<MapData, u32, Record>,
    pub groups: Array<MapData, GroupWord>,
    pub group_counts: Array<MapData, GroupCounts>,
    pub between: PerCpuArray<MapData, u64>,
}

impl Maps {
    /// Takes the maps out of a loaded object, whose pins are in `directory`.
    pub(super) fn take(ebpf: &mut Ebpf, directory: &Path) -> Result<Self, Error> {
        Ok(Self {
            v4: FamilyMaps {
                flows: take_flows(ebpf, directory, "FLOWS4")?,
                half_open: take_flows(ebpf, directory, "HALF_OPEN4")?,
                redirects: take(ebpf, "REDIRECTS4")?,
                peers: take(ebpf, "PEERS4")?,
            },
            v6: FamilyMaps {
                flows: take_flows(ebpf, directory, "FLOWS6")?,
                half_open: take_flows(ebpf, directory, "HALF_OPEN6")?,
                redirects: take(ebpf, "REDIRECTS6")?,
                peers: take(ebpf, "PEERS6")?,
            },
            slots: take(ebpf, "SLOTS")?,
            locations: take(ebpf, "LOCATIONS")?,
            slot_counters: take(ebpf, "SLOT_COUNTERS")?,
            endpoint_set: take(ebpf, "ENDPOINT_SET")?,
            reasons: take(ebpf, "REASONS")?,
            settings: take(ebpf, "SETTINGS")?,
            counts: take(ebpf, "COUNTS")?,
            xdp_interfaces: take(ebpf, "XDP_INTERFACES")?,
            programs: take(ebpf, "PROGRAMS")?,
            records: take(ebpf, "RECORDS")?,
            groups: take(ebpf, "GROUPS")?,
            group_counts: take(ebpf, "GROUP_COUNTS")?,
            between: take(ebpf, "BETWEEN")?,
        })
    }
}

fn take_flows<A: MapAddr>(
    ebpf: &mut Ebpf,
    directory: &Path,
    name: &'static str,
) -> Result<FlowTable<A>, Error> {
    let data =
        MapData::from_pin(directory.join(name)).map_err(|error| failed("open", name, &error))?;
    Ok(FlowTable { map: take(ebpf, name)?, data })
}

/// Takes one map out of a loaded object.
pub(super) fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, Error>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| {
        Error::new(Kind::Failed, format!("the built-in BPF object has no map {name}"))
            .cure("rebuild redirectd; its two halves are of different versions")
    })?;
    M::try_from(map).map_err(|error| failed("open", name, &error))
}

/// An operation on a map that the kernel refused.
pub(super) fn failed(what: &str, map: &str, error: &dyn std::error::Error) -> Error {
    Error::new(Kind::Failed, format!("cannot {what} the map {map}: {}", chain(error)))
}

/// An error with all its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A whole prefix key for the trie of peers.
pub(super) fn peer_key<A: MapAddr>(
    endpoint: Endpoint<A>,
    peer: A,
    prefix: u8,
) -> Key<PeerPrefix<A>> {
    let bits = 8 * size_of::<Endpoint<A>>() as u32 + u32::from(prefix);
    Key::new(bits, PeerPrefix { endpoint, peer })
}
