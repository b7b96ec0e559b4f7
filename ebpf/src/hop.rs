//! Next hops, by the kernel's routes and neighbours.
//!
//! A flow keeps the hop it found and asks again after [`MAX_AGE`], or lets
//! another flow's answer confirm it (see [`shared_hop`]), so a changed route or
//! MAC address counts within that time whether or not a daemon runs.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::generated::{bpf_check_mtu, bpf_fib_lookup},
};
use redirectd_ebpf::{
    abi::{FlowKey, Neighbour, NextHop, Tuple, hop_kind},
    shared_hop,
};

use crate::{family::Family, maps, parse::settled};

/// How long a hop counts without being looked up again, in units of 2^20 ns
/// (about 1.05 ms).
const MAX_AGE: u32 = 477;

/// The loopback interface's index, which is the same in every network namespace.
pub const LOOPBACK: u32 = 1;

/// `struct bpf_fib_lookup` of linux/bpf.h, with the unions as we use them.
#[repr(C)]
struct FibLookup {
    family: u8,
    l4_protocol: u8,
    source_port: u16,
    destination_port: u16,
    /// In: length of the packet; out: the route's MTU.
    length_or_mtu: u16,
    ifindex: u32,
    tos_or_flow: u32,
    source: [u32; 4],
    destination: [u32; 4],
    link: Link,
}

