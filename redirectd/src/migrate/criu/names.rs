//! What the connections of a process are called: by home, and by the process
//! itself wherever it is.
//!
//! Home knows a connection by its peer and the home endpoint. At home the process
//! names it the same way. On a host it has the host's endpoint, and sees home as
//! its peer, at the port that home has for the flow.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::images::{
    readdress::Relocation,
    sockets::{Connection, Socket},
};
use crate::{
    api::{
        moves::{ConnectionView, ReturnReport},
        types::FlowView,
    },
    error::{Error, Kind},
    rule::Protocol,
};

/// Where a process is, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At home, with these addresses.
    Home(Vec<IpAddr>),
    /// On a host, with these.
    Host(Vec<IpAddr>),
}

/// A connection by both its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// By the process, where it is.
    pub here: Connection,
    /// By home; what `return` is asked for.
    pub at_home: ConnectionView,
}

impl Place {
    fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Home(addresses) | Self::Host(addresses) => addresses,
        }
    }
}

/// The connections among `sockets` of a process at `place` that pass by home; the
/// others are between processes of one machine. `flows` are home's.
///
/// # Errors
/// One has no flow, or is of a protocol that is not redirected: it would break.
pub fn named(sockets: &[Socket], place: &Place, flows: &[FlowView]) -> Result<Vec<Named>, Error> {
    let own = |connection: &Connection| place.addresses().contains(&connection.local.ip());
    let connections = sockets.iter().filter_map(Socket::connection).filter(own);
    connections.map(|here| Ok(Named { here, at_home: by_home(&here, place, flows)? })).collect()
}

fn by_home(here: &Connection, place: &Place, flows: &[FlowView]) -> Result<ConnectionView, Error> {
    let protocol = match i32::from(here.protocol) {
        libc::IPPROTO_TCP => Protocol::Tcp,
        libc::IPPROTO_UDP => Protocol::Udp,
        other => return Err(lost(here, &format!("is of protocol {other}, which none redirects"))),
    };
    let view = |peer, home| ConnectionView { protocol, peer, home, host: None, snat_port: 0 };
    if matches!(place, Place::Home(_)) {
        return Ok(view(here.remote, here.local));
    }
    let flow = flows.iter().find(|flow| {
        (flow.protocol, flow.host) == (protocol, here.local)
            && (flow.home.ip(), flow.snat_port) == (here.remote.ip(), here.remote.port())
    });
    flow.map(|flow| view(flow.peer, flow.home)).ok_or_else(|| lost(here, "has no flow at home"))
}

fn lost(connection: &Connection, why: &str) -> Error {
    let Connection { local, remote, .. } = connection;
    Error::new(Kind::Conflict, format!("the connection {local} – {remote} {why}; it would break"))
        .cure("add a redirect for its home endpoint, or have the process end the connection")
}

/// What the sockets become on the host that `return` was told, and has answered
/// with `report`.
///
/// # Errors
/// The answer is not that of these connections.
pub fn on_host(
    named: &[Named],
    report: &ReturnReport,
    addresses: BTreeMap<IpAddr, IpAddr>,
) -> Result<Relocation, Error> {
    let mut connections = BTreeMap::new();
    let mut answers = report.connections.iter();
    for Named { here, at_home } in named {
        let answer = answers.next().filter(|answer| {
            (answer.protocol, answer.peer, answer.home)
                == (at_home.protocol, at_home.peer, at_home.home)
        });
        let Some((answer, local)) = answer.and_then(|answer| Some((answer, answer.host?))) else {
            let what = format!("home does not say what {} – {} becomes", here.local, here.remote);
            return Err(Error::new(Kind::Failed, what));
        };
        let remote = SocketAddr::new(answer.home.ip(), answer.snat_port);
        connections.insert(*here, Connection { protocol: here.protocol, local, remote });
    }
    Ok(Relocation { addresses, connections })
}

