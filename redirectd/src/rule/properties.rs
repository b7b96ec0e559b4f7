//! Sets of redirects against the plain meaning of their rules, pair by pair.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::{Contradiction, Flows, Mode, PortRange, Protocol, Redirect, RedirectSet, conflicts};

/// A world so small that redirects meet all the time: few addresses, few ports,
/// some targets that are homes too.
pub(crate) fn crowded_redirect() -> impl Strategy<Value = Redirect> {
    let v4 = (
        prop::sample::select(vec!["192.0.2.1", "192.0.2.2"]),
        prop::sample::select(vec!["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]),
        prop::sample::subsequence(
            vec!["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32"],
            0..3,
        ),
    );
    let v6 = (
        Just("2001:db8::1"),
        prop::sample::select(vec!["2001:db8::3", "2001:db8::4"]),
        prop::sample::subsequence(vec!["::/0", "2001:db8:1::/48", "2001:db8:1:1::/64"], 0..3),
    );
    (
        "[a-f]",
        prop::sample::subsequence(vec![Protocol::Tcp, Protocol::Udp], 1..=2),
        prop_oneof![3 => v4, 1 => v6],
        (1u16..12, 0u16..5),
        1u16..12,
        prop::option::of("[cd]"),
        any::<bool>(),
    )
        .prop_map(
            |(name, protocols, (home, target, peers), (first, more), target_port, host, follow)| {
                Redirect {
                    name,
                    protocols,
                    home: home.parse().unwrap(),
                    ports: PortRange::new(first, first + more).unwrap(),
                    target: target.parse().unwrap(),
                    target_port,
                    host,
                    peers: peers.iter().map(|p| p.parse().unwrap()).collect(),
                    mode: Mode::Nat,
                    flows: if follow { Flows::Follow } else { Flows::NewOnly },
                }
            },
        )
        .prop_filter("valid by itself", |redirect| redirect.validate().is_ok())
}

/// A set of crowded redirects: as many of some as can be in force together.
pub(crate) fn crowded_set() -> impl Strategy<Value = RedirectSet> {
    prop::collection::vec(crowded_redirect(), 0..8).prop_map(|redirects| {
        let mut set = RedirectSet::default();
        for redirect in redirects {
            // Refused ones are left out; the point is to have what remains.
            let _ = set.insert(redirect);
        }
        set
    })
}

fn prefixes(redirect: &Redirect) -> Vec<IpNet> {
    let all = if redirect.home.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    if redirect.peers.is_empty() { vec![all.parse().unwrap()] } else { redirect.peers.clone() }
}

fn endpoints(
    protocols: &[Protocol],
    address: IpAddr,
    ports: PortRange,
) -> Vec<(Protocol, IpAddr, u16)> {
    protocols.iter().flat_map(|p| ports.iter().map(move |port| (*p, address, port))).collect()
}

/// Whether the two claim the same packets, port by port.
pub(crate) fn overlap(a: &Redirect, b: &Redirect) -> bool {
    let homes = |r: &Redirect| endpoints(&r.protocols, r.home, r.ports);
    let (ours, theirs) = (homes(a), homes(b));
    ours.iter().any(|e| theirs.contains(e)) && prefixes(a).iter().any(|p| prefixes(b).contains(p))
}

/// Whether `a` sends to what `b` takes, port by port; one that is at home sends
/// nothing.
fn chained(a: &Redirect, b: &Redirect) -> bool {
    if a.home == a.target && a.ports.first() == a.target_port {
        return false;
    }
    let sent = endpoints(&a.protocols, a.target, a.target_ports().unwrap());
    let taken = endpoints(&b.protocols, b.home, b.ports);
    sent.iter().any(|e| taken.contains(e))
}

fn contradict(a: &Redirect, b: &Redirect) -> bool {
    a.name == b.name || overlap(a, b) || chained(a, b) || chained(b, a)
}

/// The index of a set is the one that its redirects have.
fn assert_index_fits(set: &RedirectSet) {
    let anew = RedirectSet::new(set.iter().cloned()).unwrap();
    assert_eq!(set.claims, anew.claims);
    assert_eq!(set.homes, anew.homes);
    assert_eq!(set.targets, anew.targets);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_set_is_refused_just_when_two_contradict(
        redirects in prop::collection::vec(crowded_redirect(), 0..7)
    ) {
        let pairs = || (0..redirects.len()).flat_map(|n| (0..n).map(move |m| (m, n)));
        let wrong = pairs().any(|(m, n)| contradict(&redirects[m], &redirects[n]));
        let set = RedirectSet::new(redirects.clone());
        prop_assert_eq!(set.is_err(), wrong, "{:?}", set);

    }

    #[test]
    fn conflicts_are_so_and_leave_nobody_out(
        redirects in prop::collection::vec(crowded_redirect(), 0..7)
    ) {
        let views: Vec<&Redirect> = redirects.iter().collect();
        let found = conflicts(&views);
        for conflict in &found {
            let (a, b) = (views[conflict.first], views[conflict.second]);
            let so = match conflict.why {
                Contradiction::Name => a.name == b.name,
                Contradiction::Overlap { .. } => overlap(a, b),
                Contradiction::Chain { .. } => chained(a, b),
            };
            prop_assert!(so && conflict.first != conflict.second, "{:?} is not so", conflict);
        }
        for (n, a) in views.iter().enumerate() {
            let others = || views.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, b)| b);
            let has_overlap = found.iter().any(|conflict| {
                matches!(conflict.why, Contradiction::Overlap { .. })
                    && (conflict.first == n || conflict.second == n)
            });
            prop_assert_eq!(others().any(|b| overlap(a, b)), has_overlap);
            let has_chain = found.iter().any(|conflict| {
                matches!(conflict.why, Contradiction::Chain { .. }) && conflict.first == n
            });
            prop_assert_eq!(others().any(|b| chained(a, b)), has_chain);
        }
    }

    #[test]
    fn one_by_one_is_as_all_at_once(
        redirects in prop::collection::vec(crowded_redirect(), 0..9)
    ) {
        let mut set = RedirectSet::default();
        for redirect in redirects {
            let fits = !set.iter().any(|other| contradict(&redirect, other));
            let before = set.clone();
            let done = set.insert(redirect.clone());
            prop_assert_eq!(done.is_ok(), fits, "{:?}", done);
            if fits {
                prop_assert_eq!(set.get(&redirect.name), Some(&redirect));
            } else {
                prop_assert_eq!(&set, &before);
            }
            assert_index_fits(&set);
        }
        let names: Vec<String> = set.iter().map(|r| r.name.clone()).collect();
        for name in names {
            set.remove(&name).unwrap();
            assert_index_fits(&set);
        }
        prop_assert!(set.is_empty());
    }

    #[test]
    fn what_is_written_is_read_back(redirect in crowded_redirect(), first: u16, last: u16) {
        let json = serde_json::to_string(&redirect).unwrap();
        prop_assert_eq!(serde_json::from_str::<Redirect>(&json).unwrap(), redirect);
        if let Ok(ports) = PortRange::new(first, last) {
            prop_assert_eq!(ports.to_string().parse::<PortRange>().unwrap(), ports);
            prop_assert_eq!(usize::from(ports.len()), ports.iter().count());
        } else {
            prop_assert!(first == 0 || first > last);
        }
    }

    #[test]
    fn port_ranges_mean_their_ports(a in 1u16..40, b in 1u16..40, c in 1u16..40, d in 1u16..40) {
        let (one, other) = (range(a, b), range(c, d));
        let both: Vec<u16> = one.iter().filter(|port| other.contains(*port)).collect();
        prop_assert_eq!(one.overlaps(other), !both.is_empty());
        let common: Vec<u16> = one.common(other).into_iter().flat_map(PortRange::iter).collect();
        prop_assert_eq!(common, both);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,12}|[0-9-]{0,11}") {
        if let Ok(ports) = text.parse::<PortRange>() {
            prop_assert_eq!(ports.to_string().parse::<PortRange>().unwrap(), ports);
        }
    }
}

