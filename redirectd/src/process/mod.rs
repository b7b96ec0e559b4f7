//! What a running process is made of, as far as it matters when it moves: its
//! tree, its sockets, and the redirects it takes for its peers to reach it.
//!
//! All of it is read from `/proc` and the kernel's socket diagnostics by whoever
//! asks, with that user's rights; nothing is stopped or changed. A process goes
//! on meanwhile, so that what is read is a picture of a moment, and parts of it
//! may have ended before they are looked at.

mod descriptors;
mod diag;
mod failure;
mod namespace;
mod redirects;
mod socket_kind;
mod sockets;
mod tree;

pub use self::{
    namespace::same_network,
    redirects::{Form, Wanted, base_name, redirects},
    sockets::{Endpoint, Holder, InetSocket, OtherSocket, Sockets, UnixPeer, UnixSocket},
    tree::{Process, Tree},
};
use crate::error::Error;

/// The sockets of `tree`.
///
/// # Errors
/// This user may not see them, or the kernel does not tell.
pub fn sockets(tree: &Tree) -> Result<Sockets, Error> {
    sockets::of(tree, &descriptors::of(tree)?)
}
