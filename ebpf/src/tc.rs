//! The tc entry: everything the packet path can do. It works on socket buffers,
//! whose checksums may be left to hardware, so the transport's checksum is only
//! ever changed through the kernel's helper.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{
        bpf_csum_update, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh, bpf_skb_pull_data,
        bpf_skb_vlan_pop,
    },
    macros::classifier,
    programs::TcContext,
};
use redirectd_ebpf::{
    abi::{NextHop, hop_kind},
    csum::Delta,
    reason::{Fate, Reason},
    wire::{ETHERTYPE_IPV4, Ethernet, Tcp, Udp, VlanTag, proto},
};

use crate::{
    admit,
    family::{Family, V4, V6},
    fragment, icmp, maps, park,
    parse::{self, Frame, Packet, Part},
    rewrite::Translation,
    stats, tell, transport,
};

/// On with the next program; the last one leaves the packet to the kernel.
/// `TC_ACT_UNSPEC` and `TCX_NEXT` are the same number.
const NEXT: i32 = -1;
/// Drop the packet: `TC_ACT_SHOT`, `TCX_DROP`.
const DROP: i32 = 2;
/// `BPF_F_INGRESS`: as if received on the interface.
const INGRESS: u64 = 1;
/// `BPF_F_PSEUDO_HDR`: what changes is in the pseudo-header.
const PSEUDO: u64 = 1 << 4;
/// `BPF_F_MARK_MANGLED_0`: UDP's rules for a checksum of 0.
const UDP_RULES: u64 = 1 << 5;
/// `PACKET_HOST` of linux/if_packet.h: the frame is for this station.
const PACKET_HOST: u32 = 0;
/// How much of a packet must be in one piece: all headers that are looked at,
/// those of a packet quoted in an ICMP error included.
const LINEAR: u32 = 192;
/// Most VLAN tags a frame may have: a service tag and a customer tag.
const TAGS_MAX: usize = 2;

impl Frame for TcContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }
}

/// The raw context, for helpers and fields aya does not wrap.
#[inline(always)]
pub fn raw(ctx: &TcContext) -> *mut __sk_buff {
    ctx.skb.skb
}

/// What the tail-called programs do; most have two, for IPv4 and then for IPv6.
#[derive(Clone, Copy)]
pub enum Tail {
    /// TCP and UDP that need more than the established flow they belong to.
    Opening = 0,
    /// ICMP errors.
    Icmp = 2,
    /// Later fragments.
    Fragment = 4,
    /// Messages home itself owes.
    Tell = 6,
    /// New flows.
    Admit = 8,
    /// Flows whose redirect has a new target.
    Follow = 10,
    /// Packets that are held; one for both families.
    Park = 12,
}

/// Goes on in another program, which has a stack of its own and parses the
/// packet anew. Only returns if that program is not loaded.
#[inline(always)]
pub fn tail<F: Family>(ctx: &TcContext, tail: Tail) -> Reason {
    tail_to(ctx, tail as u32 + u32::from(F::AF != V4::AF))
}

/// As [`tail`], to the program with that index.
#[inline(always)]
pub fn tail_to(ctx: &TcContext, index: u32) -> Reason {
    // SAFETY: the context is the program's own.
    unsafe { maps::PROGRAMS.tail_call(ctx, index) };
    Reason::NotReady
}

/// What becomes of a packet that is not translated: counted, and said to the
/// kernel.
#[inline(always)]
fn let_go(ctx: &TcContext, reason: Reason) -> i32 {
    stats::reason(reason, u64::from(ctx.len()));
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(ctx, "tc: {} bytes: {}", ctx.len(), reason.name());
    match reason.fate() {
        Fate::Dropped | Fate::Held => DROP,
        Fate::Translated | Fate::Passed => NEXT,
    }
}

/// As [`let_go`], as a function of its own: it leaves the caller's stack alone.
#[inline(never)]
fn let_go_late(ctx: &TcContext, reason: u32) -> i32 {
    let_go(ctx, Reason::from_index(reason).unwrap_or(Reason::NoEffect))
}

/// The program on the ingress hook: established flows. What needs more goes on
/// in the programs below.
#[classifier]
pub fn redirectd_tc(ctx: TcContext) -> i32 {
    match enter(&ctx) {
        Ok(action) => action,
        Err(reason) => let_go(&ctx, reason),
    }
}

