//! Requests at a fixed rate, and how long their responses take.
//!
//! An open loop: request `n` is due at `start + n / rate`, whatever became of
//! those before it, and its latency counts from when it was *due*. A loop that
//! waits for a response before it sends the next request, or that counts from
//! when it got round to sending, asks nothing while the other side stalls, and
//! so leaves out the very requests that would have had to wait ("coordinated
//! omission"): a stall of 100 ms would be one slow request among thousands.

pub(crate) mod churn;
mod generator;
mod schedule;
mod sockets;

pub(crate) use generator::{Link, Outcome, generate};
pub(crate) use sockets::Sockets;

use std::time::Duration;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requests {
    /// Requests a second, over all connections together.
    pub(crate) rate: u32,
    /// Connections, which take the requests in turn.
    pub(crate) connections: usize,
    /// Bytes of a request.
    pub(crate) request: usize,
    /// Bytes of a response.
    pub(crate) response: usize,
    /// Requests due before this has passed are not counted.
    pub(crate) warm_up: Duration,
    /// How long requests that are counted are due.
    pub(crate) duration: Duration,
    /// How long to wait for responses after the last request was due.
    pub(crate) patience: Duration,
}
