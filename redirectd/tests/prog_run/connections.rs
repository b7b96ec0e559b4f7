//! Connections of a process that was at home when they were opened, and moves:
//! their flows are entered by hand.

use redirectd::{
    dataplane::{Connection, Dataplane as _},
    error::Kind,
    rule::{Flows, Protocol, Redirect},
};

use crate::{
    home::{at_home, redirect},
    moving::{abort, add, commit, data, held, park, process, relocation},
    network::FAMILIES,
    table::Row,
    talk::{HOST_PORT, Talk},
};

fn connection(talk: &Talk, snat_port: u16) -> Connection {
    let ends = [talk.peer, talk.home, talk.host].map(|end| (end.ip(), end.port()));
    let [peer, home, host] = ends;
    Connection { protocol: talk.protocol, peer, home, host, snat_port }
}

/// Connections that were open at home have no flow until their process leaves.
#[test]
fn connections_that_were_open_at_home() {
    at_home(|home| {
        for family in FAMILIES {
            add(home, &process(&family, family.home));
            let group = park(home, &family, family.home, family.host);
            // The second peer's port is taken at home by the first one.
            let first = Talk::new(Protocol::Tcp, &family, 40_000);
            let second = Talk { peer: (family.other_peer, 40_000).into(), ..first };
            let claims = [connection(&first, 0), connection(&second, 0)];
            let entered = home.bpf.group_return(group, &claims).expect("there is room");
            assert_eq!(entered[0].snat_port, 40_000);
            assert_ne!(entered[1].snat_port, 40_000);
            let second = Talk { snat: (family.home, entered[1].snat_port).into(), ..second };
            for talk in [&first, &second] {
                home.table(&[
                    held("to it", &data(talk)(talk.peer_sends())),
                    talk.reaches_peer("from it, before the flip", data(talk)).by_xdp(),
                ]);
            }
            assert_eq!(commit(home, group).lost, 0);
            for talk in [&first, &second] {
                home.table(&[
                    talk.reaches_host("to it", data(talk)).by_xdp(),
                    talk.reaches_peer("from it", data(talk)).by_xdp(),
                ]);
            }
            // A flow that there is keeps its port wherever it goes on to.
            let group = park(home, &family, family.host, family.second);
            let on = Talk { host: (family.second, HOST_PORT).into(), ..second };
            let entered = home.bpf.group_return(group, &[connection(&on, 0)]);
            assert_eq!(entered.expect("there is room")[0].snat_port, second.snat.port());
            home.table(&[on.reaches_peer("from the next host", data(&on)).by_xdp()]);
            commit(home, group);
            home.table(&[on.reaches_host("to the next host", data(&on)).by_xdp()]);
            let flows = home.flows().iter().filter(|flow| flow.home.0 == family.home).count();
            assert_eq!(flows, 2);
        }
    });
}

#[test]
fn connections_of_a_move_that_is_aborted() {
    at_home(|home| {
        for family in FAMILIES {
            add(home, &process(&family, family.home));
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            let group = park(home, &family, family.home, family.host);
            home.bpf.group_return(group, &[connection(&talk, 0)]).expect("there is room");
            abort(home, group);
            home.table(&[Row::passed("at home", &data(&talk)(talk.peer_sends()), "at_home")]);
            assert!(home.flows().is_empty(), "{:?}", home.flows());
        }
    });
}

#[test]
fn a_port_that_is_taken() {
    at_home(|home| {
        for family in FAMILIES {
            add(home, &process(&family, family.host));
            let taken = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&taken.opening());
            let client = Redirect {
                name: format!("client-{}", family.home.is_ipv4()),
                ..redirect(Protocol::Tcp, (family.home, 50_000), (family.home, 50_000))
            };
            home.add(&client);
            let to = Redirect { target: family.host, flows: Flows::Follow, ..client.clone() };
            let to = Redirect { target_port: HOST_PORT, ..to };
            let group = home.bpf.group_begin(&relocation(&[client], &[to])).expect("it may move");
            let talk = |port| Talk {
                peer: (family.other_peer, port).into(),
                home: (family.home, 50_000).into(),
                ..taken
            };
            let both = [connection(&talk(41_000), 0), connection(&talk(40_000), 40_000)];
            let error = home.bpf.group_return(group, &both).map_err(|error| error.kind);
            assert_eq!(error, Err(Kind::Conflict));
            home.table(&[Row::passed(
                "none of them is prepared",
                &data(&taken)(Talk { snat: (family.home, 41_000).into(), ..taken }.host_sends()),
                "no_redirect",
            )]);
            abort(home, group);
        }
    });
}
