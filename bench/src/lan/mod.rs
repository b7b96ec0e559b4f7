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

mod placement;
mod switch;
mod wire;

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use self::switch::Switch;
pub(crate) use self::{placement::Placement, wire::Wire};
use crate::{command::run, netns::Netns};

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
    receivers: Vec<Pid>,
    switch: Switch,
}

impl Lan {
    /// Makes one whose links are all like `wire`.
    ///
    /// # Errors
    /// A tool fails, most likely for want of root.
    pub(crate) fn new(wire: &Wire) -> Result<Self> {
        Self::of(wire, Netns::new("peer")?, Netns::new("home")?, Netns::new("host")?)
    }

    /// As [`Self::new`], with everyone's work on the processors of `placement`.
    ///
    /// # Errors
    /// As [`Self::new`]; or the kernel is older than 6.2.
    pub(crate) fn placed(wire: &Wire, placement: &Placement) -> Result<Self> {
        let (mut peer, mut home, mut host) =
            (Netns::new("peer")?, Netns::new("home")?, Netns::new("host")?);
        home.keep_on(&[placement.home]);
        for other in [&mut peer, &mut host] {
            other.keep_on(&placement.others);
        }
        let mut lan = Self::of(wire, peer, home, host)?;
        // A card receives by NAPI, with GRO; and a program of XDP at home finds
        // the thread there and keeps it.
        lan.home.run("ethtool", &format!("-K {INTERFACE} gro on"))?;
        lan.receivers = placement::receive_on(&lan.home, INTERFACE, &[placement.home])?;
        lan.switch.receive_on("home", &placement.others)?;
        Ok(lan)
    }

    fn of(wire: &Wire, peer: Netns, home: Netns, host: Netns) -> Result<Self> {
        let mut lan = Self { peer, home, host, receivers: Vec::new(), switch: Switch::new()? };
        for (netns, name, addr, address) in lan.hosts() {
            prepare(netns)?;
            lan.switch.plug(netns, name, address, wire)?;
            netns.run("ip", &format!("address add {addr}/24 dev {INTERFACE}"))?;
        }
        if wire.xdp {
            lan.switch.pass("home")?;
        }
        for (netns, name, ..) in lan.hosts() {
            let others = lan.hosts().into_iter().filter(|host| host.1 != name);
            let batch: String = others.map(|(_, _, addr, mac)| neighbour(addr, mac)).collect();
            run(netns.command("ip").args(["-batch", "-"]), &batch)?;
        }
        Ok(lan)
    }

    /// The kernel's threads that receive at home, if it was [`Self::placed`].
    pub(crate) fn receivers(&self) -> &[Pid] {
        &self.receivers
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
        netns.run("ip", &neighbour(addr, address)).map(drop)
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
    let settings = for_all(&["rp_filter=0", "send_redirects=0", "accept_redirects=0"], "ipv4");
    netns.run("sysctl", &format!("-qw net.ipv4.ip_forward=1 {settings}")).map(drop)
}

/// No neighbour discovery and router solicitations among what is measured.
fn quiet(netns: &Netns) -> Result<()> {
    netns.run("sysctl", &format!("-qw {}", for_all(&["disable_ipv6=1"], "ipv6"))).map(drop)
}

/// `settings` for interfaces that are there and that will be, as `sysctl` has them.
fn for_all(settings: &[&str], family: &str) -> String {
    let of = |which| settings.iter().map(move |it| format!("net.{family}.conf.{which}.{it}"));
    of("all").chain(of("default")).collect::<Vec<_>>().join(" ")
}

/// Makes `addr` one with the MAC address `address`, as `ip` has it.
fn neighbour(addr: Ipv4Addr, address: [u8; 6]) -> String {
    let address = mac(address);
    format!("neighbour replace {addr} lladdr {address} dev {INTERFACE} nud permanent\n")
}

/// As tools write it.
fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
pub(crate) mod tests;
