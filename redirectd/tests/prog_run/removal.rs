//! Redirects that go: by draining, or cutting their flows.

use redirectd::{
    dataplane::{Change, Dataplane as _, Removal, State, Timers},
    rule::{Protocol, Redirect},
};

use crate::{
    frame::{ACK, FIN, Frame, SYN},
    home::{Home, at_home, redirect},
    network::{FAMILIES, Family},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

fn rule(protocol: Protocol, family: &Family) -> Redirect {
    redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT))
}

fn remove(home: &mut Home, redirect: Redirect, removal: Removal) {
    home.apply(Change::Remove { redirect, removal });
}

fn data(talk: &Talk) -> impl Fn(Frame) -> Frame {
    let tcp = talk.protocol == Protocol::Tcp;
    move |frame| if tcp { frame.flags(ACK).seq(101).ack(501).data(b"x") } else { frame.data(b"x") }
}

fn opening(talk: &Talk) -> Frame {
    let frame = talk.from_peer();
    if talk.protocol == Protocol::Tcp { frame.flags(SYN).seq(100) } else { frame.data(b"x") }
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// Timers under which nothing is idle for long enough.
const PATIENT: Timers = Timers {
    tcp_established: std::time::Duration::from_secs(3600),
    tcp_transitory: std::time::Duration::from_secs(3600),
    udp: std::time::Duration::from_secs(3600),
    udp_unreplied: std::time::Duration::from_secs(3600),
};

#[test]
fn a_redirect_that_drains_keeps_its_flows_and_takes_no_more() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                home.add(&rule(protocol, &family));
                let open = Talk::new(protocol, &family, 40_000);
                home.table(&open.opening());
                let half = Talk::new(protocol, &family, 40_001);
                home.table(&half.opening()[..1]);
                remove(home, rule(protocol, &family), Removal::Drain);
                home.table(&[
                    open.to_host("open flows go on", data(&open)).by_xdp(),
                    open.to_peer("in both directions", data(&open)).by_xdp(),
                    Row::passed(
                        "a new one is home's own",
                        &opening(&Talk::new(protocol, &family, 40_002)),
                        "no_redirect",
                    ),
                ]);
                home.table(&half.opening()[1..]);
                home.table(&[half.to_host("a half-open one was let in", data(&half)).by_xdp()]);
            }
        }
        assert_eq!(home.flows().len(), 8);
    });
}

/// The next connection of an old peer, from the same port.
#[test]
fn a_closed_flow_of_a_draining_redirect_does_not_open_again() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&rule(Protocol::Tcp, &family));
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&talk.opening());
            home.table(&[
                talk.to_host("FIN", |f| f.flags(FIN | ACK)).by_xdp(),
                talk.to_peer("FIN", |f| f.flags(FIN | ACK)).by_xdp(),
            ]);
            remove(home, rule(Protocol::Tcp, &family), Removal::Drain);
            home.table(&[Row::passed("SYN", &opening(&talk), "no_redirect")]);
        }
        assert!(home.flows().is_empty(), "{:?}", home.flows());
    });
}

#[test]
fn a_redirect_that_comes_back_while_it_drains() {
    at_home(|home| {
        for family in FAMILIES {
            let old = rule(Protocol::Tcp, &family);
            home.add(&old);
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&talk.opening());
            remove(home, old.clone(), Removal::Drain);
            home.add(&Redirect { target: family.second, ..old });
            let new = Talk::new(Protocol::Tcp, &family, 40_001);
            home.table(&Talk { host: (family.second, HOST_PORT).into(), ..new }.opening());
            home.table(&[talk.to_host("the old one stays", data(&talk)).by_xdp()]);
        }
    });
}

