//! Images on their way to the host, while CRIU still writes them.
//!
//! Almost all of a process is its memory, in files that CRIU only ever appends
//! to. These are sent as they grow; the others, which are small, when all is
//! written ([`send`]). Those of memory that is copied ahead are in folders of their own
//! ([`super::precopy`]). The host checks what comes and writes it to a folder of
//! its own ([`receive`]), on a tmpfs like the one it came from ([`workdir`]). No
//! file system is shared. Home passes on what goes between two others, and edits
//! what has its addresses ([`relay`]).
//!
//! Whoever uses this has authenticated the other side and keeps the stream from
//! being changed. The checksums find what we or CRIU do wrong, the end that is
//! told a stream that was cut.
//!
//! [`workdir`]: super::workdir

mod frame;
pub mod receive;
pub mod relay;
mod room;
pub mod send;
#[cfg(test)]
mod tests;
#[cfg(any(test, fuzzing))]
pub mod untrusted;

/// What came over, or went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// So many files.
    pub files: usize,
    /// So many bytes in them.
    pub bytes: u64,
}

/// The most bytes that are sent in one piece.
const CHUNK: usize = 256 << 10;
