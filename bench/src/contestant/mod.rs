//! What home can be made of: redirectd, and what it is compared with.

mod drop;
mod netfilter;
mod redirectd;

use anyhow::Result;

use crate::{scenario::Scenario, topology::Lab, traffic::Sink};

/// A way to make home forward the generated packets, or not to.
pub(crate) trait Contestant {
    /// Its name in reports, which is also the one to choose it by.
    fn name(&self) -> &'static str;

    /// Whether `scenario` can be asked of it.
    fn takes_part(&self, _scenario: &Scenario) -> bool {
        true
    }

    /// Sets it up in `lab`, which no other contestant uses.
    ///
    /// # Errors
    /// It cannot be set up here.
    fn set_up(&self, lab: &Lab, scenario: &Scenario) -> Result<Running>;
}

/// A contestant at work, taken away when dropped.
pub(crate) enum Running {
    /// Packets arrive at the host.
    Forwards(Box<dyn Forwarder>),
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
    "redirectd-tc",
    "redirectd-xdp",
    "nftables",
    "iptables",
    "haproxy",
    "socat",
    "deputy",
    "deputy-gather",
];

/// Everything that takes part, in the order of reports.
pub(crate) fn all() -> Vec<Box<dyn Contestant>> {
    vec![
        Box::new(drop::Drop),
        Box::new(redirectd::Redirectd::Xdp),
        Box::new(redirectd::Redirectd::Tc),
        Box::new(netfilter::Nftables),
        Box::new(netfilter::Iptables),
    ]
}
