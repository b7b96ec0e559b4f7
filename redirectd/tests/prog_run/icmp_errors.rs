//! ICMP errors about flows: the message and the packet it quotes, translated in
//! both directions.

use std::net::IpAddr;

use redirectd::rule::Protocol;

use crate::{
    extension::Extension,
    frame::{ACK, Frame, SYN, TTL},
    home::{Home, at_home, redirect},
    network::{BACK_MAC, FAMILIES, FRONT_MAC, Family, GATEWAY_MAC, HOST_MAC, V4, V6, way_to},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// A router somewhere behind home.
fn router(family: &Family) -> IpAddr {
    family.other_peer
}

/// What the hop limit of a packet has become when somebody complains about it.
const LATER: u8 = 60;

/// Error messages of a family: types and codes, and what stands in the second
/// word.
fn errors(family: &Family) -> Vec<((u8, u8), u32)> {
    if family.home.is_ipv4() {
        let unreachable = (0..=15).map(|code| ((3, code), if code == 4 { 1400 } else { 0 }));
        let others = [((11, 0), 0), ((11, 1), 0), ((12, 0), 20 << 24), ((12, 1), 0)];
        unreachable.chain(others).collect()
    } else {
        let unreachable = (0..=8).map(|code| ((1, code), 0));
        let others = [((2, 0), 1280), ((3, 0), 0), ((3, 1), 0), ((4, 0), 40), ((4, 1), 6)];
        unreachable.chain(others).collect()
    }
}

/// An error from behind, about `quote`, which home had sent to the host; and
/// what the peer gets: about what the peer had sent.
struct Complaint<'a> {
    talk: &'a Talk,
    kind: (u8, u8),
    word: u32,
}

impl Complaint<'_> {
    /// From `from`, quoting `quoted` bytes of `edit`ed packets.
    fn reaches_peer(
        &self,
        what: &str,
        from: IpAddr,
        quoted: usize,
        edit: impl Fn(Frame) -> Frame,
    ) -> Row {
        let talk = self.talk;
        let cut = |frame: Frame| {
            let packet = edit(frame).ttl(LATER).packet();
            packet[..quoted.min(packet.len())].to_vec()
        };
        let (gateway, front) = way_to(talk.peer.ip());
        let about = |from, to| Frame::icmp(from, to, self.kind, self.word);
        let frame = about(from, talk.snat.ip()).macs(BACK_MAC, HOST_MAC);
        let out = about(talk.home.ip(), talk.peer.ip()).macs(gateway, front).ttl(TTL - 1);
        Row::sent(what, &frame.data(&cut(talk.host_gets())), &out.data(&cut(talk.peer_sends())))
            .counted_as("icmp_translated")
    }

    /// The other way: about what home had sent to the peer.
    fn reaches_host(
        &self,
        what: &str,
        from: IpAddr,
        quoted: usize,
        edit: impl Fn(Frame) -> Frame,
    ) -> Row {
        let talk = self.talk;
        let cut = |frame: Frame| {
            let packet = edit(frame).ttl(LATER).packet();
            packet[..quoted.min(packet.len())].to_vec()
        };
        let (host, back) = way_to(talk.host.ip());
        let about = |from, to| Frame::icmp(from, to, self.kind, self.word);
        let frame = about(from, talk.home.ip()).macs(FRONT_MAC, GATEWAY_MAC);
        let out = about(talk.snat.ip(), talk.host.ip()).macs(host, back).ttl(TTL - 1);
        Row::sent(what, &frame.data(&cut(talk.peer_gets())), &out.data(&cut(talk.host_sends())))
            .counted_as("icmp_translated")
    }
}

fn open(home: &mut Home, protocol: Protocol, family: &Family) -> Talk {
    home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
    let talk = Talk::new(protocol, family, 40_000);
    home.table(&talk.opening());
    talk
}

fn with_data(talk: &Talk, bytes: usize) -> impl Fn(Frame) -> Frame {
    let protocol = talk.protocol;
    move |frame| match protocol {
        Protocol::Tcp => frame.flags(ACK).seq(101).ack(501).data(&vec![0xa5; bytes]),
        Protocol::Udp => frame.data(&vec![0xa5; bytes]),
    }
}

