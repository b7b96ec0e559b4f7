//! Fragments: of redirected datagrams and of home's own, in order and not.

use redirectd::{
    dataplane::{Change, Removal},
    rule::Protocol,
};

use crate::{
    capture::Capture,
    check::{assert_sound, describe},
    extension::Extension,
    frame::{Frame, TTL},
    home::{Fate, Home, at_home, redirect},
    network::{FAMILIES, Family, V4, V6},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// What each fragment carries, in bytes.
const STEP: usize = 1024;

fn open(home: &mut Home, family: &Family) -> Talk {
    home.add(&redirect(Protocol::Udp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
    let talk = Talk::new(Protocol::Udp, family, 40_000);
    home.table(&talk.opening());
    talk
}

/// A datagram of three fragments.
fn long(frame: Frame) -> Frame {
    let data: Vec<u8> = (0..2500_u32).map(|place| (place / 7) as u8).collect();
    frame.data(&data).id(0x1234)
}

/// The identification of a fragment without tags, options and other extension
/// headers.
fn id(fragment: &[u8]) -> u32 {
    let at = |from: usize, to: usize| {
        fragment[from..to].iter().fold(0, |id, byte| id << 8 | u32::from(*byte))
    };
    if fragment[12..14] == [8, 0] { at(18, 20) } else { at(14 + 40 + 4, 14 + 40 + 8) }
}

/// Receives a first fragment; returns it as sent, whose identification is new.
fn receive_first(home: &mut Home, fragment: &Frame) -> Vec<u8> {
    let outcome = home.receive(&fragment.bytes());
    let Fate::Sent(sent) = outcome.fate else { panic!("the first fragment: {outcome:?}") };
    assert!(outcome.counted.contains_key("translated"), "{:?}", outcome.counted);
    sent
}

fn assert_is(sent: &[u8], expected: &Frame, what: &str) {
    let expected = expected.bytes();
    assert_sound(sent, what);
    assert!(
        sent == expected,
        "{what}: sent\n{}instead of\n{}",
        describe(sent),
        describe(&expected)
    );
}

/// Sends `datagram` in order; returns the identification it leaves with.
fn in_order(home: &mut Home, datagram: &Frame, out: &Frame) -> u32 {
    let fragments = datagram.fragments(STEP);
    let sent = receive_first(home, &fragments[0]);
    let id = id(&sent);
    let out = out.clone().id(id).ttl(TTL - 1).fragments(STEP);
    assert_is(&sent, &out[0], "the first fragment");
    for (fragment, out) in fragments.iter().zip(&out).skip(1) {
        home.table(&[Row::sent("a later one", fragment, out).counted_as("fragment_translated")]);
    }
    id
}

#[test]
fn arriving_in_order() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = open(home, &family);
            in_order(home, &long(talk.from_peer()), &long(talk.at_host()));
            in_order(home, &long(talk.from_host()), &long(talk.at_peer()));
            let new = Talk::new(Protocol::Udp, &family, 40_001);
            in_order(home, &long(new.from_peer()), &long(new.at_host()));
            in_order(home, &long(new.from_host()), &long(new.at_peer()));
        }
    });
}

#[test]
fn datagrams_without_a_checksum() {
    at_home(|home| {
        let talk = open(home, &V4);
        in_order(home, &long(talk.from_peer()).unsummed(), &long(talk.at_host()).unsummed());
    });
}

#[test]
fn datagrams_with_tags_options_and_extension_headers() {
    at_home(|home| {
        let talk = open(home, &V4);
        for tags in 1..=2 {
            let tagged = (0..tags).fold(long(talk.from_peer()), |frame, _| frame.tag(0x8100, 7));
            in_order(home, &tagged.id(tags), &long(talk.at_host()));
        }
        let options = |frame: Frame| long(frame).options(&[148, 4, 0, 0]).id(9);
        in_order(home, &options(talk.from_peer()), &options(talk.at_host()));

        let talk = open(home, &V6);
        let tagged = long(talk.from_peer()).tag(0x88a8, 100).tag(0x8100, 7);
        in_order(home, &tagged, &long(talk.at_host()));
        let extended = long(talk.from_peer()).extension(Extension::hop_by_hop(1)).id(9);
        let fragments = extended.fragments(STEP);
        let Fate::Sent(first) = home.receive(&fragments[0].bytes()).fate else {
            panic!("not sent")
        };
        let id = u32::from_be_bytes(first[14 + 48 + 4..14 + 48 + 8].try_into().expect("4 bytes"));
        let out = long(talk.at_host()).extension(Extension::hop_by_hop(1)).id(id).ttl(TTL - 1);
        for (fragment, out) in fragments.iter().zip(out.fragments(STEP)).skip(1) {
            let row = Row::sent("behind an extension header", fragment, &out);
            home.table(&[row.counted_as("fragment_translated")]);
        }
    });
}

