//! Redirects that move together: what their packets meet before, while and after
//! they are parked.

use redirectd::{
    dataplane::{Attach, Dataplane as _, Group},
    rule::Protocol,
};
use xtask::lab::soon;

use crate::{
    capture::Capture,
    frame::{ACK, Frame, PUSH, SYN, TTL},
    home::{Entry, Fate, Home, TABLES, at_entry, at_home},
    moving::{
        PROTOCOLS, abort, add, begin, commit, complaint, complaint_arrives, data, held, park,
        process,
    },
    network::{BACK, FAMILIES, Family, V4},
    table::Row,
    talk::{HOST_PORT, Talk},
};

/// A process at the host, with a flow of each protocol, and parked on its way to the second.
fn talking(home: &mut Home, family: &Family) -> ([Talk; 2], Group) {
    add(home, &process(family, family.host));
    let talks = PROTOCOLS.map(|protocol| Talk::new(protocol, family, 40_000));
    talks.iter().for_each(|talk| home.table(&talk.opening()));
    (talks, park(home, family, family.host, family.second))
}

#[test]
fn nothing_changes_before_it_is_parked() {
    at_home(|home| {
        for family in FAMILIES {
            add(home, &process(&family, family.host));
            let talks = PROTOCOLS.map(|protocol| Talk::new(protocol, &family, 40_000));
            talks.iter().for_each(|talk| home.table(&talk.opening()));
            let group = begin(home, &family, family.host, family.second);
            for talk in &talks {
                home.table(&[
                    talk.reaches_host("an open flow", data(talk)).by_xdp(),
                    talk.reaches_peer("its way back", data(talk)).by_xdp(),
                ]);
                home.table(&Talk::new(talk.protocol, &family, 40_001).opening());
            }
            assert_eq!(abort(home, group).held.traffic.packets, 0);
        }
    });
}

#[test]
fn everything_for_it_is_held() {
    at_home(|home| {
        for family in FAMILIES {
            add(home, &process(&family, family.host));
            let half = Talk::new(Protocol::Tcp, &family, 40_002);
            home.table(&half.opening()[..2]);
            let talks = PROTOCOLS.map(|protocol| Talk::new(protocol, &family, 40_000));
            talks.iter().for_each(|talk| home.table(&talk.opening()));
            let group = park(home, &family, family.host, family.second);
            for talk in &talks {
                let new = Talk::new(talk.protocol, &family, 40_001);
                let opens = |frame: Frame| match talk.protocol {
                    Protocol::Tcp => frame.flags(SYN),
                    Protocol::Udp => frame.data(b"hello"),
                };
                home.table(&[
                    held("an open flow", &data(talk)(talk.peer_sends())),
                    held("a tagged one", &data(talk)(talk.peer_sends()).tag(0x8100, 5)),
                    held("an ICMP error", &complaint(talk)),
                    held("a new flow", &opens(new.peer_sends())),
                    talk.reaches_peer("the way back", data(talk)).by_xdp(),
                ]);
            }
            home.table(&[
                held("the end of a handshake", &half.peer_sends().flags(ACK).seq(101).ack(501)),
                Row::passed(
                    "another endpoint",
                    &Talk { home: (family.home, 99).into(), ..talks[0] }.peer_sends().flags(SYN),
                    "no_redirect",
                ),
            ]);
            let seen = home.bpf.group_held(group).expect("it is there");
            assert_eq!(seen.traffic.packets, 9);
            let flows: Vec<_> = seen.flows.iter().map(|flow| flow.traffic.packets).collect();
            assert_eq!(flows, [3, 1, 3, 1, 1], "{seen:?}");
            abort(home, group);
        }
    });
}

