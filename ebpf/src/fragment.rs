//! Fragments. Only the first one has ports; the others are known by the
//! datagram's identification.
//!
//! Datagrams of different peers leave home with one source address, so each
//! gets an identification of its own on the way out: the host would else put
//! fragments of different peers together (RFC 4963 on how likely that is).
//!
//! A fragment that comes before the first is copied and passed on to the
//! kernel, as it may be home's own. When the first comes and belongs to a flow,
//! the copies are received once more, after it.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::generated::{
        bpf_clone_redirect, bpf_ktime_get_coarse_ns, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use redirectd_ebpf::{
    abi::{
        Addr, Flow, FragmentKey, Fragments, HELD_BYTES, HELD_FRAGMENTS, HeldKey, NextHop, count,
        flow_flags, fragment_state, hop_kind, slot_state,
    },
    csum::Delta,
    reason::Reason,
    wire::proto,
};

use crate::{
    atomic::fetch_add,
    family::Family,
    maps,
    parse::{Frame, Packet, Part, bounded},
    rewrite, stats,
    tc::{again, raw, send, settle, untag, word},
    transport::TO_STACK,
};

/// How long the fragments of a datagram are waited for, in nanoseconds. Linux
/// waits 30 s to put them together; by then, at a few thousand datagrams a
/// second, a sender's identifications have come round.
const LIFETIME: u64 = 5_000_000_000;

/// The packet in hand has served: `TC_ACT_SHOT`.
const DONE: i32 = 2;
/// `BPF_F_INGRESS`: as if received on the interface.
const INGRESS: u64 = 1;

/// The program for fragments: later ones, and first ones that turned out to be
/// home's own.
#[inline(always)]
pub fn later<F: Family>(ctx: &TcContext) -> Result<i32, Reason> {
    let packet = &mut again::<F>(ctx)?;
    if packet.part == Part::First {
        own::<F>(&F::fragment_key(packet));
        return Err(word(ctx).0);
    }
    let protocol = packet.key.protocol as u8;
    if F::ICMP == proto::ICMP && protocol != proto::TCP && protocol != proto::UDP {
        return Err(Reason::OtherProtocol);
    }
    // SAFETY: no arguments, no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let key = F::fragment_key(packet);
    match known::<F>(&key, now) {
        Some(datagram) => follow_first::<F>(ctx, packet, &key, datagram),
        None => {
            hold::<F>(ctx, packet, &key, now)?;
            // The first may have come on another processor while we copied.
            match known::<F>(&key, now) {
                Some(datagram) => follow_first::<F>(ctx, packet, &key, datagram),
                None => Err(Reason::FragmentEarly),
            }
        }
    }
}

/// What is known of a datagram, if its first fragment has come.
#[inline(always)]
fn known<F: Family>(key: &FragmentKey<F::Addr>, now: u64) -> Option<&'static Fragments<F::Addr>> {
    let datagram = F::maps().fragments.get_ptr(key)?;
    // SAFETY: a map's value stays valid while the program runs.
    let datagram = unsafe { &*datagram };
    let counts =
        datagram.state != fragment_state::WAITING && now.wrapping_sub(datagram.made) < LIFETIME;
    counts.then_some(datagram)
}

/// Sends a later fragment where the first one went.
#[inline(always)]
fn follow_first<F: Family>(
    ctx: &TcContext,
    packet: &mut Packet<F::Addr>,
    key: &FragmentKey<F::Addr>,
    datagram: &Fragments<F::Addr>,
) -> Result<i32, Reason> {
    if datagram.state == fragment_state::OWN {
        return Err(Reason::FragmentOwn);
    }
    let word = maps::SLOTS.get(datagram.slot).ok_or(Reason::NoRedirect)?;
    if word.state() == slot_state::NONE {
        return Err(Reason::NoRedirect);
    }
    let hop = &datagram.hop;
    if packet.ttl <= 1 {
        // ICMP tells of the first fragment only (RFC 792).
        return Err(Reason::TtlExpired);
    }
    let too_big = hop.mtu != 0 && packet.length > u32::from(hop.mtu);
    if too_big && !packet.may_cut {
        return Err(Reason::TooBig);
    }
    let hop = if too_big { &TO_STACK } else { hop };
    untag(ctx, packet)?;
    let at = (packet.l3, packet.fragment_header);
    header::<F>(ctx, at, key, datagram)?;
    if hop.kind != hop_kind::UNRESOLVED {
        rewrite::macs(ctx, hop).map_err(|_| Reason::NoEffect)?;
    }
    let bytes = u64::from(packet.length);
    stats::reason(Reason::FragmentTranslated, bytes);
    stats::translated(
        datagram.slot,
        datagram.flags & u32::from(flow_flags::TO_HOST) != 0,
        1,
        bytes,
    );
    Ok(send(ctx, hop))
}

