//! Flows whose time has run out, in the kernel's own tables.

use std::{thread, time::Duration};

use redirectd::{
    config::Tables,
    dataplane::{Dataplane as _, FlowState, Timers},
    rule::Protocol,
};

use crate::{
    frame::{ACK, FIN, Frame, SYN},
    home::{Entry, Fate, Home, TABLES, at_entry, at_home, redirect},
    network::{FAMILIES, Family},
    talk::{HOME_PORT, HOST_PORT, Talk},
};

const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const PATIENT: Timers =
    Timers { tcp_established: HOUR, tcp_transitory: HOUR, udp: HOUR, udp_unreplied: HOUR };

fn add(home: &mut Home, protocol: Protocol, family: &Family) {
    home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
}

fn data(frame: Frame) -> Frame {
    frame.flags(ACK).seq(101).ack(501).data(b"x")
}

fn expire(home: &mut Home, timers: &Timers) -> u64 {
    home.bpf.expire(timers).expect("the tables can be swept")
}

/// Each timer ends the flows that it is for, and no others.
#[test]
fn each_kind_has_its_timer() {
    at_entry(Entry::Tc, TABLES, |home| {
        for family in FAMILIES {
            add(home, Protocol::Tcp, &family);
            add(home, Protocol::Udp, &family);
            let tcp = |port| Talk::new(Protocol::Tcp, &family, port);
            let udp = Talk::new(Protocol::Udp, &family, 40_000);
            home.table(&tcp(40_000).opening()[..1]);
            for port in 40_001..=40_003 {
                home.table(&tcp(port).opening());
            }
            let fin = |frame: Frame| frame.flags(FIN | ACK);
            home.table(&[
                tcp(40_002).reaches_host("half closed", fin),
                tcp(40_003).reaches_host("closed", fin),
                tcp(40_003).reaches_peer("closed", fin),
            ]);
            home.table(&udp.opening());
            let unanswered = Talk::new(Protocol::Udp, &family, 40_001);
            home.table(&unanswered.opening()[..1]);

            thread::sleep(Duration::from_millis(20));
            let zero = Duration::ZERO;
            assert_eq!(expire(home, &PATIENT), 0);
            for (timers, gone) in [
                (Timers { udp_unreplied: zero, ..PATIENT }, 1),
                (Timers { udp: zero, ..PATIENT }, 1),
                (Timers { tcp_transitory: zero, ..PATIENT }, 2),
                (Timers { tcp_established: zero, ..PATIENT }, 2),
            ] {
                let before = home.flows();
                assert_eq!(expire(home, &timers), gone, "{timers:?} of {before:#?}");
            }
            assert!(home.flows().is_empty(), "{:?}", home.flows());
        }
    });
}

/// Traffic in one direction keeps both alive.
#[test]
fn one_direction_keeps_both_alive() {
    let timer = Duration::from_secs(1);
    let timers = Timers { tcp_established: timer, tcp_transitory: timer, ..PATIENT };
    at_home(|home| {
        for family in FAMILIES {
            add(home, Protocol::Tcp, &family);
        }
        let talks = FAMILIES
            .map(|family| [40_000, 40_001].map(|port| Talk::new(Protocol::Tcp, &family, port)));
        for talk in talks.as_flattened() {
            home.table(&talk.opening());
        }
        thread::sleep(timer + Duration::from_millis(100));
        // Where they go is another test's: by now home asks for its neighbours again.
        for [down, up] in &talks {
            assert_passes(home, &data(down.host_sends()));
            assert_passes(home, &data(up.peer_sends()));
        }
        assert_eq!(expire(home, &timers), 0);
        for [down, up] in &talks {
            assert_passes(home, &data(down.peer_sends()));
            assert_passes(home, &data(up.host_sends()));
        }
    });
}

fn assert_passes(home: &mut Home, frame: &Frame) {
    let fate = home.receive(&frame.bytes()).fate;
    assert!(matches!(fate, Fate::Sent(_)), "{fate:?}");
}

/// What has expired, and what has made way for its peer's next connection, does
/// not count against the table's size.
#[test]
fn flows_that_went_make_room() {
    at_entry(Entry::Tc, Tables { flows: 4, ..TABLES }, |home| {
        let family = &FAMILIES[0];
        add(home, Protocol::Tcp, family);
        let zero = Duration::ZERO;
        let now = Timers { tcp_established: zero, tcp_transitory: zero, ..PATIENT };
        for round in 0..3_u16 {
            for number in 0..4 {
                let talk = Talk::new(Protocol::Tcp, family, 40_000 + 10 * round + number);
                home.table(&talk.opening());
            }
            assert!(home.flows().iter().all(|flow| flow.state == FlowState::Established));
            assert_eq!(expire(home, &now), 4, "round {round}");
        }
        let talk = Talk::new(Protocol::Tcp, family, 41_000);
        for _ in 0..6 {
            home.table(&talk.opening());
            home.table(&[
                talk.reaches_host("FIN", |f| f.flags(FIN | ACK)),
                talk.reaches_peer("FIN", |f| f.flags(FIN | ACK)),
                talk.reaches_host("the next SYN", |f| f.flags(SYN).seq(100)),
            ]);
        }
    });
}
