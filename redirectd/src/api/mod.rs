//! HTTP and JSON on a Unix socket, between the daemon and whoever steers it.
//!
//! Paths begin with the version, `/v1/`; answers carry it as `"version": 1`.
//! Anything that takes something away from a body, or gives it another meaning,
//! makes a new version; a new field does not.

pub mod access;
pub mod client;
pub mod events;
pub mod moves;
pub mod nodes;
mod probe;
pub mod processes;
pub mod server;
pub mod socket;
pub mod types;
