//! Packets for processes that are being moved: which are held, how they are
//! held, and how those that were come in again.
//!
//! A held packet is copied whole to user space, by a ring buffer, and dropped.
//! To deliver it, user space sends it out of the interface it came in by, with a
//! mark; a program on that interface's egress hook turns it round. So it comes in
//! once more and takes the common way, with the tables as they are by then.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_AVAIL_DATA},
    helpers::generated::{bpf_redirect, bpf_skb_load_bytes},
    programs::TcContext,
};
use redirectd_ebpf::{
    abi::{Flow, FlowKey, Location, SlotWord, count, slot_state},
    group::{NOTED, Parked, ParkedHeader, REPLAY_IN, REPLAY_OUT},
    reason::Reason,
};

use crate::{
    admit::location_tuple,
    atomic::fetch_add,
    family::Family,
    lookup::{self, Standing},
    maps,
    parse::bounded,
    tc::{Tail, raw, tail_to},
    track::is_at_home,
};

/// `BPF_F_INGRESS`: as if received on the interface.
const INGRESS: u64 = 1;

/// How a packet's flow stands to its redirect; a packet that is to be held does
/// not come back from here.
///
/// # Errors
/// The program that holds it is not loaded.
#[inline(always)]
pub fn standing<A>(ctx: &TcContext, flow: &Flow<A>) -> Result<Standing, Reason> {
    match lookup::standing(flow) {
        Standing::Gated(word) => Ok(lookup::standing_by(flow, pass(ctx, word)?)),
        standing => Ok(standing),
    }
}

/// Where a redirect leads.
pub struct Way {
    pub slot: u32,
    pub word: SlotWord,
    pub location: &'static Location,
}

/// The redirect that `key` is for, if it leads to a host; a packet that is to be
/// held does not come back from here.
///
/// # Errors
/// The reason to leave the packet to the kernel: that of [`lookup::redirect`], or
/// the process is at home; or the program that holds it is not loaded.
#[inline(always)]
pub fn redirect<F: Family>(ctx: &TcContext, key: &FlowKey<F::Addr>) -> Result<Way, Reason> {
    let slot = lookup::redirect::<F>(key)?;
    let word = *maps::SLOTS.get(slot).ok_or(Reason::NoRedirect)?;
    if word.state() != slot_state::ACTIVE {
        return Err(Reason::NoRedirect);
    }
    let word = pass(ctx, word)?;
    let location = maps::LOCATIONS.get(word.location(slot)).ok_or(Reason::NoRedirect)?;
    if is_at_home(key, &location_tuple::<F>(key, location)) {
        return Err(Reason::AtHome);
    }
    Ok(Way { slot, word, location })
}

/// The word that counts for a packet of a slot with `word`, unless the packet is
/// to be held.
#[inline(always)]
fn pass(ctx: &TcContext, word: SlotWord) -> Result<SlotWord, Reason> {
    let index = word.group();
    if index == 0 {
        return Ok(word);
    }
    let (Some(group), Some(counts)) =
        (maps::GROUPS.get(index), maps::GROUP_COUNTS.get_ptr_mut(index))
    else {
        return Ok(word);
    };
    enter_or_leave();
    // SAFETY: map values stay valid while the program runs. Both are read only after user
    // space can see that they are.
    let (group, held) = unsafe {
        ((&raw const *group).read_volatile(), (&raw const (*counts).packets).read_volatile())
    };
    if group.holds(held, is_replayed(ctx)) {
        // SAFETY: the context is valid; `cb` is for programs to leave notes in.
        unsafe { (*raw(ctx)).cb[0] = index };
        let not_ready = tail_to(ctx, Tail::Park as u32);
        enter_or_leave();
        return Err(not_ready);
    }
    enter_or_leave();
    Ok(group.effective(word))
}

