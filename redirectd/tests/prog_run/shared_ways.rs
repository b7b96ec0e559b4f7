//! Flows between the same addresses share what the kernel says about the way;
//! where ports matter to it, each still goes its own.

use std::{thread, time::Duration};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use redirectd::rule::Protocol;

use crate::{
    frame::ACK,
    home::{Fate, Home, at_home, redirect},
    network::{FAMILIES, Family, HOST_MAC, Mac, SECOND_MAC, ip_with},
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// How long a flow may go by a way that it has found before, and some.
const WAY_MAX_AGE: Duration = Duration::from_millis(600);

const FLOWS: u16 = 8;
const FIRST_PORT: u16 = 40_000;

/// What is shared is each processor's own.
fn stay_on_one_processor() {
    let mine = Pid::from_raw(0);
    let allowed = sched_getaffinity(mine).expect("processors");
    let first = (0..CpuSet::count()).find(|&n| allowed.is_set(n).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.expect("a processor")).expect("a processor");
    sched_setaffinity(mine, &one).expect("one of ours");
}

/// Open flows from one peer to one host, by ports from [`FIRST_PORT`] on.
fn open(home: &mut Home, family: &Family) -> Vec<Talk> {
    home.add(&redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
    let talks = (0..FLOWS).map(|n| Talk::new(Protocol::Tcp, family, FIRST_PORT + n));
    let talks: Vec<_> = talks.collect();
    for talk in &talks {
        home.table(&talk.opening());
    }
    talks
}

/// A way for packets of all flows but the first to the second host, which
/// nobody takes until there is the rule.
fn prepare_rule(family: &Family) {
    ip_of(family, &format!("route add default via {} dev back table 77", family.second));
}

/// Adds or deletes the rule that sends packets of all flows but the first to the
/// second host.
fn rule(family: &Family, what: &str) {
    let (first, last) = (FIRST_PORT + 1, FIRST_PORT + FLOWS - 1);
    ip_of(family, &format!("rule {what} sport {first}-{last} lookup 77"));
}

fn ip_of(family: &Family, command: &str) {
    let version = if family.home.is_ipv4() { "-4" } else { "-6" };
    ip_with(&[version], command);
}

/// To whom a packet of the flow goes.
fn next_hop(home: &mut Home, talk: &Talk) -> Mac {
    let frame = talk.peer_sends().flags(ACK).seq(101).ack(501).data(b"x");
    match home.receive(&frame.bytes()).fate {
        Fate::Sent(frame) => frame[..6].try_into().expect("six bytes"),
        other => panic!("{other:?}"),
    }
}

/// Of several flows one asks and the others believe it. Yet what counts for
/// some ports alone is noticed in time, and then kept to.
#[test]
fn one_asks_for_all_and_each_goes_its_own_way() {
    at_home(|home| {
        stay_on_one_processor();
        for family in FAMILIES {
            let talks = open(home, &family);
            let (plain, chosen) = (&talks[0], &talks[1..]);
            prepare_rule(&family);
            // Each asks itself once in sixteen times, and those after it, too: so
            // not all of them every time.
            let believed = (0..8).any(|_| {
                rule(&family, "add");
                thread::sleep(WAY_MAX_AGE);
                assert_eq!(next_hop(home, plain), HOST_MAC);
                let believed = chosen.iter().any(|talk| next_hop(home, talk) == HOST_MAC);
                rule(&family, "del");
                thread::sleep(WAY_MAX_AGE);
                for talk in &talks {
                    assert_eq!(next_hop(home, talk), HOST_MAC, "{talk:?}, without the rule");
                }
                believed
            });
            assert!(believed, "all of them asked, each time: {family:?}");

            rule(&family, "add");
            // One that has noticed has those after it ask, too: hence to and fro.
            let mut order: Vec<_> = chosen.iter().collect();
            let noticed = (0..60).any(|_| {
                order.reverse();
                thread::sleep(WAY_MAX_AGE);
                assert_eq!(next_hop(home, plain), HOST_MAC);
                let hops: Vec<_> = order.iter().map(|talk| next_hop(home, talk)).collect();
                hops.iter().all(|hop| *hop == SECOND_MAC)
            });
            assert!(noticed, "not all have noticed the rule for their ports: {family:?}");
            for round in 0..3 {
                thread::sleep(WAY_MAX_AGE);
                assert_eq!(next_hop(home, plain), HOST_MAC, "round {round}");
                for talk in chosen {
                    assert_eq!(next_hop(home, talk), SECOND_MAC, "{talk:?}, round {round}");
                }
            }
        }
    });
}
