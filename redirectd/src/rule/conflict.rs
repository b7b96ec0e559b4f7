//! Which redirects cannot be in force together.
//!
//! Two redirects overlap if they share a protocol, a home address, a port and a
//! peer prefix, no peers at all being the prefix of all. Prefixes of different
//! length never overlap: the longest one that holds the peer wins, as in a
//! routing table. A redirect that sends to an endpoint which another redirect
//! takes away again is a chain, and refused: what it forwards would leave home
//! untranslated a second time.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{PortRange, Protocol, Redirect, endpoint};
use crate::error::{Error, Kind};

/// What keeps two redirects from being in force together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Contradiction {
    /// They have the same name.
    Name,
    /// Both claim these packets.
    Overlap {
        /// The protocol.
        protocol: Protocol,
        /// The home address.
        home: IpAddr,
        /// The peers, /0 being all.
        peers: IpNet,
        /// The home ports that both claim.
        ports: PortRange,
    },
    /// What the first sends to its target, the second sends on.
    Chain {
        /// The protocol.
        protocol: Protocol,
        /// The first one's target, a home address of the second.
        target: IpAddr,
        /// The ports there.
        ports: PortRange,
    },
}

/// Two redirects that contradict each other, by their positions in the slice
/// that was examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conflict {
    /// The one that was there first, or (for a chain) that sends to the other.
    pub first: usize,
    /// The other one.
    pub second: usize,
    /// What is wrong.
    pub why: Contradiction,
}

impl Contradiction {
    /// The error that redirects `a` and `b` contradict each other so.
    #[must_use]
    pub fn error(&self, a: &Redirect, b: &Redirect) -> Error {
        let (what, cure) = self.describe(a, b);
        Error::new(Kind::Conflict, what).cure(cure)
    }

    /// The chain that `first` and `second` make if the one sends to what the
    /// other takes.
    pub(super) fn chain(first: &Redirect, second: &Redirect) -> Option<Self> {
        if first.is_at_home() {
            // It sends nothing anywhere.
            return None;
        }
        let ports = first.target_ports()?.common(second.ports)?;
        let protocol = first.protocols.iter().find(|p| second.protocols.contains(p))?;
        (first.target == second.home).then_some(Self::Chain {
            protocol: *protocol,
            target: first.target,
            ports,
        })
    }

    /// What is wrong with `a` beside `b`, and the cure.
    #[must_use]
    pub fn describe(&self, a: &Redirect, b: &Redirect) -> (String, String) {
        match self {
            Self::Name => (
                format!("there are two redirects `{}`: {a}, and {b}", a.name),
                "give one of them another name".to_owned(),
            ),
            Self::Overlap { protocol, home, peers, ports } => (
                format!(
                    "redirects `{}` and `{}` both claim {protocol} {} from {}",
                    a.name,
                    b.name,
                    endpoint(*home, ports),
                    if peers.prefix_len() == 0 {
                        "all peers".to_owned()
                    } else {
                        peers.to_string()
                    },
                ),
                "give one of them other ports or other peers, or remove it".to_owned(),
            ),
            Self::Chain { protocol, target, ports } => (
                format!(
                    "redirect `{}` sends to {protocol} {}, which redirect `{}` takes away again: \
                     {b}",
                    a.name,
                    endpoint(*target, ports),
                    b.name,
                ),
                format!("let `{}` send to the host of `{}` directly", a.name, b.name),
            ),
        }
    }
}

/// What one redirect claims for one protocol and peer prefix; the ports come
/// from the redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Claim {
    pub(super) home: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) peers: IpNet,
    /// The first of the claimed ports; the last is `last`.
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Claim {
    /// Whether the two differ at most in their ports.
    pub(super) fn same_packets(&self, other: &Self) -> bool {
        self.home == other.home && self.protocol == other.protocol && self.peers == other.peers
    }

    pub(super) fn contradiction(&self, other: &Self) -> Option<Contradiction> {
        let ports = self.ports()?.common(other.ports()?)?;
        let Self { home, protocol, peers, .. } = *self;
        self.same_packets(other).then_some(Contradiction::Overlap { protocol, home, peers, ports })
    }

    fn ports(&self) -> Option<PortRange> {
        PortRange::new(self.first, self.last).ok()
    }
}

