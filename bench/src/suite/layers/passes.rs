//! How often packets come by a layer, by the hosts' own statistics: each
//! namespace has its own, and nothing need be put into the kernel to read them.

use std::fs;

use anyhow::{Context, Result};

use crate::{
    lan::{INTERFACE, Lan},
    netns::Netns,
};

/// What is counted, as it is called in reports: the first where the peer is, the
/// others at home.
pub(super) const COUNTED: [&str; 6] = [
    "peer: frames sent",
    "driver: frames received",
    "IP: packets received",
    "IP: packets forwarded",
    "TCP: segments received",
    "TCP: segments sent",
];

/// The protocols and names of the last four of [`COUNTED`] in /proc/net/snmp
/// (RFC 4293, RFC 4022).
const SNMP: [(&str, &str); 4] =
    [("Ip:", "InReceives"), ("Ip:", "ForwDatagrams"), ("Tcp:", "InSegs"), ("Tcp:", "OutSegs")];

/// All counters of a lab at one time.
pub(super) struct Counts {
    sent_by_host: u64,
    /// In the order of [`COUNTED`].
    counted: [u64; COUNTED.len()],
}

impl Counts {
    /// As they are.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(super) fn now(lan: &Lan) -> Result<Self> {
        let (interfaces, protocols) = lan.home.enter(|| Ok((read("dev")?, read("snmp")?)))?;
        let received = frames(&interfaces, Way::Received).context("no count of frames at home")?;
        let mut counted = [sent_by(&lan.peer)?, received, 0, 0, 0, 0];
        for (count, (protocol, name)) in counted[2..].iter_mut().zip(SNMP) {
            *count = of_protocol(&protocols, protocol, name)
                .with_context(|| format!("no count of {protocol} {name}"))?;
        }
        Ok(Self { sent_by_host: sent_by(&lan.host)?, counted })
    }

    /// The peer's packets that have reached home since `before`, and how often
    /// each of [`COUNTED`] happened for one of them.
    ///
    /// All that home receives is the peer's or the host's. What is lost before
    /// home, where a queue is full, costs home nothing: it is none of the packets
    /// whose time is measured, though the peer has sent it. None if none has reached it.
    pub(super) fn since(&self, before: &Self) -> Option<(f64, Vec<f64>)> {
        let counts = self.counted.iter().zip(before.counted);
        let passes: Vec<u64> = counts.map(|(now, then)| now - then).collect();
        let packets = passes[1].saturating_sub(self.sent_by_host - before.sent_by_host) as f64;
        let passes = passes.into_iter().map(|count| count as f64 / packets);
        (packets > 0.0).then(|| (packets, passes.collect()))
    }
}

/// Frames that `who` has sent so far.
fn sent_by(who: &Netns) -> Result<u64> {
    let interfaces = who.enter(|| read("dev"))?;
    frames(&interfaces, Way::Sent).context("no count of frames that were sent")
}

/// A file of /proc/net, of the namespace that the thread is in.
fn read(name: &str) -> Result<String> {
    let path = format!("/proc/thread-self/net/{name}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// Columns of /proc/net/dev: those of what was received, then those of what was
/// sent; in both, packets come after bytes.
enum Way {
    Received = 1,
    Sent = 9,
}

/// Frames of [`INTERFACE`], by the text of /proc/net/dev.
fn frames(text: &str, way: Way) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(INTERFACE)?.strip_prefix(':'));
    line?.split_whitespace().nth(way as usize)?.parse().ok()
}

/// The counter `name` of `protocol`, by the text of /proc/net/snmp: a line of
/// names, then one of values.
fn of_protocol(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(protocol));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|known| known == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_each_way() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11\n  \
                    eth0: 100 20 0 0 0 0 0 0 3000 40 0 0 0 0 0 0\n";
        assert_eq!(frames(text, Way::Received), Some(20));
        assert_eq!(frames(text, Way::Sent), Some(40));
        assert_eq!(frames("nothing", Way::Sent), None);
    }

    #[test]
    fn protocols_are_counted_by_name() {
        let text = "Ip: Forwarding InReceives\nIp: 1 7\nTcp: InSegs OutSegs\nTcp: 8 9\n";
        assert_eq!(of_protocol(text, "Ip:", "InReceives"), Some(7));
        assert_eq!(of_protocol(text, "Tcp:", "OutSegs"), Some(9));
        assert_eq!(of_protocol(text, "Udp:", "InSegs"), None);
    }

    #[test]
    fn what_is_lost_before_home_is_no_packet_of_its() {
        let before = Counts { sent_by_host: 5, counted: [100, 50, 0, 0, 0, 7] };
        // Of 20 packets 10 came, with 4 acknowledgements of the host's.
        let after = Counts { sent_by_host: 9, counted: [120, 64, 0, 0, 0, 12] };
        let (packets, passes) = after.since(&before).unwrap();
        assert_eq!(packets, 10.0);
        assert_eq!(passes, [2.0, 1.4, 0.0, 0.0, 0.0, 0.5]);
    }

    #[test]
    fn a_window_in_which_nothing_came_has_no_figures() {
        let before = Counts { sent_by_host: 0, counted: [0; 6] };
        let after = Counts { sent_by_host: 3, counted: [9, 3, 0, 0, 0, 0] };
        assert!(after.since(&before).is_none());
    }
}
