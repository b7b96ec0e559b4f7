//! Port ranges: each home port has its own at the target, in order.

use redirectd::rule::{PortRange, Protocol, Redirect};

use crate::{
    frame::SYN,
    home::{at_home, redirect},
    network::{FAMILIES, Family},
    table::Row,
    talk::Talk,
};

fn range(family: &Family, first: u16, last: u16, target: u16) -> Redirect {
    Redirect {
        ports: PortRange::new(first, last).expect("a range"),
        protocols: vec![Protocol::Tcp, Protocol::Udp],
        ..redirect(Protocol::Tcp, (family.home, first), (family.host, target))
    }
}

fn at(protocol: Protocol, family: &Family, home: u16, host: u16) -> Talk {
    Talk {
        home: (family.home, home).into(),
        host: (family.host, host).into(),
        ..Talk::new(protocol, family, 40_000)
    }
}

#[test]
fn each_port_has_its_own() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&range(&family, 8_000, 8_099, 9_000));
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for place in [0, 1, 50, 99] {
                    home.table(&at(protocol, &family, 8_000 + place, 9_000 + place).opening());
                }
                let outside = |port| {
                    let frame = at(protocol, &family, port, 1).from_peer();
                    if protocol == Protocol::Tcp { frame.flags(SYN) } else { frame }
                };
                home.table(&[
                    Row::passed("below", &outside(7_999), "no_redirect"),
                    Row::passed("above", &outside(8_100), "no_redirect"),
                ]);
            }
        }
    });
}

#[test]
fn ranges_that_overlap_their_targets() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&range(&family, 8_000, 8_009, 8_005));
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                home.table(&at(protocol, &family, 8_000, 8_005).opening());
                home.table(&at(protocol, &family, 8_005, 8_010).opening());
                home.table(&at(protocol, &family, 8_009, 8_014).opening());
            }
        }
    });
}

#[test]
fn the_first_and_the_last_port() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&range(&family, 1, 2, 65_534));
            home.add(&range(&family, 60_998, 60_999, 1));
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for (from, to) in [(1, 65_534), (2, 65_535), (60_998, 1), (60_999, 2)] {
                    home.table(&at(protocol, &family, from, to).opening());
                }
            }
        }
    });
}
