//! Whom home takes flows from: addresses that it can answer.

use std::net::IpAddr;

use redirectd::rule::Protocol;

use crate::{
    frame::{Frame, SYN},
    home::{at_home, redirect},
    network::{FAMILIES, Family},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// Sources that no peer can have: home's own, nobody's, and those home has no
/// route to.
fn strange(family: &Family) -> Vec<IpAddr> {
    let reserved: &[&str] = if family.home.is_ipv4() {
        &["127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255"]
    } else {
        &["::1", "::", "ff02::1"]
    };
    let parse = |address: &&str| address.parse().expect("an address");
    let mut all: Vec<IpAddr> = reserved.iter().map(parse).collect();
    all.extend([family.home, family.unreachable]);
    all
}

#[test]
fn strange_ones_open_nothing() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
                let talk = Talk::new(protocol, &family, 40_000);
                let opening = talk.from_peer();
                let (station, gateway) = opening.macs;
                for source in strange(&family) {
                    let from = (source, 40_000).into();
                    let frame = match protocol {
                        Protocol::Tcp => Frame::tcp(from, talk.home).flags(SYN),
                        Protocol::Udp => Frame::udp(from, talk.home).data(b"x"),
                    };
                    let what = format!("{protocol} from {source}");
                    let frame = frame.macs(station, gateway);
                    home.table(&[Row::passed(&what, &frame, "strange_source")]);
                }
            }
        }
        assert!(home.flows().is_empty(), "{:?}", home.flows());
    });
}
