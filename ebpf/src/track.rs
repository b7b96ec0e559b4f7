//! The life of a flow: half-open, established, taken along by a move, closed.

use aya_ebpf::bindings::BPF_NOEXIST;
use redirectd_ebpf::{
    abi::{Flow, FlowKey, SlotWord, Tuple, count, flow_flags},
    csum::Delta,
    nat::Deltas,
    reason::Reason,
    wire::{Tcp, proto},
};

use crate::{
    admit::location_tuple,
    atomic::fetch_add,
    family::Family,
    maps::{self, Draft},
    outcome,
};

/// TCP's share of a packet, as far as a flow's state depends on it.
#[derive(Clone, Copy, Default)]
pub struct Segment {
    /// Control bits.
    pub flags: u8,
    /// Sequence number, host byte order.
    pub sequence: u32,
    /// Acknowledgement number, host byte order.
    pub acknowledgement: u32,
}

impl Segment {
    /// Whether it asks for a new connection.
    #[inline(always)]
    pub fn opens(self) -> bool {
        self.flags & (Tcp::SYN | Tcp::ACK | Tcp::RST) == Tcp::SYN
    }
}

/// The largest window a host can have opened before the handshake is complete:
/// the window in a SYN is never scaled (RFC 7323, section 2.2).
const UNSCALED_WINDOW: u32 = 65_535;

/// The opposite entry's key.
#[inline(always)]
pub fn opposite<A: Copy>(flow: &Flow<A>, protocol: u32) -> FlowKey<A> {
    FlowKey { tuple: flow.to.inverse(), protocol }
}

/// Notes what a segment says about the life of an established flow.
///
/// Nobody here can tell whether a RST was believed. A side that really sent one
/// sends nothing else after it; one that goes on speaking takes it back (RFC
/// 7857, section 2, on forged ones).
#[inline(always)]
pub fn note<A>(flow: &mut Flow<A>, segment: Segment) {
    if segment.flags & (Tcp::FIN | Tcp::RST) == 0 && flow.flags & flow_flags::RST == 0 {
        return;
    }
    if segment.flags & Tcp::FIN != 0 {
        flow.flags |= flow_flags::FIN;
    }
    if segment.flags & Tcp::RST != 0 {
        flow.flags |= flow_flags::RST;
    } else {
        flow.flags &= !flow_flags::RST;
    }
}

/// Whether the connection behind an established flow is over, so that a SYN may
/// open the next one (RFC 9293, section 3.6.1, on TIME-WAIT).
#[inline(never)]
pub fn is_over<F: Family>(key: &FlowKey<F::Addr>, flow: &Flow<F::Addr>) -> i64 {
    // SAFETY: read at once; a concurrent update of a flag changes nothing here.
    let other = unsafe { F::maps().flows.get(opposite(flow, key.protocol)) };
    let other = other.map_or(flow_flags::RST, |other| other.flags);
    let any = flow.flags | other;
    let both = flow.flags & other;
    i64::from(any & flow_flags::RST != 0 || both & flow_flags::FIN != 0)
}

/// Removes both directions of an established flow.
#[inline(never)]
pub fn remove<F: Family>(key: &FlowKey<F::Addr>, flow: &Flow<F::Addr>) -> i64 {
    let flows = F::maps().flows;
    let other = opposite(flow, key.protocol);
    let first = flows.remove(key).is_ok();
    let second = flows.remove(other).is_ok();
    if first || second {
        add(count::REMOVED);
    }
    0
}

#[inline(always)]
fn add(index: u32) {
    if let Some(counter) = maps::COUNTS.get_ptr_mut(index) {
        // SAFETY: an aligned u64 in a map, shared and only ever changed atomically.
        unsafe { fetch_add(counter, 1) };
    }
}

/// What to do with a packet of a half-open flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Translate it; the flow stays half-open.
    Translate,
    /// It completes the flow: [`promote`], then translate it.
    Promote,
    /// It opens the flow anew.
    Admit,
    /// Drop it.
    Drop,
}

/// Decides on a packet of a half-open flow. `moved` tells that the redirect's
/// target has changed since the flow was taken.
#[inline(always)]
pub fn half_open<F: Family>(
    key: &FlowKey<F::Addr>,
    flow: &mut Flow<F::Addr>,
    segment: Segment,
    moved: bool,
) -> Step {
    let tcp = key.protocol == u32::from(proto::TCP);
    if flow.flags & flow_flags::TO_HOST == 0 {
        if !tcp {
            flow.flags |= flow_flags::ANSWERED;
            return Step::Translate;
        }
        if segment.flags & (Tcp::SYN | Tcp::ACK) == Tcp::SYN | Tcp::ACK {
            flow.handshake = segment.sequence.wrapping_add(1);
            flow.flags |= flow_flags::ANSWERED;
        }
        return Step::Translate;
    }
    if moved {
        return if !tcp || segment.opens() { Step::Admit } else { Step::Drop };
    }
    // SAFETY: read at once.
    let answer = unsafe { F::maps().half_open.get(opposite(flow, key.protocol)) };
    let Some(answer) = answer else { return anew(tcp, segment) };
    if answer.to != key.tuple.inverse() {
        // Another flow has taken the port.
        return anew(tcp, segment);
    }
    let answered = answer.flags & flow_flags::ANSWERED != 0;
    if !tcp {
        // Its source may be forged until it speaks again after an answer.
        return if answered { Step::Promote } else { Step::Translate };
    }
    if segment.opens() || segment.flags & Tcp::RST != 0 {
        return Step::Translate;
    }
    if segment.flags & Tcp::ACK != 0
        && answered
        && segment.acknowledgement.wrapping_sub(answer.handshake) <= UNSCALED_WINDOW
    {
        return Step::Promote;
    }
    Step::Drop
}