/// What the sockets become at home.
#[must_use]
pub fn at_home(named: &[Named], addresses: BTreeMap<IpAddr, IpAddr>) -> Relocation {
    let connections = named.iter().map(|Named { here, at_home }| {
        let ConnectionView { peer, home, .. } = *at_home;
        (*here, Connection { protocol: here.protocol, local: home, remote: peer })
    });
    Relocation { addresses, connections: connections.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dataplane::{FlowState, Traffic},
        migrate::criu::images::sockets::Family,
    };

    fn at(endpoint: &str) -> SocketAddr {
        endpoint.parse().unwrap()
    }

    fn socket(protocol: u8, local: &str, remote: Option<&str>) -> Socket {
        let remote = remote.map(at);
        Socket { protocol, family: Family::V4, local: at(local), remote, listens: false }
    }

    fn place(how: impl Fn(Vec<IpAddr>) -> Place, address: &str) -> Place {
        how(vec![address.parse().unwrap()])
    }

    /// Home's flow of a peer at a host, with this port of home's.
    fn flow(protocol: Protocol, host: &str, snat_port: u16) -> FlowView {
        FlowView {
            redirect: "web".into(),
            protocol,
            peer: at("192.0.2.9:4000"),
            home: at("10.0.0.2:80"),
            host: at(host),
            snat_port,
            state: FlowState::Established,
            idle_seconds: 0.0,
            to_host: Traffic::default(),
            to_peer: Traffic::default(),
        }
    }

    const PEER: &str = "192.0.2.9:4000";

    #[test]
    fn from_home_to_a_host_and_home_again() {
        let sockets = [
            socket(6, "10.0.0.2:80", Some(PEER)),
            socket(6, "10.0.0.2:80", None),
            socket(6, "127.0.0.1:80", Some("127.0.0.1:5")),
        ];
        let leaving = named(&sockets, &place(Place::Home, "10.0.0.2"), &[]).unwrap();
        assert_eq!(leaving.len(), 1);
        let view = leaving[0].at_home;
        assert_eq!((view.peer, view.home), (at(PEER), at("10.0.0.2:80")));

        let host = Some(at("10.0.0.3:8080"));
        let report =
            ReturnReport { connections: vec![ConnectionView { host, snat_port: 61_000, ..view }] };
        let away = on_host(&leaving, &report, BTreeMap::new()).unwrap();
        let there = away.connections[&leaving[0].here];
        assert_eq!((there.local, there.remote), (at("10.0.0.3:8080"), at("10.0.0.2:61000")));

        let sockets = [socket(6, "10.0.0.3:8080", Some("10.0.0.2:61000"))];
        let flows = [
            flow(Protocol::Udp, "10.0.0.3:8080", 61_000),
            flow(Protocol::Tcp, "10.0.0.3:8080", 61_001),
            flow(Protocol::Tcp, "10.0.0.3:8080", 61_000),
        ];
        let coming = named(&sockets, &place(Place::Host, "10.0.0.3"), &flows).unwrap();
        let back = at_home(&coming, BTreeMap::new());
        assert_eq!(back.connections[&there], leaving[0].here);
    }

    #[test]
    fn what_home_has_no_flow_of_is_refused_by_name() {
        let host = place(Place::Host, "10.0.0.3");
        let flows = [flow(Protocol::Tcp, "10.0.0.3:80", 61_000)];
        for (protocol, why) in [(6, "has no flow at home"), (132, "protocol 132")] {
            let sockets = [socket(protocol, "10.0.0.3:80", Some("10.0.0.2:61001"))];
            let told = named(&sockets, &host, &flows).unwrap_err().to_string();
            assert!(told.contains("10.0.0.3:80 – 10.0.0.2:61001"), "{told}");
            assert!(told.contains(why) && told.contains("cure: "), "{told}");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        let sockets = [socket(6, "10.0.0.2:80", Some(PEER))];
        let leaving = named(&sockets, &place(Place::Home, "10.0.0.2"), &[]).unwrap();
        let view = ConnectionView { host: Some(at("10.0.0.3:80")), ..leaving[0].at_home };
        let other = ConnectionView { peer: at("192.0.2.9:4001"), ..view };
        let hostless = ConnectionView { host: None, ..view };
        for connections in [vec![], vec![other], vec![hostless]] {
            assert!(on_host(&leaving, &ReturnReport { connections }, BTreeMap::new()).is_err());
        }
    }
}