/// RFC 4963: on the way out all datagrams have one source.
#[test]
fn no_two_datagrams_leave_with_one_identification() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = open(home, &family);
            let other = Talk { peer: (family.other_peer, 41_000).into(), ..talk };
            let other = Talk { snat: (family.home, 41_000).into(), ..other };
            home.table(&other.opening());
            let ids = [
                in_order(home, &long(talk.from_peer()), &long(talk.at_host())),
                in_order(home, &long(other.from_peer()), &long(other.at_host())),
                in_order(home, &long(talk.from_peer()), &long(talk.at_host())),
            ];
            assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
        }
    });
}

#[test]
fn datagrams_that_alternate() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = open(home, &family);
            let datagrams = [1, 2, 3].map(|id| long(talk.from_peer()).id(id).fragments(STEP));
            let out = datagrams.clone().map(|fragments| {
                let sent = receive_first(home, &fragments[0]);
                long(talk.at_host()).id(id(&sent)).ttl(TTL - 1).fragments(STEP)
            });
            for later in [2, 1] {
                for (fragments, out) in datagrams.iter().zip(&out) {
                    let row = Row::sent("later", &fragments[later], &out[later]);
                    home.table(&[row.counted_as("fragment_translated")]);
                }
            }
        }
    });
}

#[test]
fn fragments_that_come_before_the_first_are_sent_after_it() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = open(home, &family);
            for (out, into) in
                [(talk.at_host(), talk.from_peer()), (talk.at_peer(), talk.from_host())]
            {
                let mut capture = Capture::towards(out.destination);
                let fragments = long(into).fragments(STEP);
                home.table(&[
                    Row::passed("the last one", &fragments[2], "fragment_early"),
                    Row::passed("the second", &fragments[1], "fragment_early"),
                ]);
                let before = home.reasons();
                let outcome = home.receive(&fragments[0].bytes());
                // The packet in hand has served; clones of it are on their way.
                assert_eq!(outcome.fate, Fate::Dropped);
                let sent = capture.frames(3);
                let out = long(out).id(id(&sent[0])).ttl(TTL - 1).fragments(STEP);
                for (place, fragment) in [0, 2, 1].into_iter().zip(&sent) {
                    assert_is(fragment, &out[place], &format!("fragment {place}"));
                }
                let counted = home.counted_since(&before);
                let packets = |reason: &str| counted.get(reason).map(|count| count.packets);
                assert_eq!(packets("fragment_released"), Some(2), "{counted:?}");
                assert_eq!(packets("fragment_translated"), Some(2), "{counted:?}");
                assert_eq!(packets("translated"), Some(1), "{counted:?}");
            }
        }
    });
}

#[test]
fn datagrams_that_are_homes_own() {
    at_home(|home| {
        for family in FAMILIES {
            open(home, &family);
            let own = |port, id: u32| {
                let talk = Talk::new(Protocol::Udp, &family, port);
                let talk = Talk { home: (family.home, 53).into(), ..talk };
                long(talk.from_peer()).id(id).fragments(STEP)
            };
            // From a port that is none of ours, and from one that is.
            for (port, id) in [(40_000, 1), (HOST_PORT, 2)] {
                let fragments = own(port, id);
                home.table(&[
                    Row::passed("the first", &fragments[0], "no_redirect"),
                    Row::passed("the second", &fragments[1], "fragment_own"),
                    Row::passed("the last", &fragments[2], "fragment_own"),
                ]);
                let fragments = own(port, id + 2);
                home.table(&[
                    Row::passed("the second, early", &fragments[1], "fragment_early"),
                    Row::passed("the first", &fragments[0], "no_redirect"),
                    Row::passed("the last", &fragments[2], "fragment_own"),
                ]);
            }
        }
    });
}

