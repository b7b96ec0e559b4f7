//! Redirects whose target changes: which flows go along, and their packets on
//! the way meanwhile.

use std::{thread, time::Duration};

use redirectd::{
    dataplane::{Change, Dataplane as _, FlowState},
    rule::{Flows, Protocol, Redirect},
};

use crate::{
    expiry::PATIENT,
    frame::{ACK, FIN, Frame, SYN, TTL},
    home::{Entry, Fate, Home, TABLES, at_entry, at_home, redirect},
    network::{FAMILIES, Family},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// The target port at the second host.
const SECOND_PORT: u16 = 9_090;

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn at_first(protocol: Protocol, family: &Family) -> Redirect {
    redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT))
}

fn at_second(protocol: Protocol, family: &Family, flows: Flows) -> Redirect {
    Redirect {
        target: family.second,
        target_port: SECOND_PORT,
        flows,
        ..at_first(protocol, family)
    }
}

fn update(home: &mut Home, from: &Redirect, to: &Redirect) {
    home.apply(Change::Update { from: from.clone(), to: to.clone() });
}

/// The same conversation with the second host.
fn moved(talk: &Talk, family: &Family) -> Talk {
    Talk { host: (family.second, SECOND_PORT).into(), ..*talk }
}

fn data(talk: &Talk) -> impl Fn(Frame) -> Frame {
    let tcp = talk.protocol == Protocol::Tcp;
    move |frame| if tcp { frame.flags(ACK).seq(101).ack(501).data(b"x") } else { frame.data(b"x") }
}

#[test]
fn flows_follow() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                let (first, second) =
                    (at_first(protocol, &family), at_second(protocol, &family, Flows::Follow));
                home.add(&first);
                let talk = Talk::new(protocol, &family, 40_000);
                home.table(&talk.opening());
                update(home, &first, &second);
                let there = moved(&talk, &family);
                home.table(&[
                    there.reaches_peer("the new host speaks first", data(&talk)).by_xdp(),
                    talk.reaches_peer("what the old host had under way", data(&talk)).by_xdp(),
                    there.reaches_host("the first packet after it", data(&talk)).by_xdp(),
                    there.reaches_peer("the way back", data(&talk)).by_xdp(),
                ]);
                home.table(&moved(&Talk::new(protocol, &family, 40_001), &family).opening());
            }
        }
    });
}

/// XDP has handed a frame to tc, which has yet to come there: those behind it would overtake
/// it by XDP, wherever their flow leads by now.
#[test]
fn nothing_overtakes_what_was_handed_to_tc_before() {
    at_entry(Entry::XdpAndTc, TABLES, |home| {
        for family in FAMILIES {
            let protocol = Protocol::Udp;
            let first = at_first(protocol, &family);
            home.add(&first);
            let talk = Talk::new(protocol, &family, 40_000);
            home.table(&talk.opening());
            // At the end of its life, which only tc tells the peer.
            let late = data(&talk)(talk.peer_sends()).ttl(1).bytes();
            assert_eq!(home.xdp_alone(&late), Fate::Passed);
            update(home, &first, &at_second(protocol, &family, Flows::Follow));
            let next = data(&talk)(talk.peer_sends()).bytes();
            assert_eq!(home.xdp_alone(&next), Fate::Passed, "it overtakes");
            home.front_entry().receive(&late);
            let sent = home.xdp_alone(&next);
            let there = data(&talk)(moved(&talk, &family).host_gets()).ttl(TTL - 1).bytes();
            assert_eq!(sent, Fate::Sent(there));
        }
    });
}

#[test]
fn flows_stay() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                let (first, second) =
                    (at_first(protocol, &family), at_second(protocol, &family, Flows::NewOnly));
                home.add(&first);
                let talk = Talk::new(protocol, &family, 40_000);
                home.table(&talk.opening());
                update(home, &first, &second);
                home.table(&[
                    talk.reaches_peer("the old host", data(&talk)).by_xdp(),
                    talk.reaches_host("the first packet after it", data(&talk)),
                    talk.reaches_host("the second", data(&talk)).by_xdp(),
                    talk.reaches_peer("the way back", data(&talk)).by_xdp(),
                    Row::passed(
                        "the new host has no part in it",
                        &data(&talk)(moved(&talk, &family).host_sends()),
                        "no_redirect",
                    ),
                ]);
                home.table(&moved(&Talk::new(protocol, &family, 40_001), &family).opening());
            }
        }
    });
}

