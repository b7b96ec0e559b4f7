//! Reading and writing a frame of known shape.

use aya_ebpf::programs::{TcContext, XdpContext};
use redirectd_bench_bpf::{FRAME, IP_LENGTH, NUMBER, Stream, TTL, UDP_LENGTH, fold, halves};

const ETHERTYPE_IPV4: u16 = 0x0800;
const UDP: u8 = 17;

/// A frame of at least [`FRAME`] bytes in the packet buffer.
pub(crate) struct Frame(*mut u8);

impl Frame {
    /// The frame, if it is long enough.
    #[inline(always)]
    pub(crate) fn of_xdp(ctx: &XdpContext) -> Option<Self> {
        Self::between(ctx.data(), ctx.data_end())
    }

    /// The frame, if it is long enough and in one piece.
    #[inline(always)]
    pub(crate) fn of_tc(ctx: &TcContext) -> Option<Self> {
        Self::between(ctx.data(), ctx.data_end())
    }

    #[inline(always)]
    fn between(start: usize, end: usize) -> Option<Self> {
        (start + FRAME <= end).then_some(Self(start as *mut u8))
    }

    /// The MAC address at `offset`, which must be at most `FRAME - 6`.
    #[inline(always)]
    pub(crate) fn mac(&self, offset: usize) -> [u8; 6] {
        // SAFETY: within the bounds that `between` has checked.
        unsafe { self.0.add(offset).cast::<[u8; 6]>().read_unaligned() }
    }

    /// The big-endian word at `offset`, which must be at most `FRAME - 2`.
    #[inline(always)]
    pub(crate) fn u16(&self, offset: usize) -> u16 {
        // SAFETY: within the bounds that `between` has checked.
        u16::from_be(unsafe { self.0.add(offset).cast::<u16>().read_unaligned() })
    }

    /// The big-endian double word at `offset`, which must be at most `FRAME - 4`.
    #[inline(always)]
    pub(crate) fn u32(&self, offset: usize) -> u32 {
        // SAFETY: within the bounds that `between` has checked.
        u32::from_be(unsafe { self.0.add(offset).cast::<u32>().read_unaligned() })
    }

    /// The number of a packet that a witness is to see, as the sender's machine
    /// has it.
    #[inline(always)]
    pub(crate) fn number(&self) -> u64 {
        // SAFETY: within the bounds that `between` has checked, see `NUMBER`.
        unsafe { self.0.add(NUMBER).cast::<u64>().read_unaligned() }
    }

    /// What is at `offset` as it lies there, which must be within [`FRAME`].
    #[inline(always)]
    pub(crate) fn raw<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: within the bounds that `between` has checked.
        unsafe { self.0.add(offset).cast::<T>().read_unaligned() }
    }

    /// The frame at `start`.
    ///
    /// # Safety
    /// The bounds of all that will be read and written have been checked.
    #[inline(always)]
    pub(crate) unsafe fn at(start: usize) -> Self {
        Self(start as *mut u8)
    }

    /// As [`Self::put`], in one store: `offset` must be a multiple of the size of
    /// `value`, and the frame aligned to eight bytes, as the kernel makes those
    /// of test runs.
    #[inline(always)]
    pub(crate) fn put_aligned<T>(&self, offset: usize, value: T) {
        // SAFETY: as for `put`; aligned as the caller promises. BPF on the
        // processors in question would take any address.
        unsafe { self.0.add(offset).cast::<T>().write(value) }
    }

    /// Writes `value` at `offset`, which must leave room for it in `FRAME`.
    #[inline(always)]
    pub(crate) fn put<T>(&self, offset: usize, value: T) {
        // SAFETY: within the bounds that `between` has checked; the buffer is writable.
        unsafe { self.0.add(offset).cast::<T>().write_unaligned(value) }
    }

    /// Whether this is UDP over IPv4 of the generated length, without options
    /// and not a fragment.
    #[inline(always)]
    pub(crate) fn is_generated(&self) -> bool {
        self.u16(12) == ETHERTYPE_IPV4
            && self.u16(14) >> 8 == 0x45
            && self.u16(16) == IP_LENGTH
            && self.u16(20) & 0x3fff == 0
            && self.u16(22) as u8 == UDP
    }

    /// Whether the IPv4 and the UDP checksum are both there and right, summed
    /// over every byte (RFC 791, RFC 768).
    #[inline(always)]
    pub(crate) fn sums_are_right(&self) -> bool {
        let mut ip = 0u32;
        for offset in (14..34).step_by(2) {
            ip += u32::from(self.u16(offset));
        }
        // The pseudo header's addresses are the words from 26 on.
        let mut udp = u32::from(UDP) + u32::from(UDP_LENGTH);
        for offset in (26..FRAME).step_by(2) {
            udp += u32::from(self.u16(offset));
        }
        fold(ip) == 0xffff && fold(udp) == 0xffff && self.u16(40) != 0
    }

    /// Sends the packet back where it came from: MACs, addresses and ports
    /// change places, which leaves every checksum as it is.
    #[inline(always)]
    pub(crate) fn turn_round(&self) {
        self.swap::<[u8; 6]>(0, 6);
        self.swap::<u32>(26, 30);
        self.swap::<u16>(34, 36);
    }

    /// Writes all headers of a packet of `stream`. All of them each time: a
    /// generator's pages come back as the last receiver left them, and what
    /// BPF_PROG_TEST_RUN repeats is left as the last repetition left it.
    #[inline(always)]
    pub(crate) fn write_headers(&self, stream: &Stream, target: u32, flow: u32) {
        let peer = stream.peer + target;
        let peer_port = stream.peer_port + flow as u16;
        let home_port = stream.home_port + target as u16;
        let ip_sum = !fold(stream.ip_sum + halves(peer));
        let udp_sum =
            !fold(stream.udp_sum + halves(peer) + u32::from(peer_port) + u32::from(home_port));

        self.put(0, stream.home_mac);
        self.put(6, stream.peer_mac);
        self.put(12, ETHERTYPE_IPV4.to_be());
        self.put(14, 0x4500_u16.to_be());
        self.put(16, IP_LENGTH.to_be());
        // Identification 0, don't fragment.
        self.put(18, 0x0000_4000_u32.to_be());
        self.put(22, u16::from_be_bytes([TTL, UDP]).to_be());
        self.put(24, ip_sum.to_be());
        self.put(26, peer.to_be());
        self.put(30, stream.home.to_be());
        self.put(34, peer_port.to_be());
        self.put(36, home_port.to_be());
        self.put(38, UDP_LENGTH.to_be());
        // A sum of zero is written as its other form (RFC 768).
        self.put(40, if udp_sum == 0 { 0xffff } else { udp_sum.to_be() });
    }

    /// Exchanges what is at `a` and at `b`.
    #[inline(always)]
    pub(crate) fn swap<T: Copy>(&self, a: usize, b: usize) {
        // SAFETY: within the bounds that `between` has checked.
        let (x, y) = unsafe {
            (self.0.add(a).cast::<T>().read_unaligned(), self.0.add(b).cast::<T>().read_unaligned())
        };
        self.put(a, y);
        self.put(b, x);
    }
}
