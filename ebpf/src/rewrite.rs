//! Applies a translation to a packet.

use redirectd_ebpf::{
    abi::{Flow, NextHop, Tuple},
    csum::Delta,
    nat,
    reason::Reason,
    wire::{Ports, Tcp, Udp, proto},
};

use crate::{
    family::Family,
    parse::{Frame, Packet},
};

/// What a flow does to a packet, read once: another processor may be about to
/// give the flow a new target.
pub struct Translation<A> {
    pub to: Tuple<A>,
    pub addresses: Delta,
    pub ports: Delta,
}

impl<A: Copy> Translation<A> {
    /// Reads it out of `flow`, or nothing if it changed meanwhile.
    #[inline(always)]
    pub fn of(flow: &Flow<A>) -> Result<Self, Reason> {
        // SAFETY: a valid field; volatile so that it is really read twice.
        let generation = || unsafe { core::ptr::read_volatile(&raw const flow.generation) };
        let before = generation();
        let read = Self { to: flow.to, addresses: Delta(flow.addresses), ports: Delta(flow.ports) };
        if before == 0 || before != generation() {
            return Err(Reason::NoEffect);
        }
        Ok(read)
    }
}

/// Writes addresses and ports, and takes one off the time to live; the
/// transport's checksum is left to the entry, as XDP and tc have different ways
/// to it. Checks all bounds before it writes anything. Returns what
/// [`Family::age`] does.
#[inline(always)]
pub fn headers<F: Family>(
    frame: &impl Frame,
    packet: &Packet<F::Addr>,
    translation: &Translation<F::Addr>,
) -> Result<Delta, Reason> {
    let header = frame.near::<F::Header>(packet.l3)?;
    let ports = frame.at::<Ports>(packet.l4)?;
    let to = &translation.to;
    // SAFETY: `at` has checked the bounds of both, and they do not overlap.
    unsafe {
        F::write(&mut *header, to.source, to.destination, translation.addresses);
        nat::ports(&mut *ports, to.source_port, to.destination_port);
        Ok(F::age(&mut *header))
    }
}

/// Brings the transport's checksum up to date in place: for packets whose
/// checksum is complete, as XDP sees them on real devices.
#[inline(always)]
pub fn transport_check<A>(
    frame: &impl Frame,
    packet: &Packet<A>,
    change: Delta,
) -> Result<(), Reason> {
    if packet.key.protocol == u32::from(proto::TCP) {
        // SAFETY: `at` has checked the bounds.
        nat::tcp_check(unsafe { &mut *frame.at::<Tcp>(packet.l4)? }, change);
    } else {
        // SAFETY: `at` has checked the bounds.
        nat::udp_check(unsafe { &mut *frame.at::<Udp>(packet.l4)? }, change);
    }
    Ok(())
}

/// Writes both MAC addresses of `hop`.
#[inline(always)]
pub fn macs(frame: &impl Frame, hop: &NextHop) -> Result<(), Reason> {
    let target = frame.near::<[u32; 3]>(0)?;
    let source = core::ptr::from_ref(hop).cast::<[u32; 3]>();
    // SAFETY: the two addresses are the first twelve bytes of both, and `at`
    // has checked the frame's bounds.
    unsafe { *target = *source };
    Ok(())
}