#[inline(always)]
fn anew(tcp: bool, segment: Segment) -> Step {
    if !tcp || segment.opens() { Step::Admit } else { Step::Drop }
}

/// Makes a half-open flow an established one.
#[inline(never)]
pub fn promote<F: Family>(key: &FlowKey<F::Addr>, flow: &Flow<F::Addr>) -> i64 {
    outcome::from(try_promote::<F>(key, flow))
}

#[inline(always)]
fn try_promote<F: Family>(key: &FlowKey<F::Addr>, half: &Flow<F::Addr>) -> Result<(), Reason> {
    let maps = F::maps();
    let draft = F::draft()?;
    draft.key = opposite(half, key.protocol);
    draft.flow = *half;
    let exclusive = u64::from(BPF_NOEXIST);
    maps.flows.insert(key, &draft.flow, exclusive).map_err(|_| Reason::TableFull)?;
    turn(&mut draft.flow, key);
    // SAFETY: read at once.
    if let Some(other) = unsafe { maps.half_open.get(&draft.key) } {
        draft.flow.packets = other.packets;
        draft.flow.bytes = other.bytes;
    }
    if maps.flows.insert(&draft.key, &draft.flow, exclusive).is_err() {
        let _ = maps.flows.remove(key);
        return Err(Reason::TableFull);
    }
    add(count::ESTABLISHED);
    let _ = maps.half_open.remove(key);
    let _ = maps.half_open.remove(&draft.key);
    Ok(())
}

/// Turns an entry for `key` into its opposite one.
#[inline(always)]
fn turn<A: Copy>(flow: &mut Flow<A>, key: &FlowKey<A>) {
    flow.to = key.tuple.inverse();
    flow.flags ^= flow_flags::TO_HOST;
    flow.addresses = Delta(flow.addresses).undone().0;
    flow.ports = Delta(flow.ports).undone().0;
    flow.hop.checked = 0;
    flow.packets = 0;
    flow.bytes = 0;
}

/// Brings an established flow, direction peer → host, up to its redirect's
/// present target, or lets it stay where it is.
#[inline(always)]
pub fn follow<F: Family>(
    key: &FlowKey<F::Addr>,
    flow: &mut Flow<F::Addr>,
    word: SlotWord,
) -> Result<(), Reason> {
    let location = maps::LOCATIONS.get(word.location(flow.slot)).ok_or(Reason::NoEffect)?;
    if flow.generation < location.follow_from {
        flow.flags |= flow_flags::STAYS;
        return Ok(());
    }
    let there = location_tuple::<F>(key, location);
    if is_at_home(key, &there) {
        come_home::<F>(key);
        return Err(Reason::AtHome);
    }
    let draft = F::draft()?;
    draft.flow = *flow;
    draft.flow.to.destination = there.destination;
    draft.flow.to.destination_port = there.destination_port;
    draft.flow.generation = word.generation();
    let to = draft.flow.to;
    let deltas = Deltas::between(&key.tuple, &to);
    draft.flow.addresses = deltas.addresses.0;
    draft.flow.ports = deltas.ports.0;
    turn(&mut draft.flow, key);
    // What the old way back has seen is the new one's past.
    draft.key = opposite(flow, key.protocol);
    // SAFETY: read at once.
    if let Some(old) = unsafe { F::maps().flows.get(&draft.key) } {
        draft.flow.flags = old.flags;
        draft.flow.packets = old.packets;
        draft.flow.bytes = old.bytes;
    }
    draft.key.tuple = to.inverse();
    install_answer::<F>(draft)?;
    // The old way back stays for what the old host has under way; user space
    // removes it when nothing comes any more.
    // Readers on other processors check the generation before and after.
    write_generation(flow, 0);
    flow.to = to;
    flow.addresses = deltas.addresses.0;
    flow.ports = deltas.ports.0;
    flow.hop.checked = 0;
    write_generation(flow, word.generation());
    Ok(())
}

/// Whether packets of `key` that become `there` stay at home: they go where they
/// came to.
#[inline(always)]
pub fn is_at_home<A: Copy + Eq>(key: &FlowKey<A>, there: &Tuple<A>) -> bool {
    there.destination == key.tuple.destination
        && there.destination_port == key.tuple.destination_port
}

/// Removes a flow whose process has come home. Its way back stays for what the
/// host has under way, as that of any host which a flow has left.
#[inline(always)]
fn come_home<F: Family>(key: &FlowKey<F::Addr>) {
    if F::maps().flows.remove(key).is_ok() {
        add(count::REMOVED);
    }
}

/// Enters the way back from the new host; that it is there already, prepared by
/// user space, is as good.
#[inline(always)]
fn install_answer<F: Family>(draft: &Draft<F::Addr>) -> Result<(), Reason> {
    let flows = F::maps().flows;
    if flows.insert(&draft.key, &draft.flow, u64::from(BPF_NOEXIST)).is_ok() {
        return Ok(());
    }
    // SAFETY: read at once.
    match unsafe { flows.get(&draft.key) } {
        Some(present) if present.to == draft.flow.to => Ok(()),
        _ => Err(Reason::CannotFollow),
    }
}

#[inline(always)]
fn write_generation<A>(flow: &mut Flow<A>, generation: u32) {
    // SAFETY: a valid, aligned field; volatile so that the order is kept.
    unsafe { core::ptr::write_volatile(&raw mut flow.generation, generation) };
}
