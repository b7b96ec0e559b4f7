//! Moving a process: who owns it at each moment, and how that survives a crash.
//!
//! Home's daemon owns every move. Whoever moves the process, the *engine*, tells
//! it how far it is: prepare → park → commit or abort. [`machine`] says what may
//! follow what, [`ledger`] keeps the moves and what they left behind, and is
//! nothing but its [`record`]s read in order; [`journal`] keeps the records on
//! disk. None of them touches the kernel: the daemon does
//! ([`crate::daemon`]), in this order:
//!
//! 1. What is likely to fail is tried on paper and staged.
//! 2. The record of the commit is on the disk: **from here on the process is the
//!    new host's**.
//! 3. One write to the kernel's tables flips all redirects of the move.
//! 4. What was held meanwhile is delivered, at once or when the process is said to stand, and
//!    the new placement kept.
//! 5. A record says that nothing is left to do.
//!
//! The record comes before the flip, so that no packet ever reaches a host that
//! the journal does not know to own the process. A daemon that starts reads the
//! journal and does what is left: a move with the record is finished, one without
//! is aborted, and what was held for it delivered where the process is. Should
//! the kernel refuse the flip, the record is withdrawn before anybody is told
//! anything; should even that fail, the process is the new host's and the flip is
//! tried again.

pub mod arbiters;
pub mod arrival;
pub mod away;
pub mod book;
pub mod carried;
pub mod criu;
pub mod departure;
pub mod errands;
pub mod fate;
pub mod guests;
pub mod handover;
pub mod journal;
pub mod leader;
pub mod ledger;
pub mod living;
pub mod machine;
pub mod memory;
pub mod pages_way;
pub mod papers;
pub mod record;
pub mod rights;
pub mod service;
pub mod takeover;