/// Its packets are the kernel's own, until it moves.
#[test]
fn a_process_at_home() {
    at_home(|home| {
        for family in FAMILIES {
            add(home, &process(&family, family.home));
            let talks = PROTOCOLS.map(|protocol| Talk::new(protocol, &family, 40_000));
            let [tcp, udp] = &talks;
            let syn = tcp.peer_sends().flags(SYN).seq(100);
            home.table(&[
                Row::passed("SYN", &syn, "at_home"),
                Row::passed("a segment", &data(tcp)(tcp.peer_sends()), "at_home"),
                Row::passed("a datagram", &data(udp)(udp.peer_sends()), "at_home"),
                Row::passed("an ICMP error", &complaint(tcp), "icmp_not_ours"),
            ]);
            let group = park(home, &family, family.home, family.second);
            home.table(&[
                held("SYN", &syn),
                held("a segment", &data(tcp)(tcp.peer_sends())),
                held("a datagram", &data(udp)(udp.peer_sends())),
                held("an ICMP error", &complaint(tcp)),
            ]);
            abort(home, group);
            home.table(&[Row::passed("at home again", &syn, "at_home")]);
            assert!(home.flows().is_empty(), "{:?}", home.flows());
        }
    });
}

/// After the flip, and before what is held is delivered, packets go on waiting.
#[test]
fn a_packet_after_the_flip_waits_for_those_before_it() {
    at_home(|home| {
        for family in FAMILIES {
            add(home, &process(&family, family.host));
            let talk = Talk::new(Protocol::Udp, &family, 40_000);
            let there = Talk { host: (family.second, HOST_PORT).into(), ..talk };
            home.table(&talk.opening());
            for (commits, now) in [(false, &talk), (true, &there)] {
                let group = park(home, &family, family.host, family.second);
                home.table(&[held("the first", &talk.peer_sends().data(b"1"))]);
                if commits {
                    home.bpf.group_commit(group).expect("it is parked");
                } else {
                    home.bpf.group_abort(group).expect("it is parked");
                }
                home.table(&[held("the second", &talk.peer_sends().data(b"2"))]);
                let mut capture = Capture::towards(family.second);
                let replayed = home.bpf.group_replay(group).expect("it is decided");
                assert_eq!((replayed.held.traffic.packets, replayed.lost), (2, 0));
                let expected = [b"1", b"2"].map(|data| now.host_gets().data(data).ttl(TTL - 1));
                assert_eq!(capture.frames(2), expected.map(|frame| frame.bytes()));
                home.table(&[now.reaches_host("the third", data(&talk)).by_xdp()]);
            }
        }
    });
}

/// A process may be committed and not stand yet: then packets wait, held ones or not; and they do
/// after a restart, too.
#[test]
fn packets_may_have_to_wait_though_none_was_held() {
    at_home(|home| {
        for family in FAMILIES {
            let (talks, group) = talking(home, &family);
            home.bpf.group_commit_held(group).expect("it is parked");
            home.restart().expect("it adopts its own");
            let (mut there, mut sent) = (Vec::new(), Vec::new());
            for talk in &talks {
                let frame = data(talk)(talk.peer_sends());
                home.table(&[held("it is waited for", &frame), held("it still is", &frame)]);
                let now = Talk { host: (family.second, HOST_PORT).into(), ..*talk };
                let arrives = data(talk)(now.host_gets()).ttl(TTL - 1).bytes();
                sent.extend([arrives.clone(), arrives]);
                there.push(now);
            }
            let mut capture = Capture::towards(family.second);
            let replayed = home.bpf.group_replay(group).expect("it is committed");
            assert_eq!((replayed.held.traffic.packets, replayed.lost), (4, 0));
            assert_eq!(capture.frames(4), sent);
            for (talk, now) in talks.iter().zip(there) {
                home.table(&[now.reaches_host("all is delivered", data(talk)).by_xdp()]);
            }
        }
    });
}

