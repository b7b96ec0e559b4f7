//! Who may open a flow and how: TCP's handshake to the number, ends and new
//! beginnings.

use redirectd::{dataplane::FlowState, rule::Protocol};

use crate::{
    frame::{ACK, FIN, Frame, RST, SYN},
    home::{Home, at_home, redirect},
    network::{FAMILIES, Family},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

fn start(home: &mut Home, family: &Family) -> Talk {
    home.add(&redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
    Talk::new(Protocol::Tcp, family, 40_000)
}

fn state(home: &Home, talk: &Talk) -> Option<FlowState> {
    let flows = home.flows();
    let mut ours = flows.iter().filter(|flow| {
        flow.protocol == talk.protocol && flow.peer == (talk.peer.ip(), talk.peer.port())
    });
    let state = ours.next().map(|flow| flow.state);
    assert!(ours.next().is_none(), "the flow is there twice: {flows:?}");
    state
}

/// From the peer, in the middle of a handshake.
fn from_peer(talk: &Talk, flags: u8, ack: u32) -> Frame {
    talk.peer_sends().flags(flags).seq(101).ack(ack)
}

#[test]
fn a_flow_is_half_open_until_the_handshake_is_complete() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            assert_eq!(state(home, &talk), None);
            for (row, then) in talk.opening().into_iter().zip([
                FlowState::HalfOpen,
                FlowState::HalfOpen,
                FlowState::Established,
            ]) {
                home.table(&[row]);
                assert_eq!(state(home, &talk), Some(then));
            }
            let udp = Talk::new(Protocol::Udp, &family, 40_000);
            home.add(&redirect(Protocol::Udp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
            // A peer that does not speak again may not be who it says it is.
            for (row, then) in udp.opening().into_iter().zip([
                FlowState::HalfOpen,
                FlowState::HalfOpen,
                FlowState::Established,
            ]) {
                home.table(&[row]);
                assert_eq!(state(home, &udp), Some(then));
            }
        }
    });
}

#[test]
fn acknowledgements_of_what_the_host_has_not_sent() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            let opening = talk.opening();
            let refused = |what: &str, frame: &Frame| Row::dropped(what, frame, "not_answered");
            home.table(&opening[..1]);
            // Nothing has come back yet: whatever the peer claims is a guess.
            home.table(&[
                refused("a blind ACK", &from_peer(&talk, ACK, 501)),
                refused("an ACK of nothing", &from_peer(&talk, ACK, 0)),
                refused("data", &from_peer(&talk, ACK, 501).data(b"x")),
                refused("FIN", &from_peer(&talk, FIN | ACK, 501)),
                refused("SYN and ACK", &from_peer(&talk, SYN | ACK, 501)),
                refused("no control bits", &from_peer(&talk, 0, 0)),
            ]);
            home.table(&opening[1..2]);
            home.table(&[
                refused("one too few", &from_peer(&talk, ACK, 500)),
                refused("half the numbers away", &from_peer(&talk, ACK, 501 + (1 << 31))),
                refused("beyond any window", &from_peer(&talk, ACK, 501 + 65_536)),
                refused("no control bits", &from_peer(&talk, 0, 501)),
            ]);
            assert_eq!(state(home, &talk), Some(FlowState::HalfOpen));
            home.table(&opening[2..]);
            assert_eq!(state(home, &talk), Some(FlowState::Established));
        }
    });
}

/// Data may come with the handshake's last segment, or stand in for it when that
/// was lost; what the host has sent meanwhile may be acknowledged as well.
#[test]
fn other_segments_that_complete_the_handshake() {
    at_home(|home| {
        for family in FAMILIES {
            let ready = start(home, &family);
            let cases: [(&str, u8, u32, &[u8]); 4] = [
                ("data", ACK, 501, b"GET /"),
                ("FIN", FIN | ACK, 501, b""),
                ("an ACK of more", ACK, 501 + 65_535, b""),
                ("an empty ACK", ACK, 501, b""),
            ];
            for (port, (what, flags, ack, data)) in (40_001..).zip(cases) {
                let talk = Talk::new(Protocol::Tcp, &family, port);
                home.table(&talk.opening()[..2]);
                let edit = |frame: Frame| frame.flags(flags).seq(101).ack(ack).data(data);
                home.table(&[talk.reaches_host(what, edit)]);
                let state = state(home, &talk);
                assert!(!matches!(state, None | Some(FlowState::HalfOpen)), "{what}: {state:?}");
            }
            assert_eq!(state(home, &ready), None);
        }
    });
}

/// Sequence numbers wrap around.
#[test]
fn a_handshake_around_zero() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            home.table(&[
                talk.reaches_host("SYN", |f| f.flags(SYN).seq(u32::MAX)),
                talk.reaches_peer("SYN and ACK", |f| f.flags(SYN | ACK).seq(u32::MAX).ack(0)),
                talk.reaches_host("ACK", |f| f.flags(ACK).seq(0).ack(0)),
                talk.reaches_host("data", |f| f.flags(ACK).seq(0).ack(0).data(b"x")).by_xdp(),
            ]);
        }
    });
}