/// The end of it. Cleared by words whose value the compiler does not see: it would call a
/// function to clear them, which is one more level of the stack, and before Linux 6.8
/// each takes at least 32 bytes of the 512 that there are.
#[repr(C)]
union Link {
    clear: [u64; 2],
    found: Found,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Found {
    vlan: u32,
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
}

const _: () = assert!(size_of::<FibLookup>() == 64);

/// Return codes of `bpf_fib_lookup` (linux/bpf.h).
const SUCCESS: i64 = 0;
const UNREACHABLE: i64 = 2;
const PROHIBITED: i64 = 3;
const NOT_FORWARDED: i64 = 4;
const NO_NEIGHBOUR: i64 = 7;

/// The time in the unit of [`NextHop::checked`], never 0.
#[inline(always)]
fn clock(now: u64) -> u32 {
    (now >> 20) as u32 | 1
}

/// Whether `hop` may be used as it is.
#[inline(always)]
pub fn is_fresh(hop: &NextHop, now: u64) -> bool {
    hop.checked != 0 && clock(now).wrapping_sub(hop.checked) < MAX_AGE
}

/// Looks up the way for packets that have become `to`.
///
/// The route is asked for as if the packet came in through `lo`: that is what
/// the kernel does for packets a node sends itself, and `lo` is the one
/// interface on which forwarding can be allowed without making home a router.
#[inline(never)]
pub fn find<F: Family>(
    ctx: *mut c_void,
    to: &Tuple<F::Addr>,
    protocol: u32,
    now: u64,
    hop: &mut NextHop,
) -> u32 {
    look_up::<F>(ctx, to, protocol, now, hop)
}

#[inline(always)]
fn look_up<F: Family>(
    ctx: *mut c_void,
    to: &Tuple<F::Addr>,
    protocol: u32,
    now: u64,
    hop: &mut NextHop,
) -> u32 {
    let clear = settled(0) as u64;
    let mut fib = FibLookup {
        family: F::AF,
        l4_protocol: protocol as u8,
        source_port: to.source_port,
        destination_port: to.destination_port,
        // Any length will do: given one, the kernel reports the MTU.
        length_or_mtu: 1,
        ifindex: LOOPBACK,
        tos_or_flow: 0,
        source: F::words(to.source),
        destination: F::words(to.destination),
        link: Link { clear: [clear; 2] },
    };
    // SAFETY: `ctx` is the program's context; `fib` is a whole, initialised
    // struct of the size given.
    let result =
        unsafe { bpf_fib_lookup(ctx, (&raw mut fib).cast(), size_of::<FibLookup>() as i32, 0) };
    let kind = match result {
        SUCCESS => match maps::XDP_INTERFACES.get(fib.ifindex) {
            Some(station) if station.on != 0 => hop_kind::ETHERNET_XDP,
            _ => hop_kind::ETHERNET,
        },
        NO_NEIGHBOUR => hop_kind::UNRESOLVED,
        NOT_FORWARDED | UNREACHABLE | PROHIBITED => hop_kind::LOCAL,
        _ => hop_kind::NONE,
    };
    // SAFETY: all of it has a value, and any is one.
    let found = unsafe { fib.link.found };
    *hop = NextHop {
        destination: found.destination_mac,
        source: found.source_mac,
        ifindex: if kind == hop_kind::LOCAL { LOOPBACK } else { fib.ifindex },
        mtu: match result {
            SUCCESS => fib.length_or_mtu,
            NO_NEIGHBOUR => interface_mtu(ctx, fib.ifindex),
            _ => 0,
        },
        kind,
        checked: clock(now),
    };
    // An unresolved neighbour is asked for at every packet until it answers.
    if kind == hop_kind::UNRESOLVED || kind == hop_kind::NONE {
        hop.checked = 0;
    }
    0
}

/// The MTU of an interface; 0 if it cannot be told. The kernel tells a route's
/// only together with the neighbour.
#[inline(always)]
fn interface_mtu(ctx: *mut c_void, ifindex: u32) -> u16 {
    let mut mtu = 0u32;
    // SAFETY: `ctx` is the program's context, `mtu` a place for the answer. With
    // a length of 0 in it the packet's own counts; a packet that is too large is
    // reported as an error, but the MTU is filled in all the same.
    unsafe { bpf_check_mtu(ctx, ifindex, &raw mut mtu, 0, 0) };
    if mtu > 0xffff { 0xffff } else { mtu as u16 }
}

/// The way for packets of `key`'s flow after their translation to `to`. Returns
/// whether it was looked up just now.
#[inline(always)]
pub fn refresh<F: Family>(
    ctx: *mut c_void,
    key: &FlowKey<F::Addr>,
    to: &Tuple<F::Addr>,
    now: u64,
    hop: &mut NextHop,
) -> bool {
    if is_fresh(hop, now) {
        return false;
    }
    ask::<F>(ctx, to, key.protocol, now, hop) != 0
}

/// Has a hop that is no longer fresh confirmed by what another flow was told, or
/// looks it up. Returns 1 if it was looked up.
#[inline(never)]
fn ask<F: Family>(
    ctx: *mut c_void,
    to: &Tuple<F::Addr>,
    protocol: u32,
    now: u64,
    hop: &mut NextHop,
) -> u32 {
    let place = shared_hop::place(to.source, to.destination);
    let Some(shared) = F::maps().hops.get_ptr_mut(place) else { return 0 };
    // SAFETY: this processor's own. Should another program interrupt this one
    // between two words of it, a hop that never was may be kept, which confirms
    // nothing.
    let shared = unsafe { &mut *shared };
    if hop.checked != 0
        && is_fresh(&shared.hop, now)
        && shared.confirms(to.source, to.destination, hop)
        && !shared_hop::is_own_turn(to.source_port, to.destination_port, clock(now))
    {
        // No later than when the kernel was asked: what is passed on does not
        // get younger.
        hop.checked = shared.hop.checked;
        return 0;
    }
    look_up::<F>(ctx, to, protocol, now, hop);
    // Field by field: the stack is short.
    shared.source = to.source;
    shared.destination = to.destination;
    shared.hop = *hop;
    1
}

/// How long the kernel may go without a packet for a neighbour, in nanoseconds.
const NUDGE_AGE: u64 = 1_000_000_000;

/// Whether the kernel should see a packet for this neighbour again. It doubts a
/// neighbour, asks for it and notices a new MAC address only when it sends
/// something there itself (RFC 4861, section 7.3; ARP in Linux is alike), so now
/// and then a packet goes by the kernel's neighbour table. With `mark`, that
/// packet is this one.
#[inline(never)]
pub fn is_neighbour_due(hop: &NextHop, now: u64, mark: bool) -> bool {
    let neighbour = Neighbour { ifindex: hop.ifindex, mac: hop.destination, zero: 0 };
    // SAFETY: read at once.
    let seen = unsafe { maps::NEIGHBOURS.get(neighbour) }.copied().unwrap_or(0);
    if seen != 0 && now.saturating_sub(seen) < NUDGE_AGE {
        return false;
    }
    if mark {
        let _ = maps::NEIGHBOURS.insert(neighbour, now, u64::from(BPF_ANY));
    }
    true
}