fn ip_header(family: &Family) -> usize {
    if family.home.is_ipv4() { 20 } else { 40 }
}

#[test]
fn every_type_and_code() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let talk = open(home, protocol, &family);
                let short = ip_header(&family) + 8;
                for (kind, word) in errors(&family) {
                    let complaint = Complaint { talk: &talk, kind, word };
                    let what = format!("{protocol}, {kind:?}");
                    let edit = with_data(&talk, 100);
                    home.table(&[
                        complaint.reaches_peer(&what, talk.host.ip(), short, &edit),
                        complaint.reaches_peer(&what, router(&family), short, &edit),
                        complaint.reaches_host(&what, talk.peer.ip(), short, &edit),
                        complaint.reaches_host(&what, router(&family), short, &edit),
                    ]);
                }
            }
        }
    });
}

#[test]
fn quotes_of_every_length() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let talk = open(home, protocol, &family);
                let kind = if family.home.is_ipv4() { (3, 3) } else { (1, 4) };
                let complaint = Complaint { talk: &talk, kind, word: 0 };
                for quoted in ip_header(&family) + 8..ip_header(&family) + 30 {
                    // Half of TCP's checksum is not one that can be translated.
                    if protocol == Protocol::Tcp && quoted == ip_header(&family) + 17 {
                        continue;
                    }
                    let what = format!("{protocol}, {quoted} bytes quoted");
                    // An odd length of what is quoted in part, and of a whole.
                    for data in [101, 3] {
                        let edit = with_data(&talk, data);
                        home.table(&[
                            complaint.reaches_peer(&what, talk.host.ip(), quoted, &edit),
                            complaint.reaches_host(&what, talk.peer.ip(), quoted, &edit),
                        ]);
                    }
                }
                let edit = with_data(&talk, 1000);
                home.table(&[
                    complaint.reaches_peer("all that fits", talk.host.ip(), 1200, &edit),
                    complaint.reaches_host("all that fits", talk.peer.ip(), 1200, &edit),
                ]);
            }
        }
    });
}

#[test]
fn quotes_with_options_and_extension_headers() {
    at_home(|home| {
        let talk = open(home, Protocol::Udp, &V4);
        let complaint = Complaint { talk: &talk, kind: (3, 3), word: 0 };
        for options in [4, 20, 40] {
            let edit = |frame: Frame| frame.options(&vec![1; options]).data(b"abcde");
            home.table(&[
                complaint.reaches_peer("options", talk.host.ip(), 20 + options + 8, edit),
                complaint.reaches_host("options", talk.peer.ip(), 20 + options + 13, edit),
            ]);
        }
        let unsummed = |frame: Frame| frame.unsummed().data(b"abcde");
        home.table(&[complaint.reaches_peer("without a checksum", talk.host.ip(), 28, unsummed)]);

        let talk = open(home, Protocol::Udp, &V6);
        let complaint = Complaint { talk: &talk, kind: (1, 4), word: 0 };
        for extension in [Extension::hop_by_hop(1), Extension::destination(2)] {
            let edit = |frame: Frame| frame.extension(extension.clone()).data(b"abcde");
            home.table(&[
                complaint.reaches_peer("an extension", talk.host.ip(), 40 + 16 + 8, edit),
                complaint.reaches_host("an extension", talk.peer.ip(), 200, edit),
            ]);
        }
        let atomic = |frame: Frame| frame.extension(Extension::atomic_fragment(7)).data(b"abcde");
        home.table(&[complaint.reaches_peer("a fragment header", talk.host.ip(), 200, atomic)]);
    });
}

#[test]
fn flows_that_are_only_half_open() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
                let talk = Talk::new(protocol, &family, 40_001);
                let kind = if family.home.is_ipv4() { (3, 3) } else { (1, 4) };
                let complaint = Complaint { talk: &talk, kind, word: 0 };
                let edit = |frame: Frame| match protocol {
                    Protocol::Tcp => frame.flags(SYN).seq(100),
                    Protocol::Udp => frame.data(b"a question"),
                };
                home.table(&talk.opening()[..1]);
                home.table(&[complaint.reaches_peer("port unreachable", talk.host.ip(), 48, edit)]);
            }
        }
    });
}

