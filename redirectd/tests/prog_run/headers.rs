//! What may stand between Ethernet and the ports: tags, IPv4 options, IPv6
//! extension headers. And what else is in the headers and must stay as it is.

use redirectd::rule::Protocol;

use crate::{
    extension::Extension,
    frame::{ACK, Frame, SYN},
    home::{Home, at_home, redirect},
    network::{FAMILIES, V4, V6},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// 802.1Q.
const CUSTOMER: u16 = 0x8100;
/// 802.1ad.
const SERVICE: u16 = 0x88a8;

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn add_redirects(home: &mut Home) {
    for family in FAMILIES {
        for protocol in PROTOCOLS {
            home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
        }
    }
}

/// The packets that open a flow and two that follow, each edited on its way in.
/// The way out is the same as ever, but for `out`.
fn conversation(
    talk: &Talk,
    into: impl Fn(Frame) -> Frame,
    out: impl Fn(Frame) -> Frame,
) -> Vec<Row> {
    let tcp = talk.protocol == Protocol::Tcp;
    let flags = |frame: Frame, flags| if tcp { frame.flags(flags) } else { frame };
    let numbers = |frame: Frame, seq, ack| if tcp { frame.seq(seq).ack(ack) } else { frame };
    let to_host = |what: &str, edit: &dyn Fn(Frame) -> Frame| {
        Row::sent(what, &into(edit(talk.from_peer())), &out(edit(talk.at_host())).ttl(63))
    };
    let to_peer = |what: &str, edit: &dyn Fn(Frame) -> Frame| {
        Row::sent(what, &into(edit(talk.from_host())), &out(edit(talk.at_peer())).ttl(63))
    };
    let mut rows = vec![
        to_host("opens", &|frame| numbers(flags(frame, SYN), 100, 0)),
        to_peer("is answered", &|frame| numbers(flags(frame, SYN | ACK), 500, 101)),
    ];
    rows.push(to_host("goes on", &|frame| numbers(flags(frame, ACK), 101, 501)));
    rows.push(to_host("asks", &|frame| numbers(flags(frame, ACK), 101, 501).data(b"abc")));
    rows.push(to_peer("is told", &|frame| numbers(flags(frame, ACK), 501, 104).data(b"xyz")));
    rows
}

/// The two last rows of a conversation are of an established flow.
fn by_xdp(mut rows: Vec<Row>) -> Vec<Row> {
    let established: Vec<Row> = rows.split_off(rows.len() - 2);
    rows.extend(established.into_iter().map(Row::by_xdp));
    rows
}

#[test]
fn tags_are_taken_off() {
    let cases: [&[(u16, u16)]; 6] = [
        &[(CUSTOMER, 7)],
        &[(CUSTOMER, 0)],
        &[(CUSTOMER, 4094)],
        &[(SERVICE, 7)],
        &[(SERVICE, 100), (CUSTOMER, 7)],
        &[(CUSTOMER, 100), (CUSTOMER, 7)],
    ];
    at_home(|home| {
        add_redirects(home);
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                for (case, tags) in cases.iter().enumerate() {
                    let talk = Talk::new(protocol, &family, 40_000 + case as u16);
                    let tagged = |frame: Frame| {
                        tags.iter().fold(frame, |frame, (tpid, vlan)| frame.tag(*tpid, *vlan))
                    };
                    home.table(&conversation(&talk, tagged, |frame| frame));
                }
            }
        }
    });
}

#[test]
fn ipv4_options_stay() {
    let cases: [(&str, &[u8]); 4] = [
        ("router alert", &[148, 4, 0, 0]),
        ("one no-operation", &[1, 0, 0, 0]),
        ("a timestamp", &[68, 12, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("as much as fits", &[1; 40]),
    ];
    at_home(|home| {
        add_redirects(home);
        for protocol in PROTOCOLS {
            for (case, (_, options)) in cases.iter().enumerate() {
                let talk = Talk::new(protocol, &V4, 40_000 + case as u16);
                let with = |frame: Frame| frame.options(options);
                home.table(&by_xdp(conversation(&talk, with, with)));
            }
        }
    });
}

#[test]
fn ipv6_extension_headers_stay() {
    let hop = Extension::hop_by_hop;
    let destination = Extension::destination;
    let cases: [Vec<Extension>; 9] = [
        vec![hop(1)],
        vec![hop(3)],
        vec![destination(1)],
        vec![destination(16)],
        vec![Extension::routing(0)],
        vec![Extension::atomic_fragment(0x1234_5678)],
        vec![hop(1), destination(2)],
        vec![hop(1), destination(1), Extension::routing(0), Extension::atomic_fragment(9)],
        vec![hop(1), destination(1), Extension::routing(0), destination(1), destination(1)],
    ];
    at_home(|home| {
        add_redirects(home);
        for protocol in PROTOCOLS {
            for (case, extensions) in cases.iter().enumerate() {
                let talk = Talk::new(protocol, &V6, 40_000 + case as u16);
                let with = |frame: Frame| {
                    extensions.iter().cloned().fold(frame, |frame, next| frame.extension(next))
                };
                home.table(&by_xdp(conversation(&talk, with, with)));
            }
        }
    });
}

#[test]
fn everything_else_stays() {
    at_home(|home| {
        add_redirects(home);
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                let talk = Talk::new(protocol, &family, 40_000);
                // A differentiated service, congestion experienced, and in IPv4
                // an identification and leave to fragment.
                let marked = |frame: Frame| frame.class(0xb8 | 3).id(0xbeef).may_fragment();
                home.table(&by_xdp(conversation(&talk, marked, marked)));
            }
            let talk = Talk::new(Protocol::Tcp, &family, 40_001);
            // Timestamps, and selective acknowledgement permitted (RFC 7323, RFC 2018).
            let options = [8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 4, 2];
            let with = |frame: Frame| frame.tcp_options(&options);
            home.table(&by_xdp(conversation(&talk, with, with)));
        }
    });
}

#[test]
fn every_time_to_live_is_one_less() {
    at_home(|home| {
        add_redirects(home);
        for family in FAMILIES {
            let talk = Talk::new(Protocol::Udp, &family, 40_000);
            home.table(&talk.opening());
            for ttl in 2..=255 {
                let (frame, out) = (talk.from_peer().ttl(ttl), talk.at_host().ttl(ttl - 1));
                home.table(&[Row::sent(&format!("{ttl}"), &frame, &out).by_xdp()]);
            }
        }
    });
}