/// Calls `visit` for everything that `redirect` claims.
pub(super) fn for_each_claim(redirect: &Redirect, mut visit: impl FnMut(Claim)) {
    let all = [everybody(redirect.home)];
    let peers = if redirect.peers.is_empty() { &all[..] } else { &redirect.peers };
    let (first, last) = (redirect.ports.first(), redirect.ports.last());
    for &protocol in &redirect.protocols {
        for &peers in peers {
            visit(Claim { home: redirect.home, protocol, peers, first, last });
        }
    }
}

/// The prefix that holds all peers of the address's family.
fn everybody(home: IpAddr) -> IpNet {
    match home {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    }
}

/// Every redirect that contradicts an earlier one, in n log n. Where many claim
/// the same, each is named with one it contradicts, not with all of them.
#[must_use]
pub fn conflicts(redirects: &[&Redirect]) -> Vec<Conflict> {
    let mut found = same_names(redirects);
    found.extend(overlaps(redirects));
    found.extend(chains(redirects));
    found
}

fn same_names(redirects: &[&Redirect]) -> Vec<Conflict> {
    let mut order: Vec<usize> = (0..redirects.len()).collect();
    order.sort_by_key(|&n| (&redirects[n].name, n));
    order
        .windows(2)
        .filter(|pair| redirects[pair[0]].name == redirects[pair[1]].name)
        .map(|pair| Conflict { first: pair[0], second: pair[1], why: Contradiction::Name })
        .collect()
}

/// Sorts all claims and sweeps over them: one that starts before the furthest
/// end so far, among claims on the same packets, overlaps the one that ends there.
fn overlaps(redirects: &[&Redirect]) -> Vec<Conflict> {
    let mut claims = Vec::with_capacity(redirects.len());
    for (n, redirect) in redirects.iter().enumerate() {
        for_each_claim(redirect, |claim| claims.push((claim, n)));
    }
    claims.sort_unstable();

    let mut found = Vec::new();
    let mut pairs = HashSet::new();
    let mut furthest: Option<(Claim, usize)> = None;
    for (claim, n) in claims {
        let before = furthest.filter(|(other, _)| other.same_packets(&claim));
        if let Some((other, m)) = before
            && m != n
            && let Some(why) = other.contradiction(&claim)
            && pairs.insert((m.min(n), m.max(n)))
        {
            found.push(Conflict { first: m.min(n), second: m.max(n), why });
        }
        if before.is_none_or(|(other, _)| claim.last > other.last) {
            furthest = Some((claim, n));
        }
    }
    found
}

/// Looks for targets only at home addresses that are targets too, which are
/// few: usually none.
fn chains(redirects: &[&Redirect]) -> Vec<Conflict> {
    let away = |redirect: &&&Redirect| !redirect.is_at_home();
    let targets: HashSet<IpAddr> = redirects.iter().filter(away).map(|r| r.target).collect();
    let mut homes: HashMap<(IpAddr, Protocol), Vec<(PortRange, usize)>> = HashMap::new();
    for (n, redirect) in redirects.iter().enumerate() {
        if targets.contains(&redirect.home) {
            for &protocol in &redirect.protocols {
                homes.entry((redirect.home, protocol)).or_default().push((redirect.ports, n));
            }
        }
    }
    if homes.is_empty() {
        return Vec::new();
    }
    for taken in homes.values_mut() {
        furthest_so_far(taken);
    }
    let mut found = Vec::new();
    for (first, redirect) in redirects.iter().enumerate().filter(|(_, r)| away(r)) {
        for &protocol in &redirect.protocols {
            let taken = homes.get(&(redirect.target, protocol));
            let taken = taken.zip(redirect.target_ports());
            if let Some((ports, second)) = taken.and_then(|(taken, ports)| reaching(taken, ports))
                && first != second
            {
                let why = Contradiction::Chain { protocol, target: redirect.target, ports };
                found.push(Conflict { first, second, why });
                break;
            }
        }
    }
    found
}

/// Sorts ranges by their first port and replaces each by the one among it and
/// those before it that ends last, keeping its own first port in the order.
fn furthest_so_far(ranges: &mut [(PortRange, usize)]) {
    ranges.sort_unstable();
    for n in 1..ranges.len() {
        if ranges[n - 1].0.last() > ranges[n].0.last() {
            ranges[n] = ranges[n - 1];
        }
    }
}

/// The ports of `ports` that one of `ranges` has, and whose it is.
fn reaching(ranges: &[(PortRange, usize)], ports: PortRange) -> Option<(PortRange, usize)> {
    let after = ranges.partition_point(|(range, _)| range.first() <= ports.last());
    let (range, owner) = *ranges[..after].last()?;
    Some((range.common(ports)?, owner))
}