/// As long as the way back from a host that a flow has left is kept.
const LEFT_BEHIND: Duration = Duration::from_millis(10_100);

/// There, and back again, with packets in between and without.
#[test]
fn flows_that_follow_twice() {
    at_home(|home| {
        for family in FAMILIES {
            for (port, in_between) in [(40_000, true), (40_001, false)] {
                let first = Redirect { flows: Flows::Follow, ..at_first(Protocol::Tcp, &family) };
                let second = at_second(Protocol::Tcp, &family, Flows::Follow);
                home.add(&first);
                let talk = Talk::new(Protocol::Tcp, &family, port);
                home.table(&talk.opening());
                let there = moved(&talk, &family);
                update(home, &first, &second);
                if in_between {
                    home.table(&[there.reaches_host("there", data(&talk)).by_xdp()]);
                }
                update(home, &second, &first);
                home.table(&[
                    talk.reaches_peer("the first host speaks first", data(&talk)).by_xdp(),
                    talk.reaches_host("back again", data(&talk)).by_xdp(),
                    talk.reaches_peer("the way back", data(&talk)).by_xdp(),
                ]);
                let removal = redirectd::dataplane::Removal::Drain;
                home.apply(Change::Remove { redirect: first, removal });
            }
        }
        // No way back is left over for hosts that the flows have left, once nothing
        // of theirs can be under way any more.
        thread::sleep(LEFT_BEHIND);
        home.bpf.expire(&PATIENT).expect("the tables can be swept");
        let used = |name: &str| {
            let tables = home.bpf.tables().expect("they can be read");
            tables.into_iter().find(|table| table.table == name).map(|table| table.used)
        };
        assert_eq!(used("flows"), Some(home.flows().len() as u64));
    });
}

/// Its state, which its timers depend on, and its counters.
#[test]
fn what_a_flow_has_seen_goes_along() {
    at_home(|home| {
        for family in FAMILIES {
            let (first, second) = (
                at_first(Protocol::Tcp, &family),
                at_second(Protocol::Tcp, &family, Flows::Follow),
            );
            let cases = [
                (40_000, FlowState::Established),
                (40_001, FlowState::HalfClosed),
                (40_002, FlowState::HalfClosed),
                (40_003, FlowState::Closed),
            ];
            let talks = cases.map(|(port, _)| Talk::new(Protocol::Tcp, &family, port));
            home.add(&first);
            let fin = |frame: Frame| frame.flags(FIN | ACK);
            for talk in &talks {
                home.table(&talk.opening());
            }
            home.table(&[
                talks[1].reaches_host("the peer closes", fin).by_xdp(),
                talks[2].reaches_peer("the host closes", fin).by_xdp(),
                talks[3].reaches_host("the peer closes", fin).by_xdp(),
                talks[3].reaches_peer("the host closes", fin).by_xdp(),
            ]);
            let seen = |home: &Home| {
                let of_family = home.flows().into_iter().filter(|flow| flow.home.0 == family.home);
                let seen =
                    of_family.map(|flow| (flow.peer.1, flow.state, flow.to_host, flow.to_peer));
                let mut seen: Vec<_> = seen.collect();
                seen.sort_by_key(|seen| seen.0);
                seen
            };
            let before = seen(home);
            let states: Vec<_> = before.iter().map(|seen| (seen.0, seen.1)).collect();
            assert_eq!(states, cases);
            update(home, &first, &second);
            assert_eq!(seen(home), before);
        }
    });
}

