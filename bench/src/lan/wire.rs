//! What a link is like: how fast, and what its ends leave to each other.

use anyhow::Result;

use crate::netns::Netns;

/// What all links of a lab are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wire {
    /// Mbit/s each way, as an Ethernet of that speed has them; `None`: as fast
    /// as the machine. For frames of 1,500 bytes, so without `offloads`.
    pub(crate) rate: Option<u32>,
    /// Whether senders leave cutting into frames and checksums to a receiver
    /// that never does it, as veth lets them. Without, frames of 1,500 bytes
    /// with checksums travel, as on a wire.
    pub(crate) offloads: bool,
    /// Whether the switch takes what XDP at home sends.
    pub(crate) xdp: bool,
}

/// Bytes that a frame takes on the wire and the kernel does not count:
/// preamble, checksum and the gap to the next one.
const OVERHEAD: u32 = 8 + 4 + 12;

/// Bytes that may go at once after a pause, ten frames: the time of these, 1.2 ms
/// at 100 Mbit/s, may a timer come late without a gap on the wire. More would
/// be a wire that is faster than it should be for short transfers.
const BURST: u32 = 10 * (1514 + OVERHEAD);

/// Bytes that wait for the wire, 250 frames (30 ms at 100 Mbit/s), as in a
/// card's ring: 50 connections find room for the two frames that TCP keeps
/// under way at the least, so that none has to wait for its retransmission
/// timer, and a single one cannot fill it with more than a round trip's worth.
const QUEUE: u32 = 250 * 1514;

impl Wire {
    /// Makes `interface` send as this wire is: each end shapes what it sends,
    /// which makes the link full duplex.
    ///
    /// # Errors
    /// `ethtool` or `tc` fails.
    pub(super) fn apply(&self, netns: &Netns, interface: &str) -> Result<()> {
        if !self.offloads {
            netns.run("ethtool", &format!("-K {interface} tx off tso off gso off gro off"))?;
        }
        if let Some(rate) = self.rate {
            netns.run("tc", &shaping(interface, rate))?;
        }
        Ok(())
    }
}

fn shaping(interface: &str, rate: u32) -> String {
    format!(
        "qdisc add dev {interface} root tbf rate {rate}mbit burst {BURST} limit {QUEUE} \
         overhead {OVERHEAD}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_may_be_late_by_a_millisecond() {
        assert!(f64::from(BURST * 8) / 100e6 > 1e-3);
        assert_eq!(
            shaping("eth0", 100),
            "qdisc add dev eth0 root tbf rate 100mbit burst 15380 limit 378500 overhead 24"
        );
    }
}
