//! What home can be made of: redirectd, and what it is compared with.

mod bounce;
pub(crate) mod conntrack;
mod drop;
pub(crate) mod netfilter;
mod redirectd;

use std::any::Any;

use anyhow::Result;

use crate::{scenario::Scenario, topology::Lab, traffic::Sink};

/// A way to make home forward the generated packets, or not to.
pub(crate) trait Contestant {
    /// Its name in reports, which is also the one to choose it by.
    fn name(&self) -> &'static str;

    /// Why it cannot be set up on this machine, if so.
    fn unavailable(&self) -> Option<String> {
        None
    }

    /// Why `scenario` cannot be asked of it, if it cannot.
    fn absent(&self, _scenario: &Scenario) -> Option<&'static str> {
        None
    }

    /// Sets it up in `lab`, which no other contestant uses.
    ///
    /// # Errors
    /// It cannot be set up here.
    fn set_up(&self, lab: &Lab, scenario: &Scenario) -> Result<Running>;
}

/// A contestant at work, taken away when dropped.
pub(crate) enum Running {
    /// Packets arrive at the host, as its own, and answers at the peer.
    Forwards(Box<dyn Forwarder>),
    /// Packets arrive at the host as they were, but for their MAC addresses;
    /// there are no flows.
    Bounces(Box<dyn Any>),
    /// Packets end at home, in this sink.
    Drops(Box<Sink>),
}

/// A contestant that has packets arrive at the host.
pub(crate) trait Forwarder: Sync {
    /// Established flows, by its own count: the proof that packets take the way
    /// that is to be measured.
    ///
    /// # Errors
    /// It cannot tell.
    fn flows(&self, lab: &Lab) -> Result<u64>;
}

/// All contestants of any suite, by name.
pub(crate) const NAMES: &[&str] = &[
    "drop",
    "direct",
    "bounce-tc",
    "bounce-xdp",
    "touch-xdp",
    "redirectd-tc",
    "redirectd-xdp",
    "nftables",
    "iptables",
    "haproxy",
    "socat",
    "deputy",
    "deputy-gather",
    "held",
    "dropped",
    "redirectd-copy",
    "redirectd-lazy",
    "criu",
];

/// Everything that takes part, in the order of reports.
pub(crate) fn all() -> Vec<Box<dyn Contestant>> {
    vec![
        Box::new(drop::Drop),
        Box::new(bounce::Bounce::Xdp),
        Box::new(bounce::Bounce::Touch),
        Box::new(bounce::Bounce::Tc),
        Box::new(redirectd::Redirectd::Xdp),
        Box::new(redirectd::Redirectd::Tc),
        Box::new(netfilter::Nftables),
        Box::new(netfilter::Iptables),
    ]
}
