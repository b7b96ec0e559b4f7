//! CRIU's images: what is read in them and what is changed.
//!
//! An image is two magic words and then records, each a length and a protobuf
//! message ([`mod@file`]). Only what must change is changed: whatever else is in a
//! message, fields of later versions of CRIU included, stays to the byte
//! (`wire`).
//!
//! The addresses of a process's sockets are in `files.img` and nowhere else
//! ([`sockets`], [`readdress`]); the queues of open TCP connections hold none. Of
//! these, the clocks are put forward ([`clock`]). [`connections`] reads how far they had come.

pub mod clock;
pub mod connections;
pub mod file;
pub mod pagemap;
pub mod readdress;
pub mod sockets;
pub mod tree;
#[cfg(any(test, fuzzing))]
pub mod untrusted;
mod wire;

/// The image of all open files, sockets among them.
pub const FILES: &str = "files.img";
/// The image of the tree of processes.
pub const TREE: &str = "pstree.img";
/// What the names of images of TCP connections begin with.
pub const STREAM: &str = "tcp-stream-";
