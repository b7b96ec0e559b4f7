//! Redirects for some peers: the longest prefix wins, others are passed.

use std::net::IpAddr;

use ipnet::IpNet;
use redirectd::{
    dataplane::{Change, Removal},
    rule::{Protocol, Redirect},
};

use crate::{
    frame::SYN,
    home::{at_home, redirect},
    network::{FAMILIES, Family},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

fn for_peers(name: &str, family: &Family, target: IpAddr, peers: &[IpNet]) -> Redirect {
    Redirect {
        name: format!("{name}-{}", if family.home.is_ipv4() { 4 } else { 6 }),
        peers: peers.to_vec(),
        ..redirect(Protocol::Tcp, (family.home, HOME_PORT), (target, HOST_PORT))
    }
}

fn net(address: IpAddr, v4: u8, v6: u8) -> IpNet {
    let net = IpNet::new(address, if address.is_ipv4() { v4 } else { v6 });
    net.expect("a prefix").trunc()
}

fn to(family: &Family, peer: IpAddr, host: IpAddr, port: u16) -> Talk {
    Talk {
        peer: (peer, port).into(),
        host: (host, HOST_PORT).into(),
        ..Talk::new(Protocol::Tcp, family, port)
    }
}

#[test]
fn other_peers_are_passed() {
    at_home(|home| {
        for family in FAMILIES {
            let some = net(family.peer, 24, 48);
            home.add(&for_peers("some", &family, family.host, &[some]));
            home.table(&to(&family, family.peer, family.host, 40_000).opening());
            let other = to(&family, family.other_peer, family.host, 40_001).from_peer();
            home.table(&[
                Row::passed("another peer's SYN", &other.clone().flags(SYN), "other_peer"),
                Row::passed("another peer's data", &other.flags(0x10), "other_peer"),
            ]);
        }
    });
}

#[test]
fn the_longest_prefix_wins() {
    at_home(|home| {
        for family in FAMILIES {
            let (wide, narrow, one) =
                (net(family.peer, 16, 32), net(family.peer, 24, 64), net(family.peer, 32, 128));
            home.add(&for_peers("wide", &family, family.second, &[wide]));
            let narrow_rule = for_peers("narrow", &family, family.host, &[narrow]);
            home.add(&narrow_rule);
            home.table(&to(&family, family.peer, family.host, 40_000).opening());

            let one_rule = for_peers("one", &family, family.second, &[one]);
            home.add(&one_rule);
            home.table(&to(&family, family.peer, family.second, 40_001).opening());

            let remove = |redirect| Change::Remove { redirect, removal: Removal::Drain };
            home.apply(remove(one_rule));
            home.table(&to(&family, family.peer, family.host, 40_002).opening());
            home.apply(remove(narrow_rule));
            home.table(&to(&family, family.peer, family.second, 40_003).opening());
        }
    });
}

#[test]
fn a_redirect_for_all_is_what_remains() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&for_peers("all", &family, family.second, &[]));
            let some = net(family.peer, 24, 48);
            home.add(&for_peers("some", &family, family.host, &[some]));
            home.table(&to(&family, family.peer, family.host, 40_000).opening());
            home.table(&to(&family, family.other_peer, family.second, 40_001).opening());
        }
    });
}

#[test]
fn several_prefixes_of_one_redirect() {
    at_home(|home| {
        for family in FAMILIES {
            let both = [net(family.peer, 32, 128), net(family.other_peer, 24, 48)];
            home.add(&for_peers("both", &family, family.host, &both));
            home.table(&to(&family, family.peer, family.host, 40_000).opening());
            home.table(&to(&family, family.other_peer, family.host, 40_001).opening());
            let neighbour: IpAddr = match family.peer {
                IpAddr::V4(_) => "198.51.100.8".parse().expect("an address"),
                IpAddr::V6(_) => "2001:db8:7::8".parse().expect("an address"),
            };
            let other = to(&family, neighbour, family.host, 40_002).from_peer().flags(SYN);
            home.table(&[Row::passed("the address next to it", &other, "other_peer")]);
        }
    });
}

#[test]
fn every_peer_by_a_prefix_of_no_bits() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&for_peers("every", &family, family.host, &[net(family.peer, 0, 0)]));
            home.table(&to(&family, family.peer, family.host, 40_000).opening());
            home.table(&to(&family, family.other_peer, family.host, 40_001).opening());
        }
    });
}
