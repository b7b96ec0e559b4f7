//! Packets that are not what they seem: cut short, with bytes behind them, with
//! bits turned, or made of nothing. Whatever a program makes of them, it makes
//! nothing worse: what it passes it has not touched (each run asserts that), and
//! what it sends has no checksum wrong that was right before.

use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    sample::Index,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use redirectd::rule::Protocol;

use crate::{
    check::{describe, faults},
    extension::Extension,
    frame::{ACK, Frame, SYN, TTL},
    home::{Fate, Home, at_home, redirect},
    network::FAMILIES,
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// Opens a TCP and a UDP flow in both families.
fn open_all(home: &mut Home) -> Vec<Talk> {
    let mut talks = Vec::new();
    for family in FAMILIES {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
            let talk = Talk::new(protocol, &family, 40_000);
            home.table(&talk.opening());
            talks.push(talk);
        }
    }
    talks
}

/// A port unreachable about `talk`, from the host, and as the peer gets it.
fn complaint(talk: &Talk) -> (Frame, Frame) {
    let kind = if talk.peer.is_ipv4() { (3, 3) } else { (1, 4) };
    let error = |from, to, about: &Frame| Frame::icmp(from, to, kind, 0).data(&about.packet());
    let (from_host, at_peer) = (talk.from_host(), talk.at_peer());
    (
        error(talk.host.ip(), talk.snat.ip(), &talk.at_host().data(b"abc"))
            .macs(from_host.macs.0, from_host.macs.1),
        error(talk.home.ip(), talk.peer.ip(), &talk.from_peer().data(b"abc"))
            .macs(at_peer.macs.0, at_peer.macs.1)
            .ttl(TTL - 1),
    )
}

/// One packet of each sort, and what it becomes.
fn specimens(talks: &[Talk]) -> Vec<(String, Frame, Frame)> {
    let mut specimens = Vec::new();
    for talk in talks {
        let protocol = talk.protocol;
        let v4 = talk.peer.is_ipv4();
        let mut add = |what: &str, edit: &dyn Fn(Frame) -> Frame| {
            let edit = |frame: Frame| match protocol {
                Protocol::Tcp => edit(frame.flags(ACK).seq(101).ack(501)),
                Protocol::Udp => edit(frame),
            };
            let what = format!("{protocol} over IPv{}, {what}", if v4 { 4 } else { 6 });
            let out = edit(talk.at_host()).ttl(TTL - 1);
            specimens.push((what.clone(), edit(talk.from_peer()), out));
            let out = edit(talk.at_peer()).ttl(TTL - 1);
            specimens.push((format!("{what}, back"), edit(talk.from_host()), out));
        };
        add("with data", &|frame| frame.data(b"twelve bytes"));
        if v4 {
            add("with options", &|frame| frame.options(&[1; 8]).data(b"abc"));
        } else {
            let destination = Extension::destination(1);
            add("with extensions", &|frame| {
                let frame = frame.extension(Extension::hop_by_hop(1));
                frame.extension(destination.clone()).data(b"abc")
            });
        }
        let (error, out) = complaint(talk);
        specimens.push((format!("an ICMP error about {protocol}"), error, out));
    }
    specimens
}

/// Frames that have a tag; they leave without.
fn tagged(talks: &[Talk]) -> Vec<(String, Frame)> {
    let tagged = |talk: &Talk| talk.from_peer().tag(0x88a8, 100).tag(0x8100, 7).data(b"abc");
    talks.iter().map(|talk| (format!("tagged {}", talk.protocol), tagged(talk))).collect()
}

/// A frame with bytes missing at its end.
#[test]
fn cut_short_at_every_byte() {
    at_home(|home| {
        let talks = open_all(home);
        for (what, frame, out) in specimens(&talks) {
            let (frame, out) = (frame.bytes(), out.bytes());
            for length in 14..=frame.len() {
                match home.receive_uncounted(&frame[..length]) {
                    Fate::Passed | Fate::Dropped => {
                        assert!(length < frame.len(), "{what}: the whole of it was not sent");
                    }
                    Fate::Sent(sent) => assert!(
                        sent == out[..length],
                        "{what}, cut to {length}: sent\n{}instead of\n{}",
                        describe(&sent),
                        describe(&out[..length])
                    ),
                }
            }
        }
        for (what, frame) in tagged(&talks) {
            let frame = frame.bytes();
            for length in 14..frame.len() {
                assert_no_worse(&what, &frame[..length], &home.receive_uncounted(&frame[..length]));
            }
        }
    });
}

/// What opens a flow, cut short: nothing comes of it that is not whole. A tag
/// makes the kernel take the shortest of them as well.
#[test]
fn openings_cut_short() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
                let talk = Talk::new(protocol, &family, 40_000);
                let frame = match protocol {
                    Protocol::Tcp => talk.from_peer().flags(SYN),
                    Protocol::Udp => talk.from_peer(),
                };
                let frame = frame.tag(0x8100, 7).bytes();
                for length in 18..frame.len() {
                    let what = format!("{protocol}, {length} bytes");
                    let row = Row::bytes_passed(&what, frame[..length].to_vec(), "truncated");
                    home.table(&[row]);
                }
                assert!(home.flows().is_empty(), "{:?}", home.flows());
            }
        }
    });
}

