//! Our own engine with the real CRIU: running programs move from machine to
//! machine, and their open connections go on.
//!
//! The machines are network and PID namespaces that `xtask::lab` makes; CRIU is
//! the one that `cargo xtask setup` brings. These tests need root.

mod arrival;
mod home;
mod lazily;
mod memory;
mod nodes;
mod programs;
mod restless;
mod scene;
mod tracked;
mod transfer;

mod abort;
mod ahead;
mod busy;
mod death;
mod faults;
mod following;
mod guests;
mod hook;
mod huge;
mod kinds;
mod lazy;
mod leader;
mod migrate;
mod onward;
mod precopy;
mod probe;
mod queued;
mod real;
mod room;
mod runc;
mod stopping;
mod strange;
