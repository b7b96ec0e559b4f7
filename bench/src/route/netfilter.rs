//! The kernel's own NAT: DNAT towards the host, SNAT to home, and what
//! conntrack undoes on the way back.

use std::{any::Any, fmt::Write as _};

use anyhow::Result;

use super::{Route, not_installed};
use crate::{
    command::run,
    lan::{HOME, HOST, Lan},
};

/// iptables, with the rules of the papers.
pub(super) struct Iptables;

impl Route for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn unavailable(&self) -> Option<String> {
        not_installed("iptables")
    }

    fn set_up(&self, lan: &Lan, ports: &[u16]) -> Result<Box<dyn Any>> {
        for port in ports {
            let there = format!(
                "-t nat -A PREROUTING -p tcp -d {HOME} --dport {port} \
                 -j DNAT --to-destination {HOST}:{port}"
            );
            let back = format!(
                "-t nat -A POSTROUTING -p tcp -d {HOST} --dport {port} -j SNAT --to-source {HOME}"
            );
            lan.home.run("iptables", &there)?;
            lan.home.run("iptables", &back)?;
        }
        Ok(Box::new(()))
    }
}

/// nftables, with all ports in one map: its best form.
pub(super) struct Nftables;

impl Route for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn unavailable(&self) -> Option<String> {
        not_installed("nft")
    }

    fn set_up(&self, lan: &Lan, ports: &[u16]) -> Result<Box<dyn Any>> {
        run(lan.home.command("nft").args(["-f", "-"]), &ruleset(ports))?;
        Ok(Box::new(()))
    }
}

fn ruleset(ports: &[u16]) -> String {
    let mut elements = String::new();
    for port in ports {
        let _ = write!(elements, "{HOME} . {port} : {HOST} . {port}, ");
    }
    format!(
        "table ip redirects {{
           map targets {{
             type ipv4_addr . inet_service : ipv4_addr . inet_service
             elements = {{ {elements} }}
           }}
           chain prerouting {{
             type nat hook prerouting priority dstnat
             dnat ip to ip daddr . tcp dport map @targets
           }}
           chain postrouting {{
             type nat hook postrouting priority srcnat
             ip daddr {HOST} snat to {HOME}
           }}
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_an_element_of_the_map() {
        let text = ruleset(&[5000, 5001]);
        assert!(text.contains(
            "{ 198.18.0.1 . 5000 : 198.18.0.3 . 5000, 198.18.0.1 . 5001 : 198.18.0.3 . 5001,  }"
        ));
    }
}
