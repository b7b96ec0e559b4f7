//! The lab most stories happen in: a peer, the home node and two hosts behind
//! one switch.

use anyhow::Result;

use super::{Host, Lab, Plug, Switch};

/// Peer, home and two hosts, each with `eth0` on the same switch.
///
/// | host | IPv4 | IPv6 |
/// |---|---|---|
/// | peer | 10.0.0.1/24 | fd00::1/64 |
/// | home | 10.0.0.2/24 | fd00::2/64 |
/// | c | 10.0.0.3/24 | fd00::3/64 |
/// | d | 10.0.0.4/24 | fd00::4/64 |
#[derive(Debug)]
pub struct Lan {
    /// Knows only home's address.
    pub peer: Host,
    /// The home node.
    pub home: Host,
    /// A host that a server has moved to.
    pub c: Host,
    /// Another one.
    pub d: Host,
    /// What they are plugged into, in this order.
    pub switch: Switch,
}

impl Lan {
    /// Builds it in `lab`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(lab: &Lab) -> Result<Self> {
        Self::plugged(lab, |plug| plug)
    }

    /// Builds it for XDP on home's interface: no offloads anywhere, and a
    /// switch that takes what XDP sends.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn for_xdp(lab: &Lab) -> Result<Self> {
        let lan = Self::plugged(lab, Plug::without_offloads)?;
        lan.switch.take_from_xdp("port2")?;
        Ok(lan)
    }

    /// Has every cable keep the order of what goes through it, as one of copper
    /// does. A veth's end usually hands packets to a queue of the processor that
    /// sent them, so that one sent on another processor a moment later may come
    /// first; with GRO it has one queue, emptied by one at a time.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn keep_order(&self) -> Result<()> {
        let gro_on = |host: &Host, interface: &str| -> Result<()> {
            host.run(&["ethtool", "-K", interface, "gro", "on"]).map(drop)
        };
        for (port, host) in (1..).zip([&self.peer, &self.home, &self.c, &self.d]) {
            gro_on(host, "eth0")?;
            gro_on(self.switch.inside(), &format!("port{port}"))?;
        }
        Ok(())
    }

    fn plugged(lab: &Lab, how: impl Fn(Plug) -> Plug) -> Result<Self> {
        let switch = lab.switch("switch")?;
        let host = |name: &str, number: u8| -> Result<Host> {
            let host = lab.host(name)?;
            let plug = Plug::new("eth0")
                .addr(&format!("10.0.0.{number}/24"))
                .addr(&format!("fd00::{number}/64"));
            host.plug(&switch, how(plug))?;
            Ok(host)
        };
        Ok(Self {
            peer: host("peer", 1)?,
            home: host("home", 2)?,
            c: host("c", 3)?,
            d: host("d", 4)?,
            switch,
        })
    }
}