/// Those that were told to stay do not follow a later change either; those made
/// after it do.
#[test]
fn flows_that_stayed_go_on_staying() {
    at_home(|home| {
        for family in FAMILIES {
            for in_between in [true, false] {
                let third = Redirect {
                    target_port: 7_070,
                    flows: Flows::Follow,
                    ..at_second(Protocol::Tcp, &family, Flows::Follow)
                };
                let first = at_first(Protocol::Tcp, &family);
                let second = at_second(Protocol::Tcp, &family, Flows::NewOnly);
                let port = 40_000 + u16::from(in_between);
                home.add(&first);
                let old = Talk::new(Protocol::Tcp, &family, port);
                home.table(&old.opening());
                update(home, &first, &second);
                let new = moved(&Talk::new(Protocol::Tcp, &family, port + 10), &family);
                home.table(&new.opening());
                if in_between {
                    home.table(&[old.reaches_host("it stays", data(&old))]);
                }
                update(home, &second, &third);
                let followed = Talk { host: (family.second, 7_070).into(), ..new };
                let first_of_old = old.reaches_host("the one told to stay", data(&old));
                home.table(&[
                    // It was told once and for all.
                    if in_between { first_of_old.by_xdp() } else { first_of_old },
                    old.reaches_peer("and its way back", data(&old)).by_xdp(),
                    followed.reaches_host("the other follows", data(&old)).by_xdp(),
                    followed.reaches_peer("and its way back", data(&old)).by_xdp(),
                ]);
                let removal = redirectd::dataplane::Removal::Drain;
                home.apply(Change::Remove { redirect: third, removal });
            }
        }
    });
}

#[test]
fn half_open_flows_open_anew_at_the_new_target() {
    at_home(|home| {
        for family in FAMILIES {
            for flows in [Flows::Follow, Flows::NewOnly] {
                for protocol in PROTOCOLS {
                    let (first, second) =
                        (at_first(protocol, &family), at_second(protocol, &family, flows));
                    home.add(&first);
                    let port = if flows == Flows::Follow { 40_000 } else { 40_001 };
                    let talk = Talk::new(protocol, &family, port);
                    home.table(&talk.opening()[..1]);
                    update(home, &first, &second);
                    if protocol == Protocol::Tcp {
                        let last = talk.peer_sends().flags(ACK).seq(101).ack(501);
                        home.table(&[Row::dropped("a blind ACK", &last, "not_answered")]);
                    }
                    home.table(&moved(&talk, &family).opening());
                    let removal = redirectd::dataplane::Removal::Drain;
                    home.apply(Change::Remove { redirect: second, removal });
                }
            }
        }
    });
}

#[test]
fn the_next_connection_of_a_closed_flow() {
    at_home(|home| {
        for family in FAMILIES {
            for flows in [Flows::Follow, Flows::NewOnly] {
                let (first, second) =
                    (at_first(Protocol::Tcp, &family), at_second(Protocol::Tcp, &family, flows));
                home.add(&first);
                let port = if flows == Flows::Follow { 40_000 } else { 40_001 };
                let talk = Talk::new(Protocol::Tcp, &family, port);
                home.table(&talk.opening());
                home.table(&[
                    talk.reaches_host("FIN", |f| f.flags(FIN | ACK)).by_xdp(),
                    talk.reaches_peer("FIN", |f| f.flags(FIN | ACK)).by_xdp(),
                ]);
                update(home, &first, &second);
                home.table(&moved(&talk, &family).opening());
                let removal = redirectd::dataplane::Removal::Drain;
                home.apply(Change::Remove { redirect: second, removal });
            }
        }
    });
}

/// Two flows of one port, to two hosts, cannot both end at one.
#[test]
fn a_flow_whose_port_is_taken_at_the_new_host() {
    at_home(|home| {
        for family in FAMILIES {
            let first = at_first(Protocol::Tcp, &family);
            let second = at_second(Protocol::Tcp, &family, Flows::Follow);
            home.add(&first);
            let neighbour = Redirect {
                name: format!("neighbour-{}", if family.home.is_ipv4() { 4 } else { 6 }),
                ..redirect(Protocol::Tcp, (family.home, 81), (family.second, SECOND_PORT))
            };
            home.add(&neighbour);
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&talk.opening());
            let other = Talk {
                peer: (family.other_peer, 40_000).into(),
                home: (family.home, 81).into(),
                ..moved(&talk, &family)
            };
            home.table(&other.opening());
            update(home, &first, &second);
            home.table(&[
                Row::dropped("it cannot", &data(&talk)(talk.peer_sends()), "cannot_follow"),
                other.reaches_host("the other goes on", data(&talk)).by_xdp(),
                other.reaches_peer("and back", data(&talk)).by_xdp(),
                talk.reaches_peer("what the old host had sent", data(&talk)).by_xdp(),
                Row::dropped("a SYN cannot either", &talk.peer_sends().flags(SYN), "cannot_follow"),
            ]);
        }
    });
}
