//! redirectd: the daemon and the command line that keep a moved process
//! reachable at its home address. See ARCHITECTURE.md for the way of a rule.

pub mod config;
pub mod dataplane;
pub mod error;
pub mod plan;
pub mod rule;
