//! The lab of the TCP suites: a peer, home and a host in namespaces of their
//! own, one wire each to a switch.
//!
//! ```text
//! peer ── eth0 ══ peer ┐
//! home ── eth0 ══ home ┼ switch        198.18.0.0/24
//! host ── eth0 ══ host ┘
//! ```
//!
//! Home's one link carries everything that goes through it twice, in and out,
//! as in the papers. Everyone knows everyone's MAC address from the start, so
//! that nobody asks while it is measured.

mod switch;
mod wire;

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use self::switch::Switch;
pub(crate) use self::wire::Wire;
use crate::netns::Netns;

/// Home's address; the network is RFC 2544's, for benchmarks.
pub(crate) const HOME: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The peer's address.
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The host's address.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);

/// MAC address of home's interface.
pub(crate) const HOME_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
/// MAC address of the peer's interface.
pub(crate) const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
/// MAC address of the host's interface.
pub(crate) const HOST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 3];

/// The interface of peer, home and host alike.
pub(crate) const INTERFACE: &str = "eth0";

/// Three hosts on a switch; taken away when dropped. What runs in it must be
/// dropped before.
pub(crate) struct Lan {
    /// Where clients run.
    pub(crate) peer: Netns,
    /// Where the route works.
    pub(crate) home: Netns,
    /// Where servers run.
    pub(crate) host: Netns,
    wire: Wire,
    switch: Switch,
}

impl Lan {
    /// Makes one whose links are all like `wire`.
    ///
    /// # Errors
    /// A tool fails, most likely for want of root.
    pub(crate) fn new(wire: &Wire) -> Result<Self> {
        let mut lan = Self {
            peer: Netns::new("peer")?,
            home: Netns::new("home")?,
            host: Netns::new("host")?,
            wire: *wire,
            switch: Switch::new()?,
        };
        for (netns, name, addr, address) in lan.hosts() {
            prepare(netns)?;
            lan.switch.plug(netns, name, address, wire)?;
            netns.run("ip", &format!("address add {addr}/24 dev {INTERFACE}"))?;
        }
        if wire.xdp {
            lan.switch.take_from_xdp("home")?;
        }
        for (netns, name, ..) in lan.hosts() {
            for (_, other, addr, address) in lan.hosts() {
                if name != other {
                    lan.set_neighbour(netns, addr, address)?;
                }
            }
        }
        Ok(lan)
    }

    /// What its links are like.
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// From now on what `netns` sends to `addr` goes to the MAC address `address`.
    ///
    /// # Errors
    /// `ip` fails.
    pub(crate) fn set_neighbour(
        &self,
        netns: &Netns,
        addr: Ipv4Addr,
        address: [u8; 6],
    ) -> Result<()> {
        let address = mac(address);
        let neighbour = format!("{addr} lladdr {address} dev {INTERFACE} nud permanent");
        netns.run("ip", &format!("neighbour replace {neighbour}")).map(drop)
    }

    /// Bytes, with headers, that have come to home's interface so far.
    ///
    /// # Errors
    /// `ip` does not tell.
    pub(crate) fn bytes_into_home(&self) -> Result<u64> {
        let text = self.home.run("ip", &format!("-json -stats link show {INTERFACE}"))?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        links[0]["stats64"]["rx"]["bytes"]
            .as_u64()
            .with_context(|| format!("`ip -json -stats link` counts no bytes: {text}"))
    }

    fn hosts(&self) -> [(&Netns, &'static str, Ipv4Addr, [u8; 6]); 3] {
        [
            (&self.peer, "peer", PEER, PEER_MAC),
            (&self.home, "home", HOME, HOME_MAC),
            (&self.host, "host", HOST, HOST_MAC),
        ]
    }
}

/// As every host is before it has an interface.
fn prepare(netns: &Netns) -> Result<()> {
    quiet(netns)?;
    netns.run("ip", "link set lo up")?;
    // Packets for home's address come to a host from elsewhere and leave it
    // the other way; home hands on what others sent it.
    for setting in ["rp_filter=0", "send_redirects=0", "accept_redirects=0"] {
        for which in ["all", "default"] {
            netns.run("sysctl", &format!("-qw net.ipv4.conf.{which}.{setting}"))?;
        }
    }
    netns.run("sysctl", "-qw net.ipv4.ip_forward=1").map(drop)
}

/// No neighbour discovery and router solicitations among what is measured.
fn quiet(netns: &Netns) -> Result<()> {
    for which in ["all", "default"] {
        netns.run("sysctl", &format!("-qw net.ipv6.conf.{which}.disable_ipv6=1"))?;
    }
    Ok(())
}

/// As tools write it.
fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::tests::is_root;

    #[test]
    fn everyone_reaches_everyone() {
        if !is_root() {
            return;
        }
        let lan = Lan::new(&Wire { rate: None, offloads: false, xdp: true }).unwrap();
        for (netns, name, ..) in lan.hosts() {
            for (_, other, addr, _) in lan.hosts() {
                let answer = netns.run("ping", &format!("-c 1 -W 2 {addr}"));
                assert!(answer.is_ok(), "{name} → {other}: {answer:?}");
            }
        }
        assert!(lan.bytes_into_home().unwrap() > 0);
    }
}
