//! The kernel's own NAT, by nftables and by iptables: DNAT towards the host,
//! SNAT to home, and what conntrack undoes on the way back.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::{Contestant, Forwarder, Running, conntrack};
use crate::{
    command::run,
    scenario::{Scenario, busy_endpoints},
    stream::{HOST_PORT, PORTS},
    topology::{HOME, HOST, Lab},
};

/// nftables with all redirects in one map: its best form.
pub(super) struct Nftables;

impl Contestant for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
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
    let mut elements = String::new();
    for (home, port, host_port) in busy_endpoints() {
        let _ = write!(elements, "{home} . {port} : {HOST} . {host_port}, ");
    }
    for (home, port) in scenario.idle_endpoints() {
        let _ = write!(elements, "{home} . {port} : {HOST} . {HOST_PORT}, ");
    }
    format!(
        "table ip redirects {{
           map targets {{
             type ipv4_addr . inet_service : ipv4_addr . inet_service
             elements = {{ {elements} }}
           }}
           chain prerouting {{
             type nat hook prerouting priority dstnat
             dnat ip to ip daddr . udp dport map @targets
           }}
           chain postrouting {{
             type nat hook postrouting priority srcnat
             ip daddr {HOST} snat to {HOME}
           }}
         }}\n"
    )
}

/// iptables, with the rules of the papers.
pub(super) struct Iptables;

impl Contestant for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
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
            lab.home.run(
                "iptables",
                &format!(
                    "-t nat -A PREROUTING -p udp -d {home} --dport {port} \
                     -j DNAT --to-destination {HOST}:{host_port}"
                ),
            )?;
        }
        let last = HOST_PORT + PORTS - 1;
        lab.home.run(
            "iptables",
            &format!(
                "-t nat -A POSTROUTING -p udp -d {HOST} --dport {HOST_PORT}:{last} \
                 -j SNAT --to-source {HOME}"
            ),
        )?;
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
