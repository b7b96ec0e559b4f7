//! The ways that a packet can take through a program, and how it is proved that
//! it took them.

use anyhow::{Result, ensure};
use redirectd_bench_bpf::Template;

use super::{
    Entry,
    counters::Counted,
    frame::{self, ACK, SYN, Spread},
    opening::FROM_PEER,
    tested::{HELD_PORT, HOME6, NEW_PORT, PEER_PORT, PEER6, new_peer},
    wrapper::Program,
};
use crate::{
    scenario::counted,
    stream::{self, HOME_PORT},
    topology::{HOME, PEER, nth},
};

/// A port without a redirect.
const OTHER_PORT: u16 = 7000;
/// Addresses of home's network: one where nothing is redirected, and a router's.
const OTHER_ADDRESS: u32 = 198;
const ROUTER: u32 = 199;
/// New flows before any of them comes again: by then it is long forgotten.
const NEW_FLOWS: u32 = 1_000_000;

/// So many times fewer parked packets than others.
pub(super) const PARKED: u32 = 50;

/// What is to be counted for each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing; the bench's own programs count what goes wrong.
    Nothing,
    /// It is translated.
    Translated,
    /// It opens a flow, and is translated.
    Opened,
    /// It is an ICMP error, and is translated.
    Icmp,
    /// It is home's own.
    Passed,
    /// It is held.
    Held,
}

/// A way through a program.
#[derive(Debug, Clone)]
pub(super) struct Path {
    /// What it is called in reports.
    pub(super) case: String,
    /// On which hook.
    pub(super) entry: Entry,
    /// Through what.
    pub(super) program: Program,
    /// With which packets.
    pub(super) template: Template,
    /// And what that must lead to.
    pub(super) proof: Proof,
    /// So many times fewer repetitions: it takes longer.
    pub(super) slow: u32,
}

impl Path {
    /// Whether its time is only what a wrapper takes.
    pub(super) fn is_wrapper_alone(&self) -> bool {
        self.program == Program::Empty
    }

    /// Whether `other` is what its wrapper takes.
    pub(super) fn is_wrapped_by(&self, other: &Self) -> bool {
        other.is_wrapper_alone()
            && other.entry == self.entry
            && other.template.kind == self.template.kind
    }
}

impl Proof {
    /// Holds what was counted for `repeat` packets on `entry` against it.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn check(self, entry: Entry, repeat: u32, seen: Counted) -> Result<()> {
        let all = u64::from(repeat);
        let nothing = Counted::default();
        let expected = match (self, entry) {
            (Self::Nothing, _) => return Ok(()),
            (Self::Translated, _) => Counted { translated: all, ..nothing },
            (Self::Opened, _) => Counted { translated: all, opened: all, ..nothing },
            (Self::Icmp, _) => Counted { icmp: all, ..nothing },
            // XDP leaves it to tc to count it.
            (Self::Passed, Entry::Xdp) => nothing,
            (Self::Passed, Entry::Tc) => Counted { no_redirect: all, ..nothing },
            (Self::Held, _) => Counted { held: all, ..nothing },
        };
        ensure!(seen == expected, "of {repeat} packets, {seen:?} were counted, not {expected:?}");
        Ok(())
    }
}

/// Flow-hits of so many flows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amounts {
    /// In turn, as in the issue.
    pub(super) many: u32,
    /// In turn, as in the other suite.
    pub(super) most: u32,
}

/// `flows` flows, as streams have them.
pub(super) fn spread(flows: u32) -> Spread {
    let stream = stream::stream(flows);
    Spread { targets: stream.targets, per_target: stream.per_target }
}

