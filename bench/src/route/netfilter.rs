//! The kernel's own NAT, by iptables and by nftables.

use std::any::Any;

use anyhow::Result;

use super::Route;
use crate::{
    command::{not_installed, run},
    lan::{HOME, HOST, Lan},
    nat_rules::NatRules,
};

const RULES: NatRules = NatRules { protocol: "tcp", home: HOME, host: HOST };

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
        for &port in ports {
            lan.home.run("iptables", &RULES.dnat(HOME, port, port))?;
            lan.home.run("iptables", &RULES.snat(&port.to_string()))?;
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
        run(
            lan.home.command("nft").args(["-f", "-"]),
            &RULES.nft(ports.iter().map(|&port| (HOME, port, port))),
        )?;
        Ok(Box::new(()))
    }
}
