//! A process that moves: its redirects, the steps of its move, and what its packets
//! are like.

use std::net::IpAddr;

use redirectd::{
    dataplane::{Dataplane as _, Group, Relocation, Replayed},
    rule::{Flows, Protocol, Redirect},
};

use crate::{
    frame::{ACK, Frame, TTL},
    home::{Home, redirect},
    network::{FAMILIES, FRONT_MAC, Family, GATEWAY_MAC, way_to},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// The redirects of a process at `at`, at its own port if that is home, else at
/// [`HOST_PORT`].
pub(crate) fn process(family: &Family, at: IpAddr) -> Vec<Redirect> {
    let port = if at == family.home { HOME_PORT } else { HOST_PORT };
    let one = |protocol| Redirect {
        flows: Flows::Follow,
        ..redirect(protocol, (family.home, HOME_PORT), (at, port))
    };
    PROTOCOLS.map(one).to_vec()
}

pub(crate) fn add(home: &mut Home, redirects: &[Redirect]) {
    redirects.iter().for_each(|redirect| home.add(redirect));
}

pub(crate) fn relocation(from: &[Redirect], to: &[Redirect]) -> Relocation {
    Relocation { redirects: from.iter().cloned().zip(to.iter().cloned()).collect() }
}

pub(crate) fn begin(home: &mut Home, family: &Family, from: IpAddr, to: IpAddr) -> Group {
    let relocation = relocation(&process(family, from), &process(family, to));
    home.bpf.group_begin(&relocation).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn park(home: &mut Home, family: &Family, from: IpAddr, to: IpAddr) -> Group {
    let group = begin(home, family, from, to);
    home.bpf.group_park(group).expect("it has begun");
    group
}

pub(crate) fn commit(home: &mut Home, group: Group) -> Replayed {
    home.bpf.group_commit(group).expect("it is parked");
    home.bpf.group_replay(group).expect("it is committed")
}

pub(crate) fn abort(home: &mut Home, group: Group) -> Replayed {
    home.bpf.group_abort(group).expect("it is parked");
    home.bpf.group_replay(group).expect("it is aborted")
}

pub(crate) fn data(talk: &Talk) -> impl Fn(Frame) -> Frame {
    let tcp = talk.protocol == Protocol::Tcp;
    move |frame| if tcp { frame.flags(ACK).seq(101).ack(501).data(b"x") } else { frame.data(b"x") }
}

/// A router's message about what was sent to the peer.
pub(crate) fn complaint(talk: &Talk) -> Frame {
    let kind = if talk.peer.is_ipv4() { (3, 1) } else { (1, 3) };
    Frame::icmp(way(talk), talk.home.ip(), kind, 0)
        .macs(FRONT_MAC, GATEWAY_MAC)
        .data(&data(talk)(talk.peer_gets()).packet())
}

/// The same, as the host gets it.
pub(crate) fn complaint_arrives(talk: &Talk) -> Frame {
    let kind = if talk.peer.is_ipv4() { (3, 1) } else { (1, 3) };
    let (host, back) = way_to(talk.host.ip());
    Frame::icmp(talk.snat.ip(), talk.host.ip(), kind, 0)
        .macs(host, back)
        .data(&data(talk)(talk.host_sends()).packet())
        .ttl(TTL - 1)
}

/// A router's address on the way to the peer.
fn way(talk: &Talk) -> IpAddr {
    let family = FAMILIES.into_iter().find(|family| family.peer == talk.peer.ip());
    family.map_or(talk.peer.ip(), |family| family.other_peer)
}

pub(crate) fn held(what: &str, frame: &Frame) -> Row {
    Row::dropped(what, frame, "parked")
}
