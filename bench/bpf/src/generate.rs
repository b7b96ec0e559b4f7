//! The generator: run by BPF_PROG_TEST_RUN on live frames, it makes each frame
//! the next flow's packet and sends it out of the peer's interface.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP},
    helpers::bpf_ktime_get_ns,
    macros::{map, xdp},
    maps::{Array, DevMap},
    programs::XdpContext,
};
use redirectd_bench_bpf::{CLOCKED, IP_LENGTH, Position, Stream, TTL, UDP_LENGTH, fold, halves};

use crate::packet::Frame;

/// Set before loading.
#[unsafe(no_mangle)]
static STREAM: Stream = Stream {
    peer: 0,
    home: 0,
    targets: 1,
    per_target: 1,
    ip_sum: 0,
    udp_sum: 0,
    peer_port: 0,
    home_port: 0,
    home_mac: [0; 6],
    peer_mac: [0; 6],
};

/// Written here; user space resets it between runs.
#[map]
static POSITION: Array<Position> = Array::with_max_entries(1, 0);

/// The peer's interface, at 0.
#[map]
static OUT: DevMap = DevMap::with_max_entries(1, 0);

/// Writes the next flow's packet and sends it.
#[xdp]
fn generate(ctx: XdpContext) -> u32 {
    let Some(frame) = Frame::new(&ctx) else { return XDP_DROP };
    // SAFETY: the loader has set it; volatile keeps the compiler from using the
    // value above.
    let stream = unsafe { core::ptr::read_volatile(&STREAM) };
    let Some((target, flow)) = next(&stream) else { return XDP_DROP };
    write(&frame, &stream, target, flow);
    OUT.redirect(0, 0).unwrap_or(XDP_ABORTED)
}

/// Which target and flow it is the turn of, and one step on.
#[inline(always)]
fn next(stream: &Stream) -> Option<(u32, u32)> {
    let position = POSITION.get_ptr_mut(0)?;
    // SAFETY: the map's own value; no other generator runs.
    let position = unsafe { &mut *position };
    if position.made % CLOCKED == 0 {
        // SAFETY: the helper takes nothing.
        position.last = unsafe { bpf_ktime_get_ns() };
        if position.made == 0 {
            position.first = position.last;
        }
    }
    position.made += 1;
    let turn = (position.target, position.flow);
    position.flow += 1;
    if position.flow >= stream.per_target {
        position.flow = 0;
        position.target += 1;
        if position.target >= stream.targets {
            position.target = 0;
        }
    }
    Some(turn)
}

/// Writes all headers: pages come back as the last receiver left them, and
/// nobody refills them.
#[inline(always)]
fn write(frame: &Frame, stream: &Stream, target: u32, flow: u32) {
    let peer = stream.peer + target;
    let peer_port = stream.peer_port + flow as u16;
    let home_port = stream.home_port + target as u16;
    let ip_sum = !fold(stream.ip_sum + halves(peer));
    let udp_sum =
        !fold(stream.udp_sum + halves(peer) + u32::from(peer_port) + u32::from(home_port));

    frame.put(0, stream.home_mac);
    frame.put(6, stream.peer_mac);
    frame.put(12, 0x0800_u16.to_be());
    frame.put(14, 0x4500_u16.to_be());
    frame.put(16, IP_LENGTH.to_be());
    // Identification 0, don't fragment.
    frame.put(18, 0x0000_4000_u32.to_be());
    frame.put(22, u16::from_be_bytes([TTL, 17]).to_be());
    frame.put(24, ip_sum.to_be());
    frame.put(26, peer.to_be());
    frame.put(30, stream.home.to_be());
    frame.put(34, peer_port.to_be());
    frame.put(36, home_port.to_be());
    frame.put(38, UDP_LENGTH.to_be());
    // A sum of zero is written as its other form (RFC 768).
    frame.put(40, if udp_sum == 0 { 0xffff } else { udp_sum.to_be() });
}
