//! What a running process is made of, as far as it matters when it moves: its
//! tree, sockets, files and memory; the redirects it takes for its peers to reach
//! it elsewhere; and what is in the way.
//!
//! All of it is read from `/proc` and the kernel's socket diagnostics by whoever
//! asks, with that user's rights; nothing is stopped or changed. A process goes
//! on meanwhile, so that what is read is a picture of a moment, and parts of it
//! may have ended before they are looked at.
//!
//! `tree` → `descriptors`, `maps` → `sockets`, `files`, `memory`, `strangers` →
//! `inventory`; from there on everything is pure: `redirects`,
//! `led`, `obstacles`, and `misfits` with what another machine says in its `offer`.

mod backlog;
mod cpu;
mod descriptors;
mod diag;
mod failure;
mod files;
#[cfg(test)]
mod fixture;
mod inventory;
mod led;
mod maps;
mod memory;
mod misfits;
mod namespace;
mod obstacle;
mod obstacles;
mod offer;
mod redirects;
mod socket_kind;
mod sockets;
mod strangers;
mod tree;

pub use self::{
    backlog::unaccepted,
    cpu::features,
    files::{FileKind, UsedFile, sha256},
    inventory::{Inventory, KernelObject, Machine, Pipe},
    led::{Led, is_named_for, led},
    memory::{Memory, SharedMemory},
    misfits::misfits,
    namespace::{Namespaces, must_be_in_this_network},
    obstacle::{Obstacle, Reason},
    obstacles::obstacles,
    offer::{FileThere, Needs, Offer},
    redirects::{Form, Wanted, base_name, redirects},
    sockets::{Endpoint, Holder, InetSocket, OtherSocket, Sockets, UnixPeer, UnixSocket},
    strangers::Stranger,
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