/// Rewrites the header of a later fragment: at `l3`, with IPv6 the fragment
/// header at `fragment_header`.
#[inline(always)]
fn header<F: Family>(
    ctx: &TcContext,
    (l3, fragment_header): (usize, usize),
    key: &FragmentKey<F::Addr>,
    datagram: &Fragments<F::Addr>,
) -> Result<(), Reason> {
    let change: Delta =
        key.source.delta(datagram.source).and(key.destination.delta(datagram.destination));
    let header = ctx.at::<F::Header>(l3).map_err(|_| Reason::NoEffect)?;
    // SAFETY: `at` has checked the bounds.
    let header = unsafe { &mut *header };
    F::write(header, datagram.source, datagram.destination, change);
    let aged = F::age(header);
    F::write_id(ctx, l3, fragment_header, datagram.id).map_err(|_| Reason::NoEffect)?;
    // A later fragment has no transport checksum, so in IPv6 nothing balances
    // what has changed; in IPv4 the header checksum does.
    settle(ctx, aged);
    if F::ICMP != proto::ICMP {
        settle(ctx, change.and(Delta::long(key.id, datagram.id)));
    }
    Ok(())
}

/// Notes the datagram whose first fragment is about to be translated. Returns
/// how many fragments came before it.
#[inline(never)]
pub fn first<F: Family>(packet: &Packet<F::Addr>, flow: &Flow<F::Addr>, now: u64) -> u32 {
    let key = F::fragment_key(packet);
    let datagram = Fragments {
        source: flow.to.source,
        destination: flow.to.destination,
        id: new_id(),
        slot: flow.slot,
        state: fragment_state::KNOWN,
        flags: u32::from(flow.flags & flow_flags::TO_HOST),
        hop: flow.hop,
        held: 0,
        made: now,
    };
    let held = waiting::<F>(&key, now);
    let _ = F::maps().fragments.insert(key, datagram, u64::from(BPF_ANY));
    held
}

/// Gives a first fragment its new identification.
#[inline(always)]
pub fn identify<F: Family>(ctx: &TcContext, packet: &Packet<F::Addr>) -> Result<(), Reason> {
    let datagram = F::maps().fragments.get_ptr(F::fragment_key(packet)).ok_or(Reason::NoEffect)?;
    // SAFETY: a map's value stays valid while the program runs.
    let id = unsafe { (*datagram).id };
    F::write_id(ctx, packet.l3, packet.fragment_header, id).map_err(|_| Reason::NoEffect)?;
    if F::ICMP != proto::ICMP {
        settle(ctx, Delta::long(packet.id, id));
    }
    Ok(())
}

/// A number for the identification: each next one, so that it comes round as
/// late as can be.
#[inline(always)]
fn new_id() -> u32 {
    let Some(counter) = maps::COUNTS.get_ptr_mut(count::FRAGMENT_ID) else { return 0 };
    // SAFETY: an aligned u64 in a map, shared and only ever changed atomically.
    unsafe { fetch_add(counter, 1) as u32 }
}

/// How many fragments of the datagram have been copied.
#[inline(always)]
fn waiting<F: Family>(key: &FragmentKey<F::Addr>, now: u64) -> u32 {
    let Some(datagram) = F::maps().fragments.get_ptr(key) else { return 0 };
    // SAFETY: a map's value stays valid while the program runs.
    let datagram = unsafe { &*datagram };
    if datagram.state == fragment_state::WAITING && now.wrapping_sub(datagram.made) < LIFETIME {
        datagram.held as u32
    } else {
        0
    }
}

/// Notes a datagram as home's own, so that its other fragments are not copied.
#[inline(never)]
pub fn own<F: Family>(key: &FragmentKey<F::Addr>) -> i64 {
    // SAFETY: no arguments, no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    enter::<F>(key, fragment_state::OWN, now);
    0
}

#[inline(always)]
fn enter<F: Family>(key: &FragmentKey<F::Addr>, state: u32, now: u64) {
    let datagram = Fragments {
        source: key.source,
        destination: key.destination,
        id: key.id,
        slot: 0,
        state,
        flags: 0,
        hop: NextHop::default(),
        held: 0,
        made: now,
    };
    let _ = F::maps().fragments.insert(key, datagram, u64::from(BPF_ANY));
}

