//! From a packet to its flow: is it for any, then established flows, half-open
//! ones, and redirects.

use redirectd_ebpf::{
    abi::{Addr, Endpoint, Flow, FlowKey, PeerPrefix, SlotWord, flow_flags, slot_state},
    endpoint_set::Place,
    group::gate,
    reason::Reason,
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
    /// The redirect is in a group whose gate is not simply open: see
    /// [`crate::park::pass`].
    Gated(SlotWord),
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
    if word.is_settled(flow.generation) || !can_move(flow) {
        return Standing::Current;
    }
    if word.group() != 0 {
        let gate = maps::GROUPS.get(word.group()).map_or(gate::OPEN, |group| group.gate());
        if gate != gate::OPEN {
            return Standing::Gated(word);
        }
    }
    standing_by(flow, word)
}

/// How `flow` stands to its redirect, whose word is `word`, groups apart.
#[inline(always)]
pub fn standing_by<A>(flow: &Flow<A>, word: SlotWord) -> Standing {
    if can_move(flow) && word.generation() != flow.generation {
        return Standing::Moved(word);
    }
    Standing::Current
}

/// Only the way to the host can change: what the old host has sent is still to be
/// delivered.
#[inline(always)]
fn can_move<A>(flow: &Flow<A>) -> bool {
    flow.flags & (flow_flags::TO_HOST | flow_flags::STAYS) == flow_flags::TO_HOST
}

/// Whether a packet of `key` can be of a flow or open one: it goes to a home
/// endpoint, or comes from one at a host. A mere filter: it spares packets that
/// are none of ours every look-up. Not for later fragments, which have no ports.
#[inline(always)]
pub fn may_be_ours<A: Addr>(key: &FlowKey<A>) -> bool {
    let tuple = &key.tuple;
    is_known(Place::of(tuple.destination, tuple.destination_port, key.protocol))
        || is_known(Place::of(tuple.source, tuple.source_port, key.protocol))
}

#[inline(always)]
fn is_known(place: Place) -> bool {
    maps::ENDPOINT_SET.get(place.word()).is_some_and(|word| word & place.bit() != 0)
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
