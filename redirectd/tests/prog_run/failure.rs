//! A change that fails in the middle, in the kernel itself: the table of slots
//! is full. Nothing of it may be left, neither for packets nor for the daemon.

use std::time::Duration;

use redirectd::{
    config::Tables,
    dataplane::{Change, Dataplane as _, Removal, Timers},
    rule::{Flows, Protocol, Redirect},
};

use crate::{
    frame::{ACK, FIN, Frame, SYN},
    home::{Entry, Home, TABLES, at_entry, redirect},
    network::{FAMILIES, Family},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

fn data(frame: Frame) -> Frame {
    frame.flags(ACK).seq(101).ack(501).data(b"x")
}

/// Redirects of one family, as many as there is room for.
struct Rules {
    web: Redirect,
    mail: Redirect,
    few: Redirect,
    old: Redirect,
}

const ROOM: Tables = Tables { redirects: 4, ..TABLES };
const MAIL: u16 = 25;
const FEW: u16 = 82;
const OLD: u16 = 83;

impl Rules {
    fn of(family: &Family) -> Self {
        let tcp = |port| redirect(Protocol::Tcp, (family.home, port), (family.host, HOST_PORT));
        Self {
            web: tcp(HOME_PORT),
            mail: Redirect { flows: Flows::Follow, ..tcp(MAIL) },
            few: Redirect { peers: vec![family.peer.into()], ..tcp(FEW) },
            old: tcp(OLD),
        }
    }

    fn all(&self) -> [&Redirect; 4] {
        [&self.web, &self.mail, &self.few, &self.old]
    }

    /// One step of each kind, and one more than there is room for.
    fn too_much(&self, family: &Family) -> Vec<Change> {
        let update = |from: &Redirect, to| Change::Update { from: from.clone(), to };
        let remove =
            |redirect: &Redirect, removal| Change::Remove { redirect: redirect.clone(), removal };
        let moved = Redirect { target: family.second, target_port: 2525, ..self.mail.clone() };
        let others = Redirect { peers: vec![family.other_peer.into()], ..self.few.clone() };
        let new = redirect(Protocol::Tcp, (family.home, 90), (family.host, 9090));
        vec![
            remove(&self.web, Removal::Cut),
            remove(&self.old, Removal::Drain),
            update(&self.mail, moved),
            update(&self.few, others),
            Change::Add(new),
        ]
    }
}

fn talk(family: &Family, home: u16, port: u16) -> Talk {
    Talk { home: (family.home, home).into(), ..Talk::new(Protocol::Tcp, family, port) }
}

/// What a daemon sees of the redirects.
fn seen(home: &Home) -> Vec<String> {
    let installed = home.bpf.installed().expect("they can be read");
    installed.iter().map(|installed| format!("{installed:?}")).collect()
}

fn at_both(test: impl Fn(&mut Home) + Sync) {
    for entry in [Entry::Tc, Entry::XdpAndTc] {
        at_entry(entry, ROOM, &test);
    }
}

#[test]
fn nothing_is_left_of_it() {
    at_both(|home| {
        for family in &FAMILIES {
            let rules = Rules::of(family);
            for rule in rules.all() {
                home.add(rule);
            }
            let open = [HOME_PORT, MAIL, FEW, OLD].map(|port| talk(family, port, 40_000 + port));
            for talk in &open {
                home.table(&talk.opening());
            }
            let before = seen(home);
            let error = home.bpf.apply(&rules.too_much(family)).expect_err("there is no room");
            assert!(error.what.contains("full"), "{error}");
            assert_eq!(seen(home), before, "for the daemon");

            for talk in &open {
                // The host first: nothing of the peer's has mended anything yet.
                let rows =
                    [talk.reaches_peer("the host", data), talk.reaches_host("the peer", data)];
                home.table(&rows.map(Row::by_xdp));
            }
            for port in [HOME_PORT, MAIL, FEW, OLD] {
                home.table(&talk(family, port, 41_000 + port).opening());
            }
            let other =
                Talk { peer: (family.other_peer, 42_000).into(), ..talk(family, FEW, 42_000) };
            let new = talk(family, 90, 42_001);
            home.table(&[
                Row::passed("a peer that was never let in", &syn(&other), "other_peer"),
                Row::passed("a port that was never redirected", &syn(&new), "no_redirect"),
            ]);
            home.restart().expect("it adopts its own");
            assert_eq!(seen(home), before, "for the next daemon");
            clear(home, &rules, &open);
        }
    });
}

fn syn(talk: &Talk) -> Frame {
    talk.peer_sends().flags(SYN).seq(100)
}

/// Removes everything, which works again as if nothing had been tried.
fn clear(home: &mut Home, rules: &Rules, open: &[Talk]) {
    for rule in rules.all() {
        home.apply(Change::Remove { redirect: rule.clone(), removal: Removal::Cut });
    }
    for talk in open {
        let last = talk.peer_sends().flags(FIN | ACK);
        home.table(&[Row::passed("cut", &last, "no_redirect")]);
    }
    let hour = Duration::from_secs(3600);
    let timers =
        Timers { tcp_established: hour, tcp_transitory: hour, udp: hour, udp_unreplied: hour };
    for _ in 0..2 {
        home.bpf.expire(&timers).expect("the tables can be swept");
    }
    assert!(home.bpf.installed().expect("they can be read").is_empty());
}