fn range(a: u16, b: u16) -> PortRange {
    PortRange::new(a.min(b), a.max(b)).unwrap()
}

#[test]
fn words_are_read_back() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        assert_eq!(protocol.to_string().parse::<Protocol>().unwrap(), protocol);
        assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.to_string());
    }
    for flows in [Flows::NewOnly, Flows::Follow] {
        assert_eq!(flows.to_string().parse::<Flows>().unwrap(), flows);
        assert_eq!(serde_json::to_value(flows).unwrap(), flows.to_string());
    }
    assert_eq!(Mode::Nat.to_string().parse::<Mode>().unwrap(), Mode::Nat);
    assert_eq!(serde_json::to_value(Mode::Nat).unwrap(), Mode::Nat.to_string());
}

/// Pair by pair this would take 5,000,000,000 comparisons; it must not.
#[test]
fn a_hundred_thousand_redirects_are_checked_at_once() {
    let one = |n: u32| Redirect {
        name: format!("r{n}"),
        protocols: vec![Protocol::Tcp],
        home: IpAddr::from([192, 0, 2, u8::try_from(n / 50_000).unwrap() + 1]),
        ports: PortRange::single(u16::try_from(n % 50_000).unwrap() + 1).unwrap(),
        target: "198.51.100.1".parse().unwrap(),
        target_port: 80,
        host: None,
        peers: Vec::new(),
        mode: Mode::Nat,
        flows: Flows::NewOnly,
    };
    let begin = std::time::Instant::now();
    let mut set = RedirectSet::new((0..100_000).map(one)).unwrap();
    let again = Redirect { name: "again".to_owned(), ..one(99_999) };
    for _ in 0..10_000 {
        set.insert(again.clone()).unwrap_err();
    }
    let all_the_same: Vec<Redirect> =
        (0..100_000).map(|n| Redirect { name: format!("s{n}"), ..one(7) }).collect();
    let views: Vec<&Redirect> = all_the_same.iter().collect();
    assert_eq!(conflicts(&views).len(), 99_999);
    assert!(begin.elapsed().as_secs() < 30, "took {:?}", begin.elapsed());
}
