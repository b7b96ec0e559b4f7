//! What is counted for a redirect and for its flows: each direction by itself.

use redirectd::{
    dataplane::{Change, Dataplane as _, RedirectCounters, Removal, Timers, Traffic},
    rule::Protocol,
};

use crate::{
    frame::{ACK, Frame},
    home::{Home, at_home, redirect},
    network::FAMILIES,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// The counters of the only redirect.
fn counters(home: &Home) -> RedirectCounters {
    let installed = home.bpf.installed().expect("they can be read");
    assert_eq!(installed.len(), 1, "{installed:?}");
    home.bpf.counters(installed[0].slot).expect("they can be read")
}

#[test]
fn directions_are_told_apart_and_the_next_redirect_begins_at_zero() {
    at_home(|home| {
        for family in FAMILIES {
            let rule = redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT));
            home.add(&rule);
            assert_eq!(counters(home), RedirectCounters::default());
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&talk.opening());
            let data = |frame: Frame| frame.flags(ACK).seq(501).ack(101).data(&[7; 1000]);
            for _ in 0..5 {
                home.table(&[talk.reaches_peer("an answer", data).by_xdp()]);
            }
            let headers = if family.home.is_ipv4() { 40 } else { 60 };
            let to_host = Traffic { packets: 2, bytes: 2 * headers };
            let to_peer = Traffic { packets: 6, bytes: 6 * headers + 5000 };
            let counted = counters(home);
            assert_eq!((counted.to_host, counted.to_peer), (to_host, to_peer));
            assert_eq!((counted.flows_opened, counted.flows_refused), (1, 0));
            let flow = &home.flows()[0];
            assert_eq!((flow.to_host, flow.to_peer), (to_host, to_peer), "of the flow");

            home.apply(Change::Remove { redirect: rule, removal: Removal::Cut });
            let hour = std::time::Duration::from_secs(3600);
            let timers = Timers {
                tcp_established: hour,
                tcp_transitory: hour,
                udp: hour,
                udp_unreplied: hour,
            };
            for _ in 0..2 {
                home.bpf.expire(&timers).expect("the tables can be swept");
            }
        }
    });
}

/// Of what is passed or dropped the frame counts, of which home may understand
/// nothing.
#[test]
fn of_what_is_not_translated_the_frames_are_counted() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&talk.opening());
            let elsewhere = Talk { home: (family.home, 81).into(), ..talk };
            let arp = [&elsewhere.peer_sends().bytes()[..12], &[0x08, 0x06], &[0; 50]].concat();
            let data = |frame: Frame| frame.flags(ACK).seq(501).ack(101).data(&[7; 100]);
            for (frame, reason) in [
                (data(elsewhere.peer_sends()).bytes(), "no_redirect"),
                (arp, "not_ip"),
                (data(talk.peer_sends()).ttl(1).bytes(), "ttl_expired"),
            ] {
                let counted = home.receive(&frame).counted;
                let expected = Traffic { packets: 1, bytes: frame.len() as u64 };
                assert_eq!(counted.get(reason), Some(&expected), "{reason}: {counted:?}");
            }
        }
    });
}