/// Padding, and trailers that some switches add.
#[test]
fn bytes_behind_the_packet() {
    at_home(|home| {
        let talks = open_all(home);
        for (what, frame, out) in specimens(&talks) {
            for behind in [1, 2, 8, 18, 46] {
                let with = |frame: &Frame| [frame.bytes(), vec![0xee; behind]].concat();
                let Fate::Sent(sent) = home.receive_uncounted(&with(&frame)) else {
                    panic!("{what}, {behind} bytes behind it: not sent")
                };
                assert!(
                    sent == with(&out),
                    "{what}, {behind} bytes behind it: sent\n{}instead of\n{}",
                    describe(&sent),
                    describe(&with(&out))
                );
            }
        }
    });
}

/// An ICMP error that quotes eight bytes of TCP, with bytes behind it where the
/// rest of the quote would be.
#[test]
fn bytes_behind_a_short_quote() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&talk.opening());
            let quoted = if family.home.is_ipv4() { 28 } else { 48 };
            let (error, out) = complaint(&talk);
            let short = |frame: Frame, about: &Frame| {
                let frame = frame.data(&about.clone().data(&[7; 60]).packet()[..quoted]);
                [frame.bytes(), vec![0xee; 40]].concat()
            };
            let frame = short(error, &talk.at_host());
            let expected = short(out, &talk.from_peer());
            let Fate::Sent(sent) = home.receive_uncounted(&frame) else { panic!("not sent") };
            assert!(
                sent == expected,
                "sent\n{}instead of\n{}",
                describe(&sent),
                describe(&expected)
            );
        }
    });
}

fn assert_no_worse(what: &str, frame: &[u8], fate: &Fate) {
    let Fate::Sent(sent) = fate else { return };
    let before = faults(frame);
    for fault in faults(sent) {
        // Home may have told the sender, and quoted the packet as it came.
        let of_quote = fault.strip_prefix("in the quote, ").unwrap_or(&fault);
        assert!(
            before.iter().any(|before| *before == fault || before == of_quote),
            "{what}: {fault}\n{}has become\n{}",
            describe(frame),
            describe(sent)
        );
    }
}

/// Each bit of each header, turned alone.
#[test]
fn turned_bits() {
    at_home(|home| {
        let talks = open_all(home);
        let mut frames: Vec<_> =
            specimens(&talks).into_iter().map(|(what, frame, _)| (what, frame.bytes())).collect();
        frames.extend(tagged(&talks).into_iter().map(|(what, frame)| (what, frame.bytes())));
        for family in FAMILIES {
            let talk = Talk::new(Protocol::Udp, &family, 40_000);
            let fragments = talk.from_peer().data(&[1; 100]).id(1).fragments(56);
            frames.push(("the first fragment".to_owned(), fragments[0].bytes()));
            frames.push(("a later fragment".to_owned(), fragments[1].bytes()));
        }
        for (what, frame) in frames {
            for bit in 0..frame.len() * 8 {
                let mut turned = frame.clone();
                turned[bit / 8] ^= 1 << (bit % 8);
                let fate = home.receive_uncounted(&turned);
                assert_no_worse(&format!("{what}, bit {bit}"), &turned, &fate);
            }
        }
    });
}

/// Values by chance, the same in each run.
fn by_chance<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut next = || strategy.new_tree(&mut runner).expect("nothing is refused").current();
    (0..count).map(|_| next()).collect()
}

/// How many packets are made by chance.
const CASES: usize = 3_000;

/// Bytes by chance, behind an Ethernet header that brings them in. Half of them
/// begin like an IP header.
#[test]
fn noise() {
    let cases = by_chance(&(any::<bool>(), any::<bool>(), vec(any::<u8>(), 1..200)), CASES);
    at_home(|home| {
        let talks = open_all(home);
        let head = talks[0].from_peer().bytes();
        for (v6, likely, noise) in &cases {
            let kind: [u8; 2] = if *v6 { [0x86, 0xdd] } else { [8, 0] };
            let mut frame = [&head[..12], &kind, noise].concat();
            if *likely {
                frame[14] = if *v6 { 0x60 } else { 0x45 };
            }
            let fate = home.receive_uncounted(&frame);
            assert_no_worse("noise", &frame, &fate);
        }
    });
}

/// Several bytes of good packets replaced by chance; flows may come and go by
/// it, but those that were open go on.
#[test]
fn good_packets_gone_bad() {
    let change = (any::<Index>(), any::<u8>());
    let cases = by_chance(&(any::<Index>(), vec(change, 1..8)), CASES);
    at_home(|home| {
        let talks = open_all(home);
        let frames: Vec<_> =
            specimens(&talks).into_iter().map(|(_, frame, _)| frame.bytes()).collect();
        for (which, changes) in &cases {
            let mut frame = which.get(&frames).clone();
            let length = frame.len() - 14;
            for (at, byte) in changes {
                frame[14 + at.index(length)] = *byte;
            }
            let fate = home.receive_uncounted(&frame);
            assert_no_worse("a packet gone bad", &frame, &fate);
        }
        for talk in talks {
            let edit = |frame: Frame| match talk.protocol {
                Protocol::Tcp => frame.flags(ACK).seq(101).ack(501).data(b"x"),
                Protocol::Udp => frame.data(b"x"),
            };
            home.table(&[
                talk.to_host("an open flow goes on", edit).by_xdp(),
                talk.to_peer("in both directions", edit).by_xdp(),
            ]);
        }
    });
}