macro_rules! tails {
    ($($name:ident = $f:expr;)*) => {$(
        #[classifier]
        pub fn $name(ctx: TcContext) -> i32 {
            let action = match $f(&ctx) {
                Ok(action) => action,
                Err(reason) => let_go_late(&ctx, reason as u32),
            };
            park::finish(&ctx);
            action
        }
    )*};
}

tails! {
    redirectd_open4 = transport::opening::<V4>;
    redirectd_open6 = transport::opening::<V6>;
    redirectd_icmp4 = icmp::translate::<V4>;
    redirectd_icmp6 = icmp::translate::<V6>;
    redirectd_frag4 = fragment::later::<V4>;
    redirectd_frag6 = fragment::later::<V6>;
    redirectd_tell4 = tell::tell::<V4>;
    redirectd_tell6 = tell::tell::<V6>;
    redirectd_admit4 = admit::admit::<V4>;
    redirectd_admit6 = admit::admit::<V6>;
    redirectd_follow4 = transport::follow::<V4>;
    redirectd_follow6 = transport::follow::<V6>;
    redirectd_park = park::hold;
}

/// The program on the egress hook, while something is replayed: what user space
/// sends with our mark is received again.
#[classifier]
pub fn redirectd_replay(ctx: TcContext) -> i32 {
    park::turn_round(&ctx).unwrap_or(NEXT)
}

#[inline(always)]
fn enter(ctx: &TcContext) -> Result<i32, Reason> {
    // SAFETY: the context is valid while the program runs.
    if unsafe { (*raw(ctx)).pkt_type } != PACKET_HOST {
        return Err(Reason::OtherHost);
    }
    linearise(ctx);
    let (ethertype, l3) = parse::ethernet(ctx)?;
    if tags(ctx, l3) > TAGS_MAX {
        return Err(Reason::NotIp);
    }
    if ethertype == ETHERTYPE_IPV4 { dispatch::<V4>(ctx, l3) } else { dispatch::<V6>(ctx, l3) }
}

/// The packet, in a program that was tail-called with it.
#[inline(always)]
pub fn again<F: Family>(ctx: &TcContext) -> Result<Packet<F::Addr>, Reason> {
    let (_, l3) = parse::ethernet(ctx)?;
    F::parse(ctx, l3)
}

/// Brings the headers into one piece, where they are not.
#[inline(always)]
fn linearise(ctx: &TcContext) {
    let wanted = if ctx.len() < LINEAR { ctx.len() } else { LINEAR };
    if ctx.data() + wanted as usize > ctx.data_end() {
        // SAFETY: the context is valid; a failure shows as `Truncated` later.
        unsafe { bpf_skb_pull_data(raw(ctx), wanted) };
    }
}

#[inline(always)]
fn dispatch<F: Family>(ctx: &TcContext, l3: usize) -> Result<i32, Reason> {
    let packet = F::parse(ctx, l3)?;
    let protocol = packet.key.protocol as u8;
    if packet.part == Part::Later {
        return Err(tail::<F>(ctx, Tail::Fragment));
    }
    if protocol == F::ICMP {
        return Err(tail::<F>(ctx, Tail::Icmp));
    }
    if protocol != proto::TCP && protocol != proto::UDP {
        return Err(Reason::OtherProtocol);
    }
    transport::transport::<F>(ctx, &packet)
}

/// Leaves it to the next program to tell the sender why its packet is dropped.
#[inline(always)]
pub fn owe<F: Family>(ctx: &TcContext, reason: Reason, mtu: u16) -> Reason {
    leave_word(ctx, reason, mtu);
    tail::<F>(ctx, Tail::Tell);
    reason
}

/// Leaves it to the next program to note that a first fragment, and with it the
/// rest of its datagram, is home's own.
#[inline(always)]
pub fn disown<F: Family>(ctx: &TcContext, reason: Reason) -> Reason {
    leave_word(ctx, reason, 0);
    tail::<F>(ctx, Tail::Fragment);
    reason
}

/// Notes a reason, and a number that goes with it, for the next program.
#[inline(always)]
fn leave_word(ctx: &TcContext, reason: Reason, number: u16) {
    // SAFETY: the context is valid while the program runs; `cb` is for programs
    // to leave notes in.
    unsafe { (*raw(ctx)).cb[0] = (reason as u32) << 16 | u32::from(number) };
}