/// Called before a group's word is read, and again once it is known what that means for the
/// packet: it is held, or dropped, or neither. Nothing else comes between on one processor, as
/// no other packet interrupts a program.
#[inline(always)]
fn enter_or_leave() {
    if let Some(steps) = maps::BETWEEN.get_ptr_mut(0) {
        // SAFETY: an aligned u64 in a map. Atomic not for other processors, which write their
        // own, but so that nothing is read before it is written.
        unsafe { fetch_add(steps, 1) };
    }
}

/// The word that counts for a slot with `word`, for a packet that is not held.
#[inline(always)]
pub fn effective(word: SlotWord) -> SlotWord {
    maps::GROUPS.get(word.group()).map_or(word, |group| group.effective(word))
}

/// Whether the packet was held before.
#[inline(always)]
fn is_replayed(ctx: &TcContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*raw(ctx)).mark == REPLAY_IN }
}

/// At the end of a packet that was held before: it is a packet like any other
/// from here on, and user space may send the next one.
#[inline(always)]
pub fn finish(ctx: &TcContext) {
    if !is_replayed(ctx) {
        return;
    }
    // SAFETY: the context is valid while the program runs.
    unsafe { (*raw(ctx)).mark = 0 };
    if let Some(count) = maps::COUNTS.get_ptr_mut(count::REPLAYED) {
        // SAFETY: an aligned u64 in a map, shared and only ever changed atomically.
        unsafe { fetch_add(count, 1) };
    }
}

/// Sends what user space sends with our mark back in; nothing for all others.
#[inline(always)]
pub fn turn_round(ctx: &TcContext) -> Option<i32> {
    // SAFETY: the context is valid while the program runs; the helper takes no
    // pointers.
    unsafe {
        let skb = raw(ctx);
        if (*skb).mark != REPLAY_OUT {
            return None;
        }
        (*skb).mark = REPLAY_IN;
        Some(bpf_redirect((*skb).ifindex, INGRESS) as i32)
    }
}

/// The program that holds a packet of the group noted in `cb`.
#[inline(always)]
pub fn hold(ctx: &TcContext) -> Result<i32, Reason> {
    // SAFETY: the context is valid while the program runs.
    let skb = unsafe { &*raw(ctx) };
    let reason = keep(ctx, skb);
    enter_or_leave();
    Err(reason)
}

/// Copies a packet to user space, or says that there is no room for it.
#[inline(always)]
fn keep(ctx: &TcContext, skb: &__sk_buff) -> Reason {
    let length = ctx.len();
    let vlan = if skb.vlan_present & 1 == 0 {
        0
    } else {
        u32::from(u16::from_be(skb.vlan_proto as u16)) << 16 | skb.vlan_tci & 0xffff
    };
    let header = ParkedHeader {
        group: skb.cb[0],
        length,
        ifindex: skb.ifindex,
        segment: skb.gso_size,
        vlan,
        dropped: 0,
    };
    let held = has_room(length)
        && match length {
            0 => false,
            1..=256 => copy::<256>(ctx, &header),
            257..=2048 => copy::<2048>(ctx, &header),
            2049..=16384 => copy::<16384>(ctx, &header),
            16385..=65600 => copy::<65600>(ctx, &header),
            _ => false,
        };
    if held {
        return Reason::Parked;
    }
    if let Some(counts) = maps::GROUP_COUNTS.get_ptr_mut(header.group) {
        // SAFETY: aligned u64s in a map, only ever changed atomically.
        unsafe {
            fetch_add(&raw mut (*counts).overflow_packets, 1);
            fetch_add(&raw mut (*counts).overflow_bytes, u64::from(length));
        }
    }
    note_dropped(ctx, header);
    Reason::ParkOverflow
}

