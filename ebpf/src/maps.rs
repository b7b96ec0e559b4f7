//! Every map, with who writes it and who reads it. All are pinned by name.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use redirectd_ebpf::{
    abi::{
        Endpoint, Entry, Flow, FlowKey, FragmentKey, Fragments, Held, HeldKey, Location, Neighbour,
        PeerPrefix, Record, Settings, SlotCounters, SlotWord, Station, Traffic, count,
    },
    endpoint_set,
    group::{self, GroupCounts, GroupWord},
    shared_hop::{self, SharedHop},
};

type V4 = u32;
type V6 = [u32; 4];

// The sizes are placeholders where user space sets them before it loads.
const FLOWS: u32 = 1 << 19;
const HALF_OPEN: u32 = 1 << 17;
const ENDPOINTS: u32 = 1 << 20;
const SLOT_COUNT: u32 = 1 << 14;
const DATAGRAMS: u32 = 1 << 12;
const HELD: u32 = 1 << 11;
pub const PARKED_BYTES: u32 = 1 << 23;

/// Established flows, two entries each. Programs add and update, user space expires.
#[map]
pub static FLOWS4: HashMap<FlowKey<V4>, Flow<V4>> = HashMap::pinned(FLOWS, BPF_F_NO_PREALLOC);
/// As [`FLOWS4`].
#[map]
pub static FLOWS6: HashMap<FlowKey<V6>, Flow<V6>> = HashMap::pinned(FLOWS, BPF_F_NO_PREALLOC);

/// Flows that only one side has spoken on; the oldest go when it is full.
/// Programs add, update and remove; user space expires.
#[map]
pub static HALF_OPEN4: LruHashMap<FlowKey<V4>, Flow<V4>> = LruHashMap::pinned(HALF_OPEN, 0);
/// As [`HALF_OPEN4`].
#[map]
pub static HALF_OPEN6: LruHashMap<FlowKey<V6>, Flow<V6>> = LruHashMap::pinned(HALF_OPEN, 0);

/// Home endpoints that are redirected. User space writes, tc reads.
#[map]
pub static REDIRECTS4: HashMap<Endpoint<V4>, Entry> = HashMap::pinned(ENDPOINTS, BPF_F_NO_PREALLOC);
/// As [`REDIRECTS4`].
#[map]
pub static REDIRECTS6: HashMap<Endpoint<V6>, Entry> = HashMap::pinned(ENDPOINTS, BPF_F_NO_PREALLOC);

/// Slots of redirects that are for some peers only. User space writes, tc reads.
#[map]
pub static PEERS4: LpmTrie<PeerPrefix<V4>, u32> = LpmTrie::pinned(ENDPOINTS, 0);
/// As [`PEERS4`].
#[map]
pub static PEERS6: LpmTrie<PeerPrefix<V6>, u32> = LpmTrie::pinned(ENDPOINTS, 0);

/// What each redirect does; one write is the flip of a move. User space writes,
/// both programs read for each packet.
#[map]
pub static SLOTS: Array<SlotWord> = Array::pinned(SLOT_COUNT, 0);
/// Where each redirect leads: two places a slot, in turns. User space writes, tc reads.
#[map]
pub static LOCATIONS: Array<Location> = Array::pinned(SLOT_COUNT * 2, 0);
/// How far each move has come; one write is its flip. User space writes, programs
/// read for each packet of a redirect that moves.
#[map]
pub static GROUPS: Array<GroupWord> = Array::pinned(group::GROUPS, 0);
/// What each group has held. Programs add, user space reads and clears.
#[map]
pub static GROUP_COUNTS: Array<GroupCounts> = Array::pinned(group::GROUPS, 0);
/// For each processor, whether a packet on it is just asked whether it is held, or being held:
/// odd while one is. tc counts, user space reads.
#[map]
pub static BETWEEN: PerCpuArray<u64> = PerCpuArray::pinned(1, 0);
/// Packets that are held, on their way to user space. tc writes.
#[map]
pub static PARKED: RingBuf = RingBuf::pinned(PARKED_BYTES, 0);
/// Counters of each redirect. Programs write, user space reads.
#[map]
pub static SLOT_COUNTERS: PerCpuArray<SlotCounters> = PerCpuArray::pinned(SLOT_COUNT, 0);

