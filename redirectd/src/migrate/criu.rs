//! Our own engine: it has CRIU freeze, write down and revive processes.
//!
//! [`Criu`] runs `criu swrk` and speaks with it over a socket, in the messages
//! of CRIU's `rpc.proto` (`messages`, `worker`). CRIU tells at each stage
//! how far it is and waits; whoever moves the process answers, and may say no
//! ([`engine`]). What CRIU cannot do is told with its own words and a cure
//! (`failure`). The sockets in its images carry the addresses of the machine
//! they were made on; [`images`] reads them and writes those of the next one,
//! and [`stream`] brings them there.
//!
//! Memory need not go with the images: with [`lazy`], processes run on the host
//! first, and [`pages`] brings their memory after them.
//!
//! Or it goes before them, in rounds, where the kernel tracks what they change meanwhile
//! ([`precopy`], [`rounds`]).
//!
//! All of it blocks: call it on a thread of its own. It takes root's rights.

#[cfg(test)]
mod begun;
pub mod connections;
pub mod datagrams;
mod descriptors;
pub mod engine;
mod failure;
pub mod gone;
mod guard;
pub mod huge;
pub mod images;
pub mod lazy;
pub mod lost;
mod messages;
pub mod names;
pub mod pages;
pub(super) mod pipes;
mod postcopy;
pub mod precopy;
pub mod remnants;
pub mod rounds;
pub mod sockopts;
pub mod stream;
pub mod workdir;
mod worker;

pub use self::engine::{Criu, Dump, DumpStage, Features, Restore, RestoreStage, Version};
pub(super) use self::{descriptors::Process, guard::end};