/// Tells user space whose packet is dropped, if the ring buffer is not needed for
/// those that are held.
#[inline(always)]
fn note_dropped(ctx: &TcContext, header: ParkedHeader) {
    let waiting = maps::PARKED.query(u64::from(BPF_RB_AVAIL_DATA));
    if header.length == 0 || waiting > u64::from(maps::PARKED_BYTES) / 2 {
        return;
    }
    let header = ParkedHeader { dropped: 1, ..header };
    let noted = if header.length < NOTED { header.length } else { NOTED };
    let Some(mut place) = maps::PARKED.reserve::<Parked<{ NOTED as usize }>>(0) else { return };
    let record = place.as_mut_ptr();
    // SAFETY: the record is ours until it is submitted, and the helper fills no more
    // than the frame's bytes.
    let loaded = unsafe {
        (*record).header = header;
        let frame = (&raw mut (*record).frame).cast();
        bpf_skb_load_bytes(raw(ctx).cast(), 0, frame, bounded::<NOTED>(&noted))
    };
    if loaded == 0 { place.submit(0) } else { place.discard(0) }
}

/// Whether `length` bytes more may be held.
#[inline(always)]
fn has_room(length: u32) -> bool {
    let counted = |index| maps::COUNTS.get(index).copied().unwrap_or(0);
    let held = counted(count::HELD_BYTES).wrapping_sub(counted(count::DONE_BYTES));
    maps::SETTINGS.get(0).is_some_and(|settings| held + u64::from(length) <= settings.held_max)
}

/// What is loaded of a frame that is longer than a power of two: first so much,
/// then the rest, for the verifier follows lengths up to powers of two.
const HEAD: u32 = 64;

/// Copies the packet into the ring buffer, as a record of constant size, as the
/// kernel wants them; false if there is no room.
#[inline(always)]
fn copy<const N: usize>(ctx: &TcContext, header: &ParkedHeader) -> bool {
    let Some(mut place) = maps::PARKED.reserve::<Parked<N>>(0) else { return false };
    let record = place.as_mut_ptr();
    // SAFETY: the record is ours until it is submitted, `load` fills no more than
    // the frame's N bytes.
    let loaded = unsafe {
        (*record).header = *header;
        load::<N>(ctx, (&raw mut (*record).frame).cast(), &(*record).header.length)
    };
    if !loaded {
        place.discard(0);
        return false;
    }
    count_held(header);
    place.submit(0);
    true
}

/// Loads `length` bytes, at most `N`, to `frame`.
///
/// # Safety
/// There must be room for `N` bytes.
#[inline(always)]
unsafe fn load<const N: usize>(ctx: &TcContext, frame: *mut u8, length: &u32) -> bool {
    let skb = raw(ctx).cast();
    // SAFETY: the context is valid, and the lengths are within the caller's N.
    unsafe {
        match N {
            256 => bpf_skb_load_bytes(skb, 0, frame.cast(), bounded::<256>(length)) == 0,
            2048 => bpf_skb_load_bytes(skb, 0, frame.cast(), bounded::<2048>(length)) == 0,
            16384 => bpf_skb_load_bytes(skb, 0, frame.cast(), bounded::<16384>(length)) == 0,
            _ => {
                let rest = core::ptr::read_volatile(length).wrapping_sub(HEAD);
                bpf_skb_load_bytes(skb, 0, frame.cast(), HEAD) == 0
                    && bpf_skb_load_bytes(
                        skb,
                        HEAD,
                        frame.add(HEAD as usize).cast(),
                        bounded::<65536>(&rest),
                    ) == 0
            }
        }
    }
}

/// Counts a held packet, before user space can see it.
#[inline(always)]
fn count_held(header: &ParkedHeader) {
    let bytes = u64::from(header.length);
    if let Some(counts) = maps::GROUP_COUNTS.get_ptr_mut(header.group) {
        // SAFETY: aligned u64s in a map, only ever changed atomically.
        unsafe {
            fetch_add(&raw mut (*counts).packets, 1);
            fetch_add(&raw mut (*counts).bytes, bytes);
        }
    }
    if let Some(held) = maps::COUNTS.get_ptr_mut(count::HELD_BYTES) {
        // SAFETY: as above.
        unsafe { fetch_add(held, bytes) };
    }
}
