//! The suites: what is measured, each in a file of its own.

pub(crate) mod control;
pub(crate) mod pps;
pub(crate) mod program;

use std::time::Duration;

/// How much is measured; the same for all suites.
#[derive(Debug, Clone)]
pub(crate) struct Effort {
    /// Times that each contestant is measured.
    pub(crate) rounds: usize,
    /// Least length of one measurement of packets.
    pub(crate) duration: Duration,
    /// The processor that does all the work.
    pub(crate) processor: usize,
    /// A test that everything works, in seconds; its figures mean nothing.
    pub(crate) quick: bool,
    /// Contestants to measure; empty means all.
    pub(crate) only: Vec<String>,
}
