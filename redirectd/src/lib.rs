//! redirectd: the daemon and the command line that keep a moved process
//! reachable at its home address. See ARCHITECTURE.md for the way of a rule.

pub mod api;
pub mod cmd;
pub mod conduct;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod desired;
mod durable;
pub mod error;
pub mod host;
pub mod log;
pub mod metrics;
pub mod migrate;
mod netlink;
pub mod node;
pub mod plan;
pub mod process;
pub mod reload;
pub mod rule;
pub mod run;
pub mod state;
pub mod uninstall;
