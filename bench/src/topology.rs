//! The lab: a peer, home and a host in namespaces of their own, one wire each
//! from home to the others.
//!
//! ```text
//! peer ── peer0 ══ in0 ── home ── out0 ══ host0 ── host
//!         198.18.0.0/24           198.19.0.0/24
//! ```

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::netns::Netns;

/// Home's address, on [`IN0`]; the networks are RFC 2544's, for benchmarks.
pub(crate) const HOME: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The first peer address; the others follow it.
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// How many peer addresses home knows.
pub(crate) const PEERS: u8 = 20;
/// The host's address.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 2);

/// The peer's interface, and its MAC address.
pub(crate) const PEER0: &str = "peer0";
/// MAC address of [`PEER0`].
pub(crate) const PEER0_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
/// Home's interface towards the peer.
pub(crate) const IN0: &str = "in0";
/// MAC address of [`IN0`].
pub(crate) const IN0_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Home's interface towards the host.
pub(crate) const OUT0: &str = "out0";
/// The host's interface.
pub(crate) const HOST0: &str = "host0";

/// MAC address of [`OUT0`].
pub(crate) const OUT0_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x01];
/// MAC address of [`HOST0`].
pub(crate) const HOST0_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x02];
/// Home's address on [`OUT0`].
const HOME_OUT: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);

/// Three namespaces, wired and addressed; taken away when dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Where the generated packets come from.
    pub(crate) peer: Netns,
    /// Where the contestant works.
    pub(crate) home: Netns,
    /// Where the packets end.
    pub(crate) host: Netns,
}

impl Lab {
    /// Makes one.
    ///
    /// # Errors
    /// A tool fails, most likely for want of root.
    pub(crate) fn new() -> Result<Self> {
        let lab = Self {
            peer: Netns::new("peer")?,
            home: Netns::new("home")?,
            host: Netns::new("host")?,
        };
        lab.set_sysctls()?;
        wire((&lab.peer, PEER0, PEER0_MAC), (&lab.home, IN0, IN0_MAC))?;
        wire((&lab.home, OUT0, OUT0_MAC), (&lab.host, HOST0, HOST0_MAC))?;
        lab.address()?;
        for interface in [IN0, OUT0] {
            // Receives by NAPI, as a network card does; without it, what XDP
            // sends into the other end of the wire would be lost.
            lab.home.run("ethtool", &format!("-K {interface} gro on"))?;
        }
        Ok(lab)
    }

    fn set_sysctls(&self) -> Result<()> {
        for netns in [&self.peer, &self.home, &self.host] {
            // No neighbour discovery and router solicitations among the counted packets.
            for which in ["all", "default"] {
                netns.run("sysctl", &format!("-qw net.ipv6.conf.{which}.disable_ipv6=1"))?;
            }
        }
        self.home.run("sysctl", "-qw net.ipv4.ip_forward=1")?;
        Ok(())
    }

    fn address(&self) -> Result<()> {
        let home = &self.home;
        home.run("ip", "link set lo up")?;
        home.run("ip", &format!("address add {HOME}/24 dev {IN0}"))?;
        home.run("ip", &format!("address add {HOME_OUT}/24 dev {OUT0}"))?;
        for n in 0..PEERS {
            neighbour(home, nth(PEER, n.into()), PEER0_MAC, IN0)?;
        }
        neighbour(home, HOST, HOST0_MAC, OUT0)
    }
}

/// The address `n` after `first`.
pub(crate) fn nth(first: Ipv4Addr, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(first) + n)
}

/// A namespace, and what its end of a wire is called there.
pub(crate) type End<'a> = (&'a Netns, &'a str, [u8; 6]);

/// Wires two namespaces to each other.
///
/// # Errors
/// `ip` fails.
pub(crate) fn wire(a: End<'_>, b: End<'_>) -> Result<()> {
    let (a_mac, b_mac) = (mac(a.2), mac(b.2));
    a.0.run(
        "ip",
        &format!(
            "link add {} address {a_mac} type veth peer name {} address {b_mac} netns {}",
            a.1,
            b.1,
            b.0.name()
        ),
    )?;
    for (netns, interface, _) in [a, b] {
        netns.run("ip", &format!("link set {interface} up"))?;
    }
    Ok(())
}

/// Tells `home` who has `addr`, for good.
///
/// # Errors
/// `ip` fails.
pub(crate) fn neighbour(home: &Netns, addr: Ipv4Addr, of: [u8; 6], interface: &str) -> Result<()> {
    let of = mac(of);
    home.run("ip", &format!("neighbour add {addr} lladdr {of} dev {interface} nud permanent"))?;
    Ok(())
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
