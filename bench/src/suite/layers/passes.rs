//! How often packets come by a layer, by home's own statistics: each namespace
//! has its own, and nothing need be put into the kernel to read them.

use std::fs;

use anyhow::{Context, Result};

use crate::lan::{INTERFACE, Lan};

/// What is counted, as it is called in reports.
pub(super) const COUNTED: [&str; 5] = [
    "driver: frames received",
    "IP: packets received",
    "IP: packets forwarded",
    "TCP: segments received",
    "TCP: segments sent",
];

/// The protocols and names of all but the first of [`COUNTED`] in /proc/net/snmp
/// (RFC 4293, RFC 4022).
const SNMP: [(&str, &str); 4] =
    [("Ip:", "InReceives"), ("Ip:", "ForwDatagrams"), ("Tcp:", "InSegs"), ("Tcp:", "OutSegs")];

/// Passes at home so far, in the order of [`COUNTED`].
///
/// # Errors
/// The kernel does not tell.
pub(super) fn at_home(lan: &Lan) -> Result<Vec<u64>> {
    let (interfaces, protocols) = lan.home.enter(|| Ok((read("dev")?, read("snmp")?)))?;
    let frames = frames(&interfaces, Way::Received);
    let others = SNMP.iter().map(|&(protocol, name)| of_protocol(&protocols, protocol, name));
    let counts = std::iter::once(frames).chain(others).zip(COUNTED);
    counts.map(|(count, what)| count.with_context(|| format!("no count of {what}"))).collect()
}

/// Packets that `lan`'s peer has sent so far.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn sent_by_peer(lan: &Lan) -> Result<u64> {
    let interfaces = lan.peer.enter(|| read("dev"))?;
    frames(&interfaces, Way::Sent).context("no count of packets that the peer has sent")
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
}