#[test]
fn a_first_fragment_without_the_whole_tcp_header() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            let tiny = |id: u32| talk.from_peer().id(id).data(&[3; 40]).fragments(8);
            let rows = |id: u32| {
                let fragments = tiny(id);
                [
                    Row::passed("eight bytes of it", &fragments[0], "truncated"),
                    Row::passed("the rest", &fragments[1], "fragment_own"),
                ]
            };
            home.table(&rows(1));
            home.table(&talk.opening());
            home.table(&rows(2));
        }
    });
}

#[test]
fn fragments_that_go_no_further() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = open(home, &family);
            let fragments = long(talk.from_peer()).fragments(STEP);
            receive_first(home, &fragments[0]);
            // Of a fragment that is not the first nobody is told (RFC 792).
            let row = |ttl| {
                let fragment = fragments[1].clone().ttl(ttl);
                Row::dropped("its time runs out", &fragment, "ttl_expired")
            };
            home.table(&[row(0), row(1)]);
            let rest = long(talk.from_peer()).id(2);
            receive_first(home, &rest.fragments(STEP)[0]);
            let long_rest = rest.fragments(1600).swap_remove(0).offset(STEP);
            // IPv4's may be cut up further, by home's own IP stack.
            if family.home.is_ipv6() {
                let row = Row::dropped("larger than Ethernet takes", &long_rest, "too_big");
                home.table(&[row]);
            }
        }
    });
}

#[test]
fn fragments_that_cannot_be_held() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = open(home, &family);
            let data = vec![1; 6000];
            let huge = talk.from_peer().data(&data).id(7).fragments(2400);
            home.table(&[Row::passed("too long to be copied", &huge[1], "fragment_too_long")]);
            let many = talk.from_peer().data(&data).id(8).fragments(64);
            for fragment in &many[1..=45] {
                home.table(&[Row::passed("early", fragment, "fragment_early")]);
            }
            home.table(&[Row::passed("one too many", &many[46], "fragment_too_long")]);
        }
    });
}

#[test]
fn fragments_of_other_protocols() {
    at_home(|home| {
        for family in FAMILIES {
            open(home, &family);
            let echo = Frame::icmp(family.peer, family.home, (8, 0), 1).data(&[0; 2000]).id(1);
            let talk = Talk::new(Protocol::Udp, &family, 0);
            let (station, gateway) = talk.from_peer().macs;
            let echo = echo.macs(station, gateway).fragments(STEP);
            // IPv6 does not say in each fragment what it is part of.
            let later = if family.home.is_ipv4() { "other_protocol" } else { "fragment_own" };
            home.table(&[
                Row::passed("the first of an echo", &echo[0], "icmp_not_ours"),
                Row::passed("the second", &echo[1], later),
            ]);
        }
    });
}

#[test]
fn a_redirect_that_goes_in_the_middle_of_a_datagram() {
    at_home(|home| {
        for family in FAMILIES {
            let rule = redirect(Protocol::Udp, (family.home, HOME_PORT), (family.host, HOST_PORT));
            for (removal, port) in [(Removal::Drain, 40_001), (Removal::Cut, 40_002)] {
                home.add(&rule);
                let talk = Talk::new(Protocol::Udp, &family, port);
                let fragments = long(talk.from_peer()).fragments(STEP);
                let sent = receive_first(home, &fragments[0]);
                let out = long(talk.at_host()).id(id(&sent)).ttl(TTL - 1).fragments(STEP);
                home.apply(Change::Remove { redirect: rule.clone(), removal });
                home.table(&[match removal {
                    Removal::Drain => Row::sent("it drains", &fragments[1], &out[1])
                        .counted_as("fragment_translated"),
                    Removal::Cut => Row::passed("it was cut", &fragments[1], "no_redirect"),
                }]);
            }
        }
    });
}