#[test]
fn flows_that_are_cut_are_homes_own_again() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                home.add(&rule(protocol, &family));
                let talk = Talk::new(protocol, &family, 40_000);
                home.table(&talk.opening());
                remove(home, rule(protocol, &family), Removal::Cut);
                let passed = |what: &str, frame: &Frame| Row::passed(what, frame, "no_redirect");
                home.table(&[
                    passed("the peer's", &data(&talk)(talk.from_peer())),
                    passed("the host's", &data(&talk)(talk.from_host())),
                    passed("the peer's again", &data(&talk)(talk.from_peer())),
                    passed("a new one", &opening(&talk)),
                ]);
            }
        }
    });
}

#[test]
fn the_hosts_packets_of_a_cut_flow_come_first() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                home.add(&rule(protocol, &family));
                let talk = Talk::new(protocol, &family, 40_000);
                home.table(&talk.opening());
                remove(home, rule(protocol, &family), Removal::Cut);
                let passed = |what: &str, frame: &Frame| Row::passed(what, frame, "no_redirect");
                home.table(&[
                    passed("the host's", &data(&talk)(talk.from_host())),
                    passed("the peer's", &data(&talk)(talk.from_peer())),
                ]);
            }
        }
    });
}

#[test]
fn half_open_flows_that_are_cut() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                home.add(&rule(protocol, &family));
                let talk = Talk::new(protocol, &family, 40_000);
                home.table(&talk.opening()[..1]);
                remove(home, rule(protocol, &family), Removal::Cut);
                let answer = match protocol {
                    Protocol::Tcp => talk.from_host().flags(SYN | ACK).seq(500).ack(101),
                    Protocol::Udp => talk.from_host().data(b"an answer"),
                };
                let passed = |what: &str, frame: &Frame| Row::passed(what, frame, "no_redirect");
                home.table(&[
                    passed("the host's answer", &answer),
                    passed("the peer's next", &data(&talk)(talk.from_peer())),
                    passed("the peer's opening", &opening(&talk)),
                ]);
            }
        }
    });
}

#[test]
fn errors_about_flows_that_are_cut() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&rule(Protocol::Udp, &family));
            let talk = Talk::new(Protocol::Udp, &family, 40_000);
            home.table(&talk.opening());
            remove(home, rule(Protocol::Udp, &family), Removal::Cut);
            let kind = if family.home.is_ipv4() { (3, 3) } else { (1, 4) };
            let (station, host) = talk.from_host().macs;
            let error = Frame::icmp(family.host, family.home, kind, 0)
                .macs(station, host)
                .data(&talk.at_host().packet());
            home.table(&[Row::passed("port unreachable", &error, "icmp_not_ours")]);
        }
    });
}

/// A slot is free for another redirect only when no flow names it any more.
#[test]
fn slots_of_removed_redirects_are_freed() {
    at_home(|home| {
        for family in FAMILIES {
            for (removal, port) in [(Removal::Drain, 40_000), (Removal::Cut, 40_001)] {
                home.add(&rule(Protocol::Tcp, &family));
                let talk = Talk::new(Protocol::Tcp, &family, port);
                home.table(&talk.opening());
                remove(home, rule(Protocol::Tcp, &family), removal);
                home.bpf.expire(&PATIENT).expect("the tables can be swept");
                let drains = home
                    .bpf
                    .installed()
                    .expect("they can be read")
                    .iter()
                    .any(|installed| installed.state == State::Draining);
                assert_eq!(drains, removal == Removal::Drain);
                assert_eq!(home.flows().len(), usize::from(removal == Removal::Drain));
                let nothing = std::time::Duration::ZERO;
                let impatient =
                    Timers { tcp_established: nothing, tcp_transitory: nothing, ..PATIENT };
                home.bpf.expire(&impatient).expect("the tables can be swept");
                assert!(home.bpf.installed().expect("they can be read").is_empty());
            }
        }
        home.bpf.expire(&PATIENT).expect("the tables can be swept");
        let tables = home.bpf.tables().expect("they can be read");
        for table in tables {
            assert_eq!(table.used, 0, "{table:?}");
        }
    });
}
