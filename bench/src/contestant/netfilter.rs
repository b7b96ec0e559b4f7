//! The kernel's own NAT, by nftables and by iptables.

use anyhow::{Context, Result};

use super::{Contestant, Forwarder, Running, conntrack};
use crate::{
    command::{not_installed, run},
    nat_rules::NatRules,
    scenario::{Scenario, busy_endpoints},
    stream::{HOST_PORT, PORTS},
    topology::{HOME, HOST, Lab},
};

const RULES: NatRules = NatRules { protocol: "udp", home: HOME, host: HOST };

/// nftables with all redirects in one map: its best form.
pub(super) struct Nftables;

impl Contestant for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn unavailable(&self) -> Option<String> {
        not_installed("nft")
    }

    fn set_up(&self, lab: &Lab, scenario: &Scenario) -> Result<Running> {
        prepare_conntrack(lab, scenario)?;
        run(lab.home.command("nft").args(["-f", "-"]), &ruleset(scenario))?;
        Ok(Running::Forwards(Box::new(Rules)))
    }
}

/// The rules of `scenario`, for `nft -f`: all redirects in the map `targets` of
/// the table `redirects`.
pub(crate) fn ruleset(scenario: &Scenario) -> String {
    let idle = scenario.idle_endpoints().map(|(home, port)| (home, port, HOST_PORT));
    RULES.nft(busy_endpoints().chain(idle))
}

/// iptables, with the rules of the papers.
pub(super) struct Iptables;

impl Contestant for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn unavailable(&self) -> Option<String> {
        not_installed("iptables")
    }

    fn absent(&self, scenario: &Scenario) -> Option<&'static str> {
        (scenario.redirects > 1).then_some(
            "a rule for each redirect, which every new flow walks in line, is no way to run a \
             machine with many; established flows pass no rule, so that their figures are those \
             with one redirect",
        )
    }

    fn set_up(&self, lab: &Lab, scenario: &Scenario) -> Result<Running> {
        prepare_conntrack(lab, scenario)?;
        for (home, port, host_port) in busy_endpoints() {
            lab.home.run("iptables", &RULES.dnat(home, port, host_port))?;
        }
        let last = HOST_PORT + PORTS - 1;
        lab.home.run("iptables", &RULES.snat(&format!("{HOST_PORT}:{last}")))?;
        Ok(Running::Forwards(Box::new(Rules)))
    }
}

/// Rules in a namespace, with which they go.
struct Rules;

impl Forwarder for Rules {
    fn flows(&self, lab: &Lab) -> Result<u64> {
        let count = lab.home.run("sysctl", "-n net.netfilter.nf_conntrack_count")?;
        count.trim().parse().with_context(|| format!("conntrack counts `{}`", count.trim()))
    }
}

/// Lets flows stay for the whole run, and makes sure that there is room for them.
fn prepare_conntrack(lab: &Lab, scenario: &Scenario) -> Result<()> {
    for timeout in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
        lab.home.run("sysctl", &format!("-qw net.netfilter.{timeout}=86400"))?;
    }
    conntrack::check(scenario.flows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_redirect_is_an_element_of_the_map() {
        let text = ruleset(&Scenario { flows: 1, redirects: 10 });
        // All busy ports together are one redirect.
        assert_eq!(text.matches(" : 198.19.0.2 . ").count(), usize::from(PORTS) + 9);
        assert!(text.contains("198.18.0.1 . 9003 : 198.19.0.2 . 8003,"));
    }
}