/// Every path, in the order of reports.
pub(super) fn all(amounts: Amounts) -> Vec<Path> {
    let mut paths = Vec::new();
    for entry in [Entry::Xdp, Entry::Tc] {
        let mut add = |case: String, program, template, proof, slow| {
            paths.push(Path { case, entry, program, template, proof, slow });
        };
        for (what, template) in kinds(entry) {
            add(format!("wrapper alone, {what}"), Program::Empty, template, Proof::Nothing, 1);
        }
        add("MAC swap".into(), Program::Swap, tcp4(1), Proof::Nothing, 1);
        for flows in [1, amounts.many] {
            let case = format!("bare redirect, {}", counted(flows, "flow"));
            add(case, Program::Bare, tcp4(flows), Proof::Nothing, 1);
        }
        let redirectd = Program::Redirectd;
        for flows in [1, amounts.many, amounts.most] {
            add(hit("TCP over IPv4", flows), redirectd, tcp4(flows), Proof::Translated, 1);
        }
        for flows in [1, amounts.many] {
            add(hit("TCP over IPv6", flows), redirectd, tcp6(flows), Proof::Translated, 1);
        }
        add(hit("UDP over IPv4", 1), redirectd, udp4(HOME_PORT), Proof::Translated, 1);
        add("no redirect".into(), redirectd, udp4(OTHER_PORT), Proof::Passed, 1);
        let case = "no redirect, but for another address";
        add(case.into(), redirectd, other_address(), Proof::Passed, 1);
        if entry == Entry::Tc {
            add("new flow, TCP over IPv4".into(), redirectd, new_flows(), Proof::Opened, 5);
            add("ICMP error, IPv4".into(), redirectd, icmp(), Proof::Icmp, 2);
            // No more at a time than there is room for until user space takes them.
            add("parked, UDP over IPv4".into(), redirectd, udp4(HELD_PORT), Proof::Held, PARKED);
        }
    }
    paths
}

/// The name of the case of flow-hits.
pub(super) fn hit(what: &str, flows: u32) -> String {
    format!("flow-hit, {what}, {}", counted(flows, "flow"))
}

/// A template of each kind that is used on `entry`.
fn kinds(entry: Entry) -> Vec<(&'static str, Template)> {
    let mut kinds = vec![
        ("TCP over IPv4", tcp4(1)),
        ("TCP over IPv6", tcp6(1)),
        ("UDP over IPv4", udp4(HOME_PORT)),
    ];
    if entry == Entry::Tc {
        kinds.push(("ICMP error", icmp()));
    }
    kinds
}

/// Frames of the established flows of TCP over IPv4.
pub(super) fn tcp4(flows: u32) -> Template {
    frame::tcp(FROM_PEER, (PEER, PEER_PORT).into(), (HOME, HOME_PORT).into(), ACK, spread(flows))
}

fn tcp6(flows: u32) -> Template {
    frame::tcp(FROM_PEER, (PEER6, PEER_PORT).into(), (HOME6, HOME_PORT).into(), ACK, spread(flows))
}

fn udp4(port: u16) -> Template {
    frame::udp(FROM_PEER, (PEER, PEER_PORT).into(), (HOME, port).into(), spread(1))
}

fn other_address() -> Template {
    let home = (nth(HOME, OTHER_ADDRESS), HOME_PORT).into();
    frame::udp(FROM_PEER, (PEER, PEER_PORT).into(), home, spread(1))
}

fn new_flows() -> Template {
    let (peer, home) = ((new_peer(), PEER_PORT).into(), (HOME, NEW_PORT).into());
    frame::tcp(FROM_PEER, peer, home, SYN, spread(NEW_FLOWS))
}

fn icmp() -> Template {
    let by = nth(HOME, ROUTER).into();
    frame::icmp(FROM_PEER, by, (PEER, PEER_PORT).into(), (HOME, HOME_PORT).into())
}

#[cfg(test)]
mod tests {
    use redirectd_bench_bpf::places;

    use super::*;

    #[test]
    fn every_path_has_a_wrapper_to_be_subtracted_and_a_name_of_its_own() {
        let paths = all(Amounts { many: 32_768, most: 100_000 });
        for path in &paths {
            let wrappers = paths.iter().filter(|other| path.is_wrapped_by(other)).count();
            assert_eq!(wrappers, 1, "{}", path.case);
            let same = |other: &&Path| other.case == path.case && other.entry == path.entry;
            assert_eq!(paths.iter().filter(same).count(), 1, "{}", path.case);
        }
        assert!(paths.iter().any(|path| path.template.kind == places::ICMP4));
    }

    #[test]
    fn what_was_not_counted_is_no_proof() {
        let seen = Counted { translated: 10, ..Counted::default() };
        assert!(Proof::Translated.check(Entry::Tc, 10, seen).is_ok());
        assert!(Proof::Translated.check(Entry::Tc, 11, seen).is_err());
        assert!(Proof::Opened.check(Entry::Tc, 10, seen).is_err());
        assert!(Proof::Passed.check(Entry::Xdp, 10, seen).is_err());
        let handed = Counted { handed: 1, ..seen };
        assert!(Proof::Translated.check(Entry::Xdp, 10, handed).is_err());
    }
}
