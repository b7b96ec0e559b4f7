//! A validated redirect, and the set of them that is in force together.
//!
//! This is the only place that decides whether a redirect makes sense; whoever
//! reads rules (YAML, the command line, the API) ends here. Nothing does I/O.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A transport protocol that can be redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

/// Ports from `first` to `last`, both included; never 0, never reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// How packets reach the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// DNAT and SNAT at home; nothing is needed on the host.
    #[default]
    Nat,
}

/// What happens to open connections when a redirect changes its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flows {
    /// Open connections stay where they are; only new ones go to the new target.
    #[default]
    NewOnly,
    /// Open connections are taken along: the process behind them has moved.
    Follow,
}

/// One redirect: home endpoints, the target, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Unique among all redirects; letters, digits, `.`, `_`, `-`; 1 to 63 bytes.
    pub name: String,
    /// At least one; sorted, no doubles.
    pub protocols: Vec<Protocol>,
    /// The home address that peers send to.
    pub home: IpAddr,
    /// The home ports.
    pub ports: PortRange,
    /// The host's address; of the same family as `home`, and different from it.
    pub target: IpAddr,
    /// The port at the target that `ports.first()` maps to; the rest follow in order.
    pub target_port: u16,
    /// The name by which the rule file or the user gave the host, if any.
    pub host: Option<String>,
    /// Peers this redirect is for; empty means all. Of the same family as `home`.
    pub peers: Vec<IpNet>,
    /// How packets reach the host.
    pub mode: Mode,
    /// What a change of target does to open connections.
    pub flows: Flows,
}

/// Redirects in force together: unique names, no two that claim the same packet
/// with the same right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedirectSet {
    by_name: BTreeMap<String, Redirect>,
}
