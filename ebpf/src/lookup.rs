//! From a packet to its flow: established flows first, then half-open ones,
//! then redirects.

use redirectd_ebpf::{
    abi::{Endpoint, Flow, FlowKey, PORT_SET_WORDS, PeerPrefix, SlotWord, flow_flags, slot_state},
    reason::Reason,
    wire::proto,
};

use aya_ebpf::maps::lpm_trie::Key;

use crate::{family::Family, maps};

/// How a flow stands to its redirect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its translation counts.
    Current,
    /// The redirect was cut; the flow is void.
    Void,
    /// The redirect's target has changed since.
    Moved(SlotWord),
}

/// How `flow` stands to its redirect.
#[inline(always)]
pub fn standing<A>(flow: &Flow<A>) -> Standing {
    let Some(&word) = maps::SLOTS.get(flow.slot) else {
        return Standing::Void;
    };
    if word.state() == slot_state::NONE {
        return Standing::Void;
    }
    // Only the way to the host can change: what the old host has sent is still
    // to be delivered.
    if word.generation() != flow.generation
        && flow.flags & (flow_flags::TO_HOST | flow_flags::STAYS) == flow_flags::TO_HOST
    {
        return Standing::Moved(word);
    }
    Standing::Current
}

/// Whether `port` (network byte order) of `protocol` is one that half-open
/// flows or redirects have. A mere filter: it spares packets that are none of
/// ours every look-up but the first.
#[inline(always)]
pub fn is_known_port(protocol: u32, port: u16) -> bool {
    let port = u32::from(u16::from_be(port));
    let base = if protocol == u32::from(proto::UDP) { PORT_SET_WORDS } else { 0 };
    match maps::PORT_SET.get(base + (port >> 6)) {
        Some(word) => word & 1 << (port & 63) != 0,
        None => false,
    }
}

/// The slot of the redirect that `key` is for.
///
/// # Errors
/// The reason to leave the packet to the kernel: no redirect names its
/// destination, or none that does is for this peer.
#[inline(always)]
pub fn redirect<F: Family>(key: &FlowKey<F::Addr>) -> Result<u32, Reason> {
    let endpoint = Endpoint {
        address: key.tuple.destination,
        port: key.tuple.destination_port,
        protocol: key.protocol as u8,
        zero: 0,
    };
    // SAFETY: the entry is read at once; user space replaces entries whole.
    let Some(entry) = (unsafe { F::maps().redirects.get(endpoint) }) else {
        return Err(Reason::NoRedirect);
    };
    let entry = *entry;
    if entry.peers != 0 {
        let prefix = PeerPrefix { endpoint, peer: key.tuple.source };
        let bits = 8 * size_of::<PeerPrefix<F::Addr>>() as u32;
        if let Some(slot) = F::maps().peers.get(Key::new(bits, prefix)) {
            return Ok(*slot);
        }
    }
    match entry.slot {
        0 => Err(Reason::OtherPeer),
        slot => Ok(slot),
    }
}