#[test]
fn what_is_not_about_a_flow() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = open(home, Protocol::Udp, &family);
            let kind = if family.home.is_ipv4() { (3, 3) } else { (1, 4) };
            let about = |quote: &[u8]| {
                Frame::icmp(family.host, family.home, kind, 0).macs(BACK_MAC, HOST_MAC).data(quote)
            };
            let passed =
                |what: &str, quote: &[u8], reason| Row::passed(what, &about(quote), reason);
            let other = Talk { snat: (family.home, 40_009).into(), ..talk };
            let echo = Frame::icmp(family.home, family.host, (8, 0), 1).packet();
            let at_host = talk.host_gets().data(&[5; 40]);
            let later = at_host.fragments(24)[1].packet();
            let quote = at_host.packet();
            home.table(&[
                passed("another flow", &other.host_gets().data(b"x").packet(), "icmp_not_ours"),
                passed("the flow, the wrong way", &talk.host_sends().packet(), "icmp_not_ours"),
                passed("echo", &echo, "icmp_not_ours"),
                passed("a later fragment", &later, "icmp_not_ours"),
                passed("no quote", &[], "truncated"),
                passed("half an IP header", &quote[..16], "truncated"),
                passed("no ports", &quote[..ip_header(&family)], "truncated"),
                passed("seven bytes", &quote[..ip_header(&family) + 7], "truncated"),
                passed(
                    "garbage",
                    &[0xff; 64],
                    if family.home.is_ipv4() { "bad_header" } else { "icmp_not_ours" },
                ),
            ]);
        }
    });
}

/// RFC 1122, section 3.2.2: no error about an error.
#[test]
fn an_error_whose_time_runs_out_is_dropped_silently() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = open(home, Protocol::Udp, &family);
            let kind = if family.home.is_ipv4() { (3, 3) } else { (1, 4) };
            for ttl in [0, 1] {
                let error = Frame::icmp(family.host, family.home, kind, 0)
                    .macs(BACK_MAC, HOST_MAC)
                    .data(&talk.host_gets().packet())
                    .ttl(ttl);
                home.table(&[Row::dropped("port unreachable", &error, "ttl_expired")]);
            }
        }
    });
}

#[test]
fn headers_around_the_message() {
    at_home(|home| {
        let talk = open(home, Protocol::Udp, &V4);
        let quote = |frame: Frame| frame.data(b"x").ttl(LATER).packet();
        let error = |from, to| Frame::icmp(from, to, (3, 3), 0);
        let frame = error(V4.host, V4.home).macs(BACK_MAC, HOST_MAC).data(&quote(talk.host_gets()));
        let (gateway, front) = way_to(V4.peer);
        let out = error(V4.home, V4.peer)
            .macs(gateway, front)
            .ttl(TTL - 1)
            .data(&quote(talk.peer_sends()));
        let row = |what: &str, frame: &Frame, out: &Frame| {
            Row::sent(what, frame, out).counted_as("icmp_translated")
        };
        let options = |frame: &Frame| frame.clone().options(&[148, 4, 0, 0]).class(0xc0);
        home.table(&[
            row("a tag", &frame.clone().tag(0x8100, 7), &out),
            row("two tags", &frame.clone().tag(0x88a8, 100).tag(0x8100, 7), &out),
            row("options", &options(&frame), &options(&out)),
            Row::passed("a fragment of it", &frame.fragments(16)[0], "icmp_not_ours"),
        ]);

        let talk = open(home, Protocol::Udp, &V6);
        let error = |from, to| Frame::icmp(from, to, (1, 4), 0);
        let frame = error(V6.host, V6.home).macs(BACK_MAC, HOST_MAC).data(&quote(talk.host_gets()));
        let out = error(V6.home, V6.peer)
            .macs(gateway, front)
            .ttl(TTL - 1)
            .data(&quote(talk.peer_sends()));
        let extended = |frame: &Frame| frame.clone().extension(Extension::destination(1));
        home.table(&[
            row("a tag", &frame.clone().tag(0x8100, 7), &out),
            row("destination options", &extended(&frame), &extended(&out)),
        ]);
    });
}
