//! Memory that follows its processes: post-copy.
//!
//! CRIU leaves the memory of a process behind when it writes it down: it keeps the
//! pages and gives them to whoever asks. On the host, another CRIU ([`lazy`]) lets
//! the process run without them, is told by the kernel (userfaultfd) which one it
//! waits for, and asks for it. These two would speak with each other over TCP, in
//! the clear, one page or a few at a time. Here each speaks with us, over a socket
//! that nobody else has, and we carry the pages over a stream of our own:
//!
//! - Home ([`give`]) sends all pages, one after the other, without being asked;
//!   what the host asks for goes before everything else.
//! - The host ([`take`]) keeps what has come until its CRIU asks for it. It asks
//!   home only for what has not come yet.
//!
//! - The host acknowledges what has come, so that home knows how much is on its
//!   way: what is wished for waits behind that.
//!
//! So the process depends on home no longer than the pages take to go over, and a
//! slow answer of CRIU's holds up nothing. Each page is on the host twice until
//! all are where they belong, as it is when memory is copied.
//!
//! Until the process is ended at home, pages that the host asks for are read from
//! it where it lies frozen: even reviving it takes some.
//!
//! Whoever uses this has authenticated the other side and keeps the stream from
//! being changed.
//!
//! [`lazy`]: super::lazy

mod frame;
pub mod give;
mod giving;
mod left;
mod server;
mod shelf;
pub mod take;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::error::{Error, Kind};

/// The bytes of a page, on the processors that redirectd runs on.
pub const PAGE: u64 = 4096;

/// The most pages that go in one piece.
const PIECE: u64 = 32;

/// What the host waits for goes behind whatever is on its way already. So while it
/// waits for pages, one after the other, at most so many bytes are on their way;
/// a gigabit each second takes 2 ms for them.
const LITTLE: u64 = 256 << 10;
/// Otherwise so many, enough to fill a link of ten gigabits each second and 3 ms
/// there and back.
const MUCH: u64 = 4 << 20;

/// How far the memory of a tree of processes is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// What was left behind, in bytes; 0 until that is known.
    pub total: u64,
    /// What of it has gone over, in bytes.
    pub over: u64,
    /// Home is not needed any more.
    pub done: bool,
}

/// Some pages of one process, side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    /// The process, by its number in the images.
    pid: u32,
    /// Where the first is in the process.
    address: u64,
    /// How many there are.
    pages: u64,
}

impl Range {
    fn bytes(self) -> usize {
        usize::try_from(self.pages * PAGE).expect("a range that is read fits in memory")
    }
}

impl Progress {
    /// What is still at home, in bytes.
    #[must_use]
    pub fn at_home(self) -> u64 {
        if self.done { 0 } else { self.total - self.over }
    }
}

/// Two ends of a socket, of which CRIU gets one: no address leads to it.
pub(super) fn ends() -> Result<(OwnedFd, OwnedFd), Error> {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).map_err(
        |errno| Error::new(Kind::Failed, format!("cannot make a socket for CRIU's pages: {errno}")),
    )
}