/// Copies a fragment that has come before the first one.
#[inline(always)]
fn hold<F: Family>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    key: &FragmentKey<F::Addr>,
    now: u64,
) -> Result<(), Reason> {
    let length = packet.length;
    if length as usize > HELD_BYTES || length == 0 {
        return Err(Reason::FragmentTooLong);
    }
    let index = place::<F>(key, now)?;
    let scratch = maps::SCRATCH.get_ptr_mut(0).ok_or(Reason::NoEffect)?;
    // SAFETY: this processor's own; `length` is within the array.
    let loaded = unsafe {
        (*scratch).length = length;
        let to = (&raw mut (*scratch).packet).cast();
        bpf_skb_load_bytes(
            raw(ctx).cast(),
            packet.l3 as u32,
            to,
            bounded::<{ HELD_BYTES as u32 }>(&(*scratch).length),
        )
    };
    if loaded != 0 {
        return Err(Reason::Truncated);
    }
    let held_key = HeldKey { datagram: *key, index };
    // SAFETY: the scratch value is whole.
    let _ = F::maps().held.insert(held_key, unsafe { &*scratch }, u64::from(BPF_ANY));
    Ok(())
}

/// The how manieth early fragment this is.
#[inline(always)]
fn place<F: Family>(key: &FragmentKey<F::Addr>, now: u64) -> Result<u32, Reason> {
    if let Some(datagram) = F::maps().fragments.get_ptr_mut(key) {
        // SAFETY: a map's value stays valid while the program runs; `held` is
        // only ever changed atomically.
        let (fresh, held) = unsafe {
            let fresh = now.wrapping_sub((*datagram).made) < LIFETIME;
            (fresh, &raw mut (*datagram).held)
        };
        if fresh {
            // SAFETY: an aligned u64 in the map's value.
            let index = unsafe { fetch_add(held, 1) } as u32;
            return if index < HELD_FRAGMENTS { Ok(index) } else { Err(Reason::FragmentTooLong) };
        }
    }
    enter::<F>(key, fragment_state::WAITING, now);
    if let Some(datagram) = F::maps().fragments.get_ptr_mut(key) {
        // SAFETY: an aligned u64 in the map's value.
        unsafe { fetch_add(&raw mut (*datagram).held, 1) };
    }
    Ok(0)
}

/// Receives the first fragment again, and after it the copies of those that came
/// before it: now that the datagram is known, all of them take the common way.
#[inline(always)]
pub fn release<F: Family>(ctx: &TcContext, packet: &Packet<F::Addr>, held: u32) -> i32 {
    receive_again(ctx);
    let key = F::fragment_key(packet);
    for index in 0..HELD_FRAGMENTS {
        if index >= held {
            break;
        }
        release_one::<F>(raw(ctx).cast(), packet.l3 as u32, &key, index);
    }
    DONE
}

/// Turns the packet in hand into the copy of number `index` and receives it.
#[inline(never)]
fn release_one<F: Family>(
    skb: *mut core::ffi::c_void,
    l3: u32,
    key: &FragmentKey<F::Addr>,
    index: u32,
) -> i64 {
    let ctx = TcContext::new(skb.cast());
    let held_key = HeldKey { datagram: *key, index };
    let Some(held) = F::maps().held.get_ptr(held_key) else { return 0 };
    // SAFETY: a map's value stays valid while the program runs.
    let held = unsafe { &*held };
    let length = bounded::<{ HELD_BYTES as u32 }>(&held.length);
    // SAFETY: the context is valid; `length` is within the copy.
    let stored = unsafe {
        bpf_skb_change_tail(raw(&ctx), l3 + length, 0) == 0
            && bpf_skb_store_bytes(raw(&ctx), l3, held.packet.as_ptr().cast(), length, 0) == 0
    };
    if stored {
        stats::reason(Reason::FragmentReleased, u64::from(length));
        receive_again(&ctx);
    } else {
        stats::reason(Reason::NoEffect, u64::from(length));
    }
    let _ = F::maps().held.remove(held_key);
    0
}

/// Puts a copy of the packet in hand back to where it came in.
#[inline(always)]
fn receive_again(ctx: &TcContext) {
    // SAFETY: the context is valid; packet pointers are made anew afterwards.
    unsafe { bpf_clone_redirect(raw(ctx), (*raw(ctx)).ifindex, INGRESS) };
}
