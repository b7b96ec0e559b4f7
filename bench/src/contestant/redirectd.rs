//! redirectd, by XDP and by tc.

use anyhow::Result;

use super::{Contestant, Forwarder, Running};
use crate::{
    daemon::{Daemon, rules},
    scenario::Scenario,
    topology::{IN0, Lab},
};

/// redirectd, attached in one way.
pub(super) enum Redirectd {
    /// Native XDP, with tc behind it.
    Xdp,
    /// tc only.
    Tc,
}

impl Forwarder for Daemon {
    fn flows(&self, _: &Lab) -> Result<u64> {
        self.established()
    }
}

impl Contestant for Redirectd {
    fn name(&self) -> &'static str {
        match self {
            Self::Xdp => "redirectd-xdp",
            Self::Tc => "redirectd-tc",
        }
    }

    fn set_up(&self, lab: &Lab, scenario: &Scenario) -> Result<Running> {
        for address in scenario.idle_addresses() {
            lab.home.run("ip", &format!("address add {address}/32 dev {IN0}"))?;
        }
        let attach = match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        };
        let daemon = Daemon::start(&lab.home, attach, scenario)?;
        daemon.apply(&daemon.rule_file("rules.yaml", &rules(scenario))?)?;
        Ok(Running::Forwards(Box::new(daemon)))
    }
}