/// With nothing held there is nothing to wait for.
#[test]
fn a_packet_after_the_flip_goes_to_the_new_host_at_once() {
    at_home(|home| {
        for family in FAMILIES {
            let (talks, group) = talking(home, &family);
            home.bpf.group_commit(group).expect("it is parked");
            for talk in &talks {
                let there = Talk { host: (family.second, HOST_PORT).into(), ..*talk };
                home.table(&[there.reaches_host("before it is settled", data(talk))]);
            }
            let new = Talk::new(Protocol::Tcp, &family, 40_001);
            home.table(&Talk { host: (family.second, HOST_PORT).into(), ..new }.opening());
            home.bpf.group_replay(group).expect("it is committed");
            for talk in &talks {
                let there = Talk { host: (family.second, HOST_PORT).into(), ..*talk };
                home.table(&[
                    there.reaches_host("after it is settled", data(talk)).by_xdp(),
                    there.reaches_peer("the way back", data(talk)).by_xdp(),
                    talk.reaches_peer("what was under way", data(talk)).by_xdp(),
                ]);
            }
            let installed = home.bpf.installed().expect("they can be read");
            assert!(installed.iter().all(|one| {
                one.redirect.home != family.home || one.redirect.target == family.second
            }));
        }
    });
}

/// Beyond the bound packets are dropped, and counted; what is delivered makes room.
#[test]
fn there_is_a_bound() {
    const FRAME: usize = 1_400;
    at_entry(Entry::Tc, TABLES, |home| {
        add(home, &process(&V4, V4.host));
        let talk = Talk::new(Protocol::Udp, &V4, 40_000);
        home.table(&talk.opening());
        for _ in 0..2 {
            let group = park(home, &V4, V4.host, V4.second);
            let frame = talk.peer_sends().data(&[7; FRAME]);
            let bytes = frame.bytes();
            let room = (TABLES.held_mib as usize) << 20;
            for _ in 0..room / bytes.len() {
                assert_eq!(home.receive_uncounted(&bytes), Fate::Dropped);
            }
            home.table(&[Row::dropped("one more", &frame, "park_overflow")]);
            let seen = home.bpf.group_held(group).expect("it is there");
            assert_eq!(seen.traffic.packets as usize, room / bytes.len());
            assert_eq!((seen.overflow.packets, seen.overflow.bytes as usize), (1, bytes.len()));
            assert_eq!((seen.flows.len(), seen.flows[0].overflow), (1, seen.overflow));
            assert_eq!(abort(home, group).lost, 0);
        }
    });
}

/// Whose they are that find no room is noted of flows too of which nothing is held.
#[test]
fn what_finds_no_room_is_counted_by_flow() {
    at_entry(Entry::Tc, TABLES, |home| {
        add(home, &process(&V4, V4.host));
        let group = park(home, &V4, V4.host, V4.second);
        let filler = Talk::new(Protocol::Udp, &V4, 40_000).peer_sends().data(&[7; 1_400]).bytes();
        for _ in 0..((TABLES.held_mib as usize) << 20) / filler.len() {
            assert_eq!(home.receive_uncounted(&filler), Fate::Dropped);
        }
        let asks = |port| {
            let talk = Talk::new(Protocol::Tcp, &V4, port);
            talk.peer_sends().flags(ACK | PUSH).seq(101).ack(501).data(&[7; 1_400])
        };
        home.table(&[
            Row::dropped("one", &asks(40_001), "park_overflow"),
            Row::dropped("of another flow", &asks(40_002), "park_overflow"),
            Row::dropped("again", &asks(40_001), "park_overflow"),
        ]);
        let seen = home.bpf.group_held(group).expect("it is there");
        let of = |n: usize| {
            let flow = &seen.flows[n];
            (flow.peer.1, flow.traffic.packets, flow.overflow.packets, flow.retransmissions)
        };
        assert_eq!((of(1), of(2)), ((40_001, 0, 2, 1), (40_002, 0, 1, 0)));
        let bytes = asks(40_001).bytes().len() as u64;
        assert_eq!((seen.flows[1].overflow.bytes, seen.overflow.bytes), (2 * bytes, 3 * bytes));
        assert_eq!(abort(home, group).lost, 0);
    });
}

