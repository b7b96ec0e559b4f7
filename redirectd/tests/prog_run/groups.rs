//! Redirects that move together: what may be done with them meanwhile, and what a
//! later daemon finds.

use std::{thread, time::Duration};

use caps::{CapSet, Capability};
use redirectd::{
    dataplane::{Change, Dataplane as _, Phase, Removal, Timers},
    error::{Error, Kind},
    rule::Protocol,
};

use crate::{
    capture::Capture,
    frame::TTL,
    home::{Entry, TABLES, at_entry, at_home},
    moving::{abort, add, data, held, park, process, relocation},
    network::{FAMILIES, V4},
    talk::{HOST_PORT, Talk},
};

/// Neither changes nor timers touch what moves.
#[test]
fn what_moves_is_left_alone() {
    let zero = Duration::ZERO;
    let timers =
        Timers { tcp_established: zero, tcp_transitory: zero, udp: zero, udp_unreplied: zero };
    at_entry(Entry::Tc, TABLES, |home| {
        let [from, to] = [V4.host, V4.second].map(|at| process(&V4, at));
        add(home, &from);
        let talk = Talk::new(Protocol::Tcp, &V4, 40_000);
        home.table(&talk.opening());
        let group = park(home, &V4, V4.host, V4.second);
        let changes = [
            Change::Update { from: from[0].clone(), to: to[0].clone() },
            Change::Remove { redirect: from[0].clone(), removal: Removal::Cut },
        ];
        let kind = |result: Result<(), Error>| result.map_err(|error| error.kind);
        for change in changes {
            assert_eq!(kind(home.bpf.apply(&[change])), Err(Kind::Conflict));
        }
        let again = home.bpf.group_begin(&relocation(&from, &to));
        assert_eq!(kind(again.map(drop)), Err(Kind::Conflict));
        assert_eq!(kind(home.bpf.group_replay(group).map(drop)), Err(Kind::Conflict));
        thread::sleep(Duration::from_millis(5));
        assert_eq!(home.bpf.expire(&timers).expect("the tables can be swept"), 0);
        abort(home, group);
        home.table(&[talk.reaches_host("it is still there", data(&talk))]);
        assert_eq!(kind(home.bpf.group_park(group)), Err(Kind::NotFound));
        assert_eq!(home.bpf.expire(&timers).expect("the tables can be swept"), 1);
    });
}

#[test]
fn a_move_changes_targets_alone() {
    at_entry(Entry::Tc, TABLES, |home| {
        let from = process(&V4, V4.host);
        add(home, &from);
        let mut to = process(&V4, V4.second);
        to[0].peers = vec![V4.peer.into()];
        let error = home.bpf.group_begin(&relocation(&from, &to)).map_err(|error| error.kind);
        assert_eq!(error, Err(Kind::Conflict));
        assert!(home.bpf.groups().expect("they can be read").is_empty());
    });
}

/// A daemon that comes after one that died finds the groups as they were left.
#[test]
fn groups_are_adopted() {
    at_home(|home| {
        for family in FAMILIES {
            let [from, to] = [family.host, family.second].map(|at| process(&family, at));
            add(home, &from);
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            let there = Talk { host: (family.second, HOST_PORT).into(), ..talk };
            home.table(&talk.opening());
            let group = park(home, &family, family.host, family.second);
            home.restart().expect("it adopts its own");
            let groups = home.bpf.groups().expect("they can be read");
            assert_eq!(groups.len(), 1);
            assert_eq!((groups[0].group, groups[0].phase), (group, Phase::Parked));
            assert_eq!(groups[0].redirects, relocation(&from, &to).redirects);
            home.table(&[held("it is still parked", &data(&talk)(talk.peer_sends()))]);
            home.bpf.group_commit(group).expect("it is parked");
            // What the daemon has read goes with it.
            assert_eq!(home.bpf.group_held(group).expect("it is there").traffic.packets, 1);
            home.restart().expect("it adopts its own");
            assert_eq!(home.bpf.groups().expect("they can be read")[0].phase, Phase::Committed);
            home.table(&[held("it is still waited for", &data(&talk)(talk.peer_sends()))]);
            let mut capture = Capture::towards(family.second);
            assert_eq!(home.bpf.group_replay(group).expect("it is committed").lost, 1);
            let frame = data(&talk)(there.host_gets()).ttl(TTL - 1).bytes();
            assert_eq!(capture.frames(1), [frame]);
            home.table(&[there.reaches_host("it has moved", data(&talk)).by_xdp()]);
            assert!(home.bpf.groups().expect("they can be read").is_empty());
            let installed = home.bpf.installed().expect("they can be read");
            let installed: Vec<_> = installed.into_iter().map(|one| one.redirect).collect();
            assert!(to.iter().all(|redirect| installed.contains(redirect)), "{installed:#?}");
        }
    });
}

/// What could not be delivered is not held in the first place.
#[test]
fn without_the_right_to_deliver_no_move_begins() {
    at_entry(Entry::Tc, TABLES, |home| {
        let [from, to] = [V4.host, V4.second].map(|at| process(&V4, at));
        add(home, &from);
        // Of this thread alone.
        caps::drop(None, CapSet::Effective, Capability::CAP_NET_RAW).expect("it may be dropped");
        let error = home.bpf.group_begin(&relocation(&from, &to)).expect_err("it may not begin");
        assert_eq!(error.kind, Kind::NotPermitted);
        assert!(error.cure.is_some_and(|cure| cure.contains("CAP_NET_RAW")));
        assert!(home.bpf.groups().expect("they can be read").is_empty());
        home.table(&Talk::new(Protocol::Udp, &V4, 40_000).opening());
    });
}