#[test]
fn segments_that_come_twice() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            let opening = talk.opening();
            let twice: Vec<Row> = [0, 0, 1, 1, 2].map(|row: usize| opening[row].clone()).into();
            home.table(&twice);
            home.table(&[
                // A lost last ACK: the host asks again, and gets an answer.
                talk.reaches_peer("SYN and ACK again", |f| f.flags(SYN | ACK).seq(500).ack(101))
                    .by_xdp(),
                talk.reaches_host("ACK again", |f| f.flags(ACK).seq(101).ack(501)).by_xdp(),
                // A stray SYN into an open connection: the host answers it (RFC 5961).
                talk.reaches_host("SYN again", |f| f.flags(SYN).seq(100)),
            ]);
            assert_eq!(state(home, &talk), Some(FlowState::Established));
        }
    });
}

#[test]
fn a_host_that_refuses() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            home.table(&talk.opening()[..1]);
            home.table(&[
                talk.reaches_peer("RST", |f| f.flags(RST | ACK).ack(101)),
                talk.reaches_host("the next attempt", |f| f.flags(SYN).seq(900)),
            ]);
            assert_eq!(state(home, &talk), Some(FlowState::HalfOpen));
        }
    });
}

#[test]
fn a_peer_that_changes_its_mind() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            home.table(&talk.opening()[..2]);
            home.table(&[talk.reaches_host("RST", |f| f.flags(RST).seq(101))]);
            assert_eq!(state(home, &talk), Some(FlowState::HalfOpen));
        }
    });
}

#[test]
fn both_ends_close() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            home.table(&talk.opening());
            home.table(&[talk
                .reaches_host("FIN", |f| f.flags(FIN | ACK).seq(101).ack(501))
                .by_xdp()]);
            assert_eq!(state(home, &talk), Some(FlowState::HalfClosed));
            // The other half goes on, and a SYN does not end it.
            home.table(&[
                talk.reaches_peer("data", |f| f.flags(ACK).seq(501).ack(102).data(b"x")).by_xdp(),
                talk.reaches_host("SYN", |f| f.flags(SYN).seq(7_000)),
            ]);
            assert_eq!(state(home, &talk), Some(FlowState::HalfClosed));
            home.table(&[
                talk.reaches_peer("FIN", |f| f.flags(FIN | ACK).seq(502).ack(102)).by_xdp(),
                talk.reaches_host("ACK", |f| f.flags(ACK).seq(102).ack(503)).by_xdp(),
            ]);
            assert_eq!(state(home, &talk), Some(FlowState::Closed));
            home.table(&[talk.reaches_host("the next SYN", |f| f.flags(SYN).seq(9_000))]);
            assert_eq!(state(home, &talk), Some(FlowState::HalfOpen));
        }
    });
}

#[test]
fn either_end_resets() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            for who in ["the peer", "the host"] {
                home.table(&talk.opening());
                let edit = |frame: Frame| frame.flags(RST);
                home.table(&[if who == "the peer" {
                    talk.reaches_host("RST", edit).by_xdp()
                } else {
                    talk.reaches_peer("RST", edit).by_xdp()
                }]);
                assert_eq!(state(home, &talk), Some(FlowState::Closed), "{who}");
            }
            home.table(&talk.opening());
        }
    });
}

/// The peer's answer to a SYN from the host's side: nothing that the host starts
/// is translated.
#[test]
fn the_host_cannot_open() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            home.table(&[
                Row::passed("to the peer's port", &talk.host_sends().flags(SYN), "no_redirect"),
                Row::passed(
                    "from another port",
                    &Talk { host: (family.host, 22).into(), ..talk }.host_sends().flags(SYN),
                    "no_redirect",
                ),
            ]);
            home.table(&talk.opening());
            let other = Talk { host: (family.second, HOST_PORT).into(), ..talk };
            home.table(&[
                Row::passed("another host", &other.host_sends().flags(ACK), "no_redirect"),
                // Simultaneous open (RFC 9293, section 3.5) has no way through.
                Row::sent(
                    "SYN of an open flow",
                    &talk.host_sends().flags(SYN),
                    &talk.peer_gets().flags(SYN).ttl(63),
                ),
            ]);
        }
    });
}

/// A RST that nobody has sent: the connection goes on, and so it is open again.
#[test]
fn a_forged_reset_is_taken_back() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = start(home, &family);
            home.table(&talk.opening());
            home.table(&[talk.reaches_host("RST", |f| f.flags(RST).seq(7)).by_xdp()]);
            assert_eq!(state(home, &talk), Some(FlowState::Closed));
            home.table(&[
                talk.reaches_peer("the host", |f| f.flags(ACK).seq(501).ack(101).data(b"x"))
                    .by_xdp(),
                talk.reaches_host("the peer", |f| f.flags(ACK).seq(101).ack(502)).by_xdp(),
            ]);
            assert_eq!(state(home, &talk), Some(FlowState::Established));
        }
    });
}