/// What [`leave_word`] has noted.
#[inline(always)]
pub fn word(ctx: &TcContext) -> (Reason, u16) {
    // SAFETY: the context is valid while the program runs.
    let word = unsafe { (*raw(ctx)).cb[0] };
    (Reason::from_index(word >> 16).unwrap_or(Reason::NoEffect), word as u16)
}

/// Takes VLAN tags off: the interface the packet leaves through puts its own on.
#[inline(always)]
pub fn untag<A>(ctx: &TcContext, packet: &mut Packet<A>) -> Result<(), Reason> {
    for _ in 0..TAGS_MAX {
        if tags(ctx, packet.l3) == 0 {
            return Ok(());
        }
        // SAFETY: the context is valid; packet pointers are made anew afterwards.
        if unsafe { bpf_skb_vlan_pop(raw(ctx)) } != 0 {
            return Err(Reason::NoEffect);
        }
        let (_, l3) = parse::ethernet(ctx).map_err(|_| Reason::NoEffect)?;
        packet.shift_down(packet.l3 - l3);
    }
    if tags(ctx, packet.l3) == 0 { Ok(()) } else { Err(Reason::NoEffect) }
}

/// How many VLAN tags a frame has whose IP header is at `l3`: those in it, and
/// the one the driver or the kernel has taken out and noted.
#[inline(always)]
pub fn tags(ctx: &TcContext, l3: usize) -> usize {
    // SAFETY: the context is valid while the program runs.
    let noted = unsafe { (*raw(ctx)).vlan_present } as usize & 1;
    noted + (l3 - size_of::<Ethernet>()) / size_of::<VlanTag>()
}

/// Tells the kernel of a change that no checksum in the packet balances, in case
/// the driver has handed the packet in with a sum over all of it.
#[inline(always)]
pub fn settle(ctx: &TcContext, change: Delta) {
    if !change.is_none() {
        // SAFETY: the context is valid. Without such a sum the helper does nothing.
        unsafe { bpf_csum_update(raw(ctx), u32::from(change.0)) };
    }
}

/// Brings the transport's checksum up to date, whether it is complete or left
/// to hardware.
#[inline(always)]
pub fn transport_check<F: Family>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    translation: &Translation<F::Addr>,
) -> Result<(), Reason> {
    let (offset, rules) = if packet.key.protocol == u32::from(proto::TCP) {
        (packet.l4 + Tcp::CHECK_OFFSET, 0)
    } else {
        (packet.l4 + Udp::CHECK_OFFSET, UDP_RULES)
    };
    // Two steps: where hardware finishes the checksum, the field holds that of
    // the pseudo-header alone, which knows addresses but no ports.
    replace(ctx, offset, translation.addresses, PSEUDO | rules, F::L4_FLAGS)?;
    replace(ctx, offset, translation.ports, rules, 0)
}

/// One call of the helper. `extra` is left away on kernels that do not know it.
#[inline(always)]
fn replace(
    ctx: &TcContext,
    offset: usize,
    change: Delta,
    flags: u64,
    extra: u64,
) -> Result<(), Reason> {
    if change.is_none() {
        return Ok(());
    }
    let (offset, difference) = (offset as u32, u64::from(change.0));
    // SAFETY: the context is valid; packet pointers are not used afterwards.
    unsafe {
        let skb = raw(ctx);
        if bpf_l4_csum_replace(skb, offset, 0, difference, flags | extra) == 0 {
            return Ok(());
        }
        if extra != 0 && bpf_l4_csum_replace(skb, offset, 0, difference, flags) == 0 {
            return Ok(());
        }
    }
    Err(Reason::NoEffect)
}

/// Sends the packet to `hop`.
#[inline(always)]
pub fn send(ctx: &TcContext, hop: &NextHop) -> i32 {
    let _ = ctx;
    // SAFETY: no pointers but a null one, which stands for "as routed".
    unsafe {
        match hop.kind {
            hop_kind::UNRESOLVED => {
                bpf_redirect_neigh(hop.ifindex, core::ptr::null_mut(), 0, 0) as i32
            }
            // `lo` has no address; `find` has left both zero, as `lo` wants them.
            hop_kind::LOCAL => bpf_redirect(hop.ifindex, INGRESS) as i32,
            _ => bpf_redirect(hop.ifindex, 0) as i32,
        }
    }
}
