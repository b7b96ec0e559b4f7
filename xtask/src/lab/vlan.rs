//! VLANs, made of tc programs, because not every kernel has VLAN devices.

use anyhow::Result;

use super::{Host, Program};

/// A tag: its ethertype and its VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    ether_type: u16,
    vlan: u16,
}

impl Tag {
    /// A customer's tag, as 802.1Q has it.
    #[must_use]
    pub const fn customer(vlan: u16) -> Self {
        Self { ether_type: 0x8100, vlan }
    }

    /// A provider's tag, as 802.1ad has it: the outer one of QinQ.
    #[must_use]
    pub const fn provider(vlan: u16) -> Self {
        Self { ether_type: 0x88a8, vlan }
    }
}

impl Host {
    /// Makes all that leaves by `interface` carry `tags`, the innermost first;
    /// what comes in without them is dropped.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tag_all(&self, interface: &str, tags: &[Tag]) -> Result<()> {
        self.attach_tc(interface, "egress", &on(tags)?)?;
        self.attach_tc(interface, "ingress", &off(tags)?)
    }

    /// Makes `interface`, which carries the traffic of `trunk` with these tags,
    /// the innermost first, and has the trunk's MAC address: what `ip link add
    /// link TRUNK type vlan` does.
    ///
    /// It is one end of a pair; the other end, in the same host, puts the tags
    /// on and hands over to the trunk, and the trunk's ingress does the reverse.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn vlan(&self, trunk: &str, interface: &str, tags: &[Tag]) -> Result<()> {
        let inner = format!("{interface}-t");
        let mac = self.mac(trunk)?;
        let pair = ["type", "veth", "peer", "name", &inner];
        self.ip(&[&["link", "add", "name", interface, "address", &mac], &pair[..]].concat())?;
        for end in [interface, &inner] {
            self.ip(&["link", "set", end, "up"])?;
        }
        self.wait_until_up(interface)?;
        self.wait_until_up(&inner)?;
        let mut out = on(tags)?;
        out.push(Program::redirect(self.index(trunk)?, false)?);
        self.attach_tc(&inner, "ingress", &out)?;
        let mut into = off(tags)?;
        into.push(Program::redirect(self.index(interface)?, true)?);
        self.attach_tc(trunk, "ingress", &into)
    }
}

fn on(tags: &[Tag]) -> Result<Vec<Program>> {
    tags.iter().map(|tag| Program::tag(tag.ether_type, tag.vlan)).collect()
}

fn off(tags: &[Tag]) -> Result<Vec<Program>> {
    tags.iter().rev().map(|tag| Program::untag(tag.ether_type, tag.vlan)).collect()
}