/// Whether it is whole, or a part comes again, of a flow or of one that opens.
#[test]
fn segments_that_come_again_are_counted_by_flow() {
    at_home(|home| {
        for family in FAMILIES {
            add(home, &process(&family, family.host));
            let group = park(home, &family, family.host, family.second);
            let [asks, opens] =
                [40_000, 40_001].map(|port| Talk::new(Protocol::Tcp, &family, port));
            let sends =
                |seq, data: &[u8]| asks.peer_sends().flags(ACK | PUSH).seq(seq).ack(501).data(data);
            home.table(&[
                held("a segment", &sends(101, b"hello")),
                held("an acknowledgement", &sends(106, b"")),
                held("the next", &sends(106, b"world")),
                held("part of both again", &sends(104, b"lowo")),
                held("the first again", &sends(101, b"hello")),
                held("an acknowledgement again", &sends(106, b"")),
                held("SYN", &opens.peer_sends().flags(SYN).seq(7)),
                held("SYN again", &opens.peer_sends().flags(SYN).seq(7)),
            ]);
            let seen = home.bpf.group_held(group).expect("it is there");
            let counts: Vec<_> = seen.flows.iter().map(|flow| flow.retransmissions).collect();
            assert_eq!((counts, seen.retransmissions()), (vec![2, 1], 3));
            abort(home, group);
        }
    });
}

/// What came in by it is delivered as well, and does not leave by it.
#[test]
fn an_interface_that_joins_during_a_move() {
    at_entry(Entry::Tc, TABLES, |home| {
        home.bpf.detach(BACK).expect("it is attached");
        add(home, &process(&V4, V4.host));
        let group = begin(home, &V4, V4.host, V4.second);
        // The kernel takes its time to let go of a link.
        let attach = || home.bpf.attach(BACK, Attach::Tc, false).ok();
        soon("it is attached again", attach).expect("tc is there");
        home.bpf.group_park(group).expect("it has begun");
        let talk = Talk::new(Protocol::Udp, &V4, 40_000);
        let talk = Talk { peer: (V4.host, 40_000).into(), ..talk };
        home.table(&[held("from the host", &talk.peer_sends().data(b"1"))]);
        let mut capture = Capture::towards(V4.second);
        assert_eq!(commit(home, group).lost, 0);
        let there = Talk { host: (V4.second, HOST_PORT).into(), ..talk };
        assert_eq!(capture.frames(1), [there.host_gets().data(b"1").ttl(TTL - 1).bytes()]);
    });
}

/// A frame whose VLAN tag is in it, an ICMP error, one that came in by the other
/// interface: each comes in again by where it came in.
#[test]
fn held_packets_come_in_again_where_they_came_in() {
    at_entry(Entry::Tc, TABLES, |home| {
        for family in FAMILIES {
            add(home, &process(&family, family.host));
            let talk = Talk::new(Protocol::Udp, &family, 40_000);
            let on_host = Talk {
                peer: (family.host, 40_001).into(),
                ..Talk::new(Protocol::Udp, &family, 40_001)
            };
            home.table(&talk.opening());
            home.table(&on_host.opening());
            let group = park(home, &family, family.host, family.second);
            let tagged = talk.peer_sends().data(b"1").tag(0x8100, 5);
            home.table(&[
                held("with a tag", &tagged),
                held("an ICMP error", &complaint(&talk)),
                held("from the host", &on_host.peer_sends().data(b"2")),
            ]);
            let mut capture = Capture::towards(family.second);
            assert_eq!(commit(home, group).lost, 0);
            let there = |talk: Talk| Talk { host: (family.second, HOST_PORT).into(), ..talk };
            let expected = [
                there(talk).host_gets().data(b"1").ttl(TTL - 1),
                there(on_host).host_gets().data(b"2").ttl(TTL - 1),
                // Errors come last, when it is known where their flows lead.
                complaint_arrives(&there(talk)),
            ];
            assert_eq!(capture.frames(3), expected.map(|frame| frame.bytes()));
        }
    });
}
