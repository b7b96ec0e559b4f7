//! `BPF_PROG_TEST_RUN`, with all of it that these tests need: the interface a
//! packet comes in through, what a socket buffer says besides the packet, and
//! the kernel's own check of its checksum.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// The command's number in linux/bpf.h.
const BPF_PROG_TEST_RUN: libc::c_long = 10;
/// `BPF_F_TEST_SKB_CHECKSUM_COMPLETE` of linux/bpf.h, Linux 6.15: the socket
/// buffer has the sum of the whole packet, as some drivers give it, and the
/// kernel answers `EBADMSG` if a program lets it go wrong.
const CHECKSUM_COMPLETE: u32 = 1 << 2;
/// Room for what a program makes longer: ICMP messages around a packet.
const ROOM: usize = 256;

/// Of a packet shorter than its Ethernet and IP headers Linux makes no socket
/// buffer in a test run, unless a tag hides that it is IP.
const SHORTEST: usize = 14 + 40;

/// The `test` member of `union bpf_attr`.
#[repr(C)]
struct Attributes {
    program: u32,
    verdict: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    processor: u32,
    batch: u32,
    zero: u32,
}

/// `struct __sk_buff` of linux/bpf.h: the members a test may set, by their
/// offsets.
mod skb {
    pub(super) const SIZE: usize = 192;
    pub(super) const INGRESS_IFINDEX: usize = 36;
    pub(super) const IFINDEX: usize = 40;
    pub(super) const GSO_SEGS: usize = 164;
    pub(super) const GSO_SIZE: usize = 176;
}

/// `struct xdp_md` of linux/bpf.h.
mod xdp {
    pub(super) const SIZE: usize = 24;
    pub(super) const DATA_END: usize = 4;
    pub(super) const INGRESS_IFINDEX: usize = 12;
}

/// What a packet brings along besides its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arrival {
    /// Index of the interface.
    pub(crate) interface: u32,
    /// A batch of segments that travel as one packet: how long each one's
    /// payload is, and how many there are. tc only.
    pub(crate) segments: Option<(u32, u32)>,
    /// The driver has summed the packet (`CHECKSUM_COMPLETE`). tc only.
    pub(crate) summed: bool,
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its return value.
    pub(crate) verdict: i32,
    /// The packet afterwards.
    pub(crate) packet: Vec<u8>,
}

/// Runs the tc program `program` on `packet`; nothing if the kernel makes no
/// socket buffer of so short a packet.
pub(crate) fn tc(program: BorrowedFd<'_>, packet: &[u8], arrival: Arrival) -> Option<Ran> {
    let mut context = [0; skb::SIZE];
    let (size, count) = arrival.segments.unwrap_or_default();
    put(&mut context, skb::INGRESS_IFINDEX, arrival.interface);
    put(&mut context, skb::IFINDEX, arrival.interface);
    put(&mut context, skb::GSO_SIZE, size);
    put(&mut context, skb::GSO_SEGS, count);
    let flags = if arrival.summed { CHECKSUM_COMPLETE } else { 0 };
    match run(program, packet, &context, flags) {
        Ok(ran) => Some(ran),
        Err(error) => {
            let refused = error.raw_os_error() == Some(libc::EINVAL);
            assert!(refused && packet.len() < SHORTEST, "tc, {} bytes: {error}", packet.len());
            None
        }
    }
}

/// Runs the XDP program `program` on `packet`.
pub(crate) fn xdp(program: BorrowedFd<'_>, packet: &[u8], interface: u32) -> Ran {
    let mut context = [0; xdp::SIZE];
    put(&mut context, xdp::DATA_END, packet.len() as u32);
    put(&mut context, xdp::INGRESS_IFINDEX, interface);
    run(program, packet, &context, 0)
        .unwrap_or_else(|error| panic!("XDP, {} bytes: {error}", packet.len()))
}

fn put(context: &mut [u8], offset: usize, value: u32) {
    context[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
}

fn run(program: BorrowedFd<'_>, packet: &[u8], context: &[u8], flags: u32) -> io::Result<Ran> {
    let mut out = vec![0_u8; packet.len() + ROOM];
    let mut attributes = Attributes {
        program: program.as_raw_fd().cast_unsigned(),
        verdict: 0,
        size_in: packet.len() as u32,
        size_out: out.len() as u32,
        data_in: packet.as_ptr().addr() as u64,
        data_out: out.as_mut_ptr().addr() as u64,
        repeat: 1,
        duration: 0,
        context_size_in: context.len() as u32,
        context_size_out: 0,
        context_in: context.as_ptr().addr() as u64,
        context_out: 0,
        flags,
        processor: 0,
        batch: 0,
        zero: 0,
    };
    // SAFETY: the attributes are as BPF_PROG_TEST_RUN wants them, and what they
    // point to outlives the call and is as long as they say.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            std::ptr::from_mut(&mut attributes),
            size_of::<Attributes>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    out.truncate(attributes.size_out as usize);
    Ok(Ran { verdict: attributes.verdict.cast_signed(), packet: out })
}
