//! What redirectd's BPF programs and user space share: the layout of the maps,
//! the headers, checksums, translation, and the reasons that are counted.
//!
//! Everything here is pure and runs on the host as well as in the kernel.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod csum;
pub mod endpoint_set;
pub mod group;
pub mod nat;
pub mod reason;
pub mod shared_hop;
pub mod wire;
