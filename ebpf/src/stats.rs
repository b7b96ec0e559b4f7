//! Counters: of reasons, and of slots. One set for each processor, so a plain
//! addition will do.

use redirectd_ebpf::{
    abi::{SlotCounters, Traffic},
    reason::Reason,
};

use crate::maps;

/// Counts one packet, or the `packets` of a batch that travel as one.
#[inline(always)]
fn add(traffic: &mut Traffic, packets: u64, bytes: u64) {
    traffic.packets = traffic.packets.wrapping_add(packets);
    traffic.bytes = traffic.bytes.wrapping_add(bytes);
}

/// Counts `reason` for a packet of `bytes`: its IP length if it is translated, that
/// of its frame if it is passed or dropped, as what passes is not even parsed.
#[inline(always)]
pub fn reason(reason: Reason, bytes: u64) {
    if let Some(traffic) = maps::REASONS.get_ptr_mut(reason as u32) {
        // SAFETY: this processor's own copy, valid while the program runs.
        add(unsafe { &mut *traffic }, 1, bytes);
    }
}

#[inline(always)]
fn with_slot(slot: u32, count: impl FnOnce(&mut SlotCounters)) {
    if let Some(counters) = maps::SLOT_COUNTERS.get_ptr_mut(slot) {
        // SAFETY: this processor's own copy, valid while the program runs.
        count(unsafe { &mut *counters });
    }
}

/// Counts packets translated for `slot`.
#[inline(always)]
pub fn translated(slot: u32, to_host: bool, packets: u64, bytes: u64) {
    with_slot(slot, |counters| {
        let traffic = if to_host { &mut counters.to_host } else { &mut counters.to_peer };
        add(traffic, packets, bytes);
    });
}

/// Counts a flow taken.
#[inline(always)]
pub fn opened(slot: u32) {
    with_slot(slot, |counters| counters.opened += 1);
}

/// Counts a flow refused.
#[inline(always)]
pub fn refused(slot: u32) {
    with_slot(slot, |counters| counters.refused += 1);
}