/// Endpoints worth a look-up: a bit for each that packets of a flow or of an
/// opening go to or come from, see [`redirectd_ebpf::endpoint_set`]. User space
/// writes, both programs read for each packet.
#[map]
pub static ENDPOINT_SET: Array<u64> = Array::pinned(endpoint_set::WORDS, 0);

/// Packets and bytes for each reason. Programs write, user space reads.
#[map]
pub static REASONS: PerCpuArray<Traffic> =
    PerCpuArray::pinned(redirectd_ebpf::reason::Reason::COUNT, 0);
/// Settings. User space writes, programs read.
#[map]
pub static SETTINGS: Array<Settings> = Array::pinned(1, 0);
/// Counts, see [`count`]. Programs and user space each write their own entries.
#[map]
pub static COUNTS: Array<u64> = Array::pinned(count::LEN, 0);

/// Interfaces with the XDP program, by index. User space writes, programs read.
#[map]
pub static XDP_INTERFACES: Array<Station> = Array::pinned(redirectd_ebpf::abi::XDP_INTERFACES, 0);

/// When the kernel last saw a packet for a neighbour, in nanoseconds of the
/// monotonic clock. Programs only.
#[map]
pub static NEIGHBOURS: LruHashMap<Neighbour, u64> = LruHashMap::pinned(1 << 12, 0);

/// Next hops that flows between the same addresses share. Programs only.
#[map]
pub static HOPS4: PerCpuArray<SharedHop<V4>> = PerCpuArray::pinned(shared_hop::PLACES, 0);
/// As [`HOPS4`].
#[map]
pub static HOPS6: PerCpuArray<SharedHop<V6>> = PerCpuArray::pinned(shared_hop::PLACES, 0);

/// Fragmented datagrams under way. tc writes and reads.
#[map]
pub static FRAGMENTS4: LruHashMap<FragmentKey<V4>, Fragments<V4>> =
    LruHashMap::pinned(DATAGRAMS, 0);
/// As [`FRAGMENTS4`].
#[map]
pub static FRAGMENTS6: LruHashMap<FragmentKey<V6>, Fragments<V6>> =
    LruHashMap::pinned(DATAGRAMS, 0);
/// Copies of fragments that came before their first one. tc writes and reads.
#[map]
pub static HELD4: LruHashMap<HeldKey<V4>, Held> = LruHashMap::pinned(HELD, 0);
/// As [`HELD4`].
#[map]
pub static HELD6: LruHashMap<HeldKey<V6>, Held> = LruHashMap::pinned(HELD, 0);
/// Where a fragment is put together before it is held. tc only.
#[map]
pub static SCRATCH: PerCpuArray<Held> = PerCpuArray::pinned(1, 0);
/// When the next ICMP message of home's own is due, in nanoseconds of the
/// monotonic clock. tc only.
#[map]
pub static ICMP_DUE: PerCpuArray<u64> = PerCpuArray::pinned(1, 0);
/// The tc programs that are tail-called, see [`crate::tc::Tail`]. User space writes.
#[map]
pub static PROGRAMS: ProgramArray = ProgramArray::pinned(13, 0);
/// Redirects by slot. User space only: what it adopts after a restart.
#[map]
pub static RECORDS: HashMap<u32, Record> = HashMap::pinned(SLOT_COUNT, BPF_F_NO_PREALLOC);
/// What was found behind IPv6 extension headers. Programs only.
#[map]
pub static BEYOND: PerCpuArray<crate::parse::Beyond> = PerCpuArray::pinned(1, 0);
/// Where flows are put together: the stack is too small. tc only.
#[map]
pub static DRAFT4: PerCpuArray<Draft<V4>> = PerCpuArray::pinned(1, 0);
/// As [`DRAFT4`].
#[map]
pub static DRAFT6: PerCpuArray<Draft<V6>> = PerCpuArray::pinned(1, 0);

/// An entry of a flow table that is being put together.
#[repr(C)]
pub struct Draft<A> {
    /// Its key.
    pub key: FlowKey<A>,
    /// Its value.
    pub flow: Flow<A>,
}
