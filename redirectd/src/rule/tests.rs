//! What a redirect and a set of redirects accept and refuse.

use super::{Field, Flows, Mode, PortRange, Protocol, Redirect, RedirectSet};
use crate::error::Kind;

/// `tcp 192.0.2.1:PORTS -> 192.0.2.3:8080`
fn redirect(name: &str, ports: &str) -> Redirect {
    Redirect {
        name: name.to_owned(),
        protocols: vec![Protocol::Tcp],
        home: "192.0.2.1".parse().unwrap(),
        ports: ports.parse().unwrap(),
        target: "192.0.2.3".parse().unwrap(),
        target_port: 8080,
        host: None,
        peers: Vec::new(),
        mode: Mode::Nat,
        flows: Flows::NewOnly,
    }
}

fn with_peers(mut redirect: Redirect, peers: &[&str]) -> Redirect {
    redirect.peers = peers.iter().map(|p| p.parse().unwrap()).collect();
    redirect
}

#[test]
fn it_catches_what_its_peers_send_to_its_endpoints() {
    let web = with_peers(redirect("web", "80-81"), &["198.51.100.0/24", "192.0.2.9/32"]);
    for (protocol, peer, home, port, caught) in [
        (Protocol::Tcp, "198.51.100.7", "192.0.2.1", 80, true),
        (Protocol::Tcp, "192.0.2.9", "192.0.2.1", 81, true),
        (Protocol::Udp, "198.51.100.7", "192.0.2.1", 80, false),
        (Protocol::Tcp, "198.51.101.7", "192.0.2.1", 80, false),
        (Protocol::Tcp, "198.51.100.7", "192.0.2.2", 80, false),
        (Protocol::Tcp, "198.51.100.7", "192.0.2.1", 82, false),
    ] {
        let (peer, home) = (peer.parse().unwrap(), (home.parse().unwrap(), port));
        assert_eq!(web.catches(protocol, peer, home), caught, "{protocol} {peer} {home:?}");
    }
    let peer = "203.0.113.1".parse().unwrap();
    let home = ("192.0.2.1".parse().unwrap(), 80);
    assert!(redirect("web", "80").catches(Protocol::Tcp, peer, home));
}

#[test]
fn a_plain_redirect_is_valid_and_reads_like_the_rule() {
    let mut web = redirect("web", "80");
    web.validate().unwrap();
    assert_eq!(web.to_string(), "tcp 192.0.2.1:80 -> 192.0.2.3:8080");
    web.host = Some("c".to_owned());
    web.protocols = vec![Protocol::Tcp, Protocol::Udp];
    web.ports = PortRange::new(80, 81).unwrap();
    let web = with_peers(web, &["198.51.100.0/24"]);
    assert_eq!(
        web.to_string(),
        "tcp,udp 192.0.2.1:80-81 -> c (192.0.2.3:8080-8081) for 198.51.100.0/24"
    );
}

/// Each way to spoil a redirect, the field that is named and what is said.
#[test]
fn every_flaw_is_named_with_its_cure() {
    type Spoil = fn(&mut Redirect);
    let cases: &[(Spoil, Field, &str, &str)] = &[
        (
            |r| r.name = String::new(),
            Field::Name,
            "the redirect has no name",
            "use 1 to 63 letters, digits, `.`, `_`, `-`, the first a letter or digit",
        ),
        (
            |r| r.name = "a b".to_owned(),
            Field::Name,
            "the redirect name `a b` contains ' '",
            "use 1 to 63 letters, digits, `.`, `_`, `-`, the first a letter or digit",
        ),
        (
            |r| r.name = "\u{1b}[31m".to_owned(),
            Field::Name,
            "the redirect name `\\u{1b}[31m` contains '\\u{1b}'",
            "use 1 to 63 letters, digits, `.`, `_`, `-`, the first a letter or digit",
        ),
        (
            |r| r.name = "-x".to_owned(),
            Field::Name,
            "the redirect name `-x` starts with `-`",
            "use 1 to 63 letters, digits, `.`, `_`, `-`, the first a letter or digit",
        ),
        (
            |r| r.name = "x".repeat(64),
            Field::Name,
            "the redirect name `xxxxxxxxxxxxxxxxxxxx…` has 64 bytes",
            "use 1 to 63 letters, digits, `.`, `_`, `-`, the first a letter or digit",
        ),
        (
            |r| r.protocols.clear(),
            Field::Protocols,
            "no protocol is given",
            "name `tcp`, `udp` or both",
        ),
        (
            |r| r.protocols = vec![Protocol::Tcp, Protocol::Tcp],
            Field::Protocols,
            "the protocols are not in order, or one is given twice",
            "name each once, `tcp` before `udp`",
        ),
        (
            |r| r.home = "127.0.0.1".parse().unwrap(),
            Field::Home,
            "the home address 127.0.0.1 is a loopback address: it never leaves the machine",
            "name an address of an interface",
        ),
        (
            |r| r.home = "0.0.0.0".parse().unwrap(),
            Field::Home,
            "the home address 0.0.0.0 is unspecified: no packet is sent to it",
            "name the address that peers or home use",
        ),
        (
            |r| r.target = "224.0.0.1".parse().unwrap(),
            Field::Target,
            "the target address 224.0.0.1 is a multicast address: a flow has one peer and one host",
            "name a unicast address",
        ),
        (
            |r| r.target = "255.255.255.255".parse().unwrap(),
            Field::Target,
            "the target address 255.255.255.255 is the broadcast address: a flow has one peer and \
             one host",
            "name a unicast address",
        ),
        (
            |r| r.target = "0.1.2.3".parse().unwrap(),
            Field::Target,
            "the target address 0.1.2.3 is of the network 0.0.0.0/8, which is never a destination \
             (RFC 1122, section 3.2.1.3)",
            "name a unicast address",
        ),
        (
            |r| r.target = "fe80::1".parse().unwrap(),
            Field::Target,
            "the target address fe80::1 is link-local: it means another machine on each link, and \
             a redirect names no link",
            "name a global or unique local address",
        ),
        (
            |r| r.target = "::ffff:192.0.2.3".parse().unwrap(),
            Field::Target,
            "the target address ::ffff:192.0.2.3 is an IPv4-mapped address: on the wire it is IPv4 \
             (RFC 4038, section 4.2)",
            "write the IPv4 address",
        ),
        (
            |r| r.target = "2001:db8::3".parse().unwrap(),
            Field::Target,
            "the home address 192.0.2.1 is IPv4, but the target 2001:db8::3 is IPv6: mode nat does \
             not translate between families",
            "give the host's IPv4 address",
        ),
        (
            |r| r.target = r.home,
            Field::Target,
            "the target 192.0.2.1 is the home address itself, with another port",
            "name another machine, or `home` for a process that is at home and may move",
        ),
        (
            |r| r.target_port = 0,
            Field::Target,
            "1 ports from target port 0 on do not fit in 1 to 65535",
            "start between 1 and 65535",
        ),
        (
            |r| {
                r.ports = PortRange::new(1, 100).unwrap();
                r.target_port = 65500;
            },
            Field::Target,
            "100 ports from target port 65500 on do not fit in 1 to 65535",
            "start between 1 and 65436",
        ),
        (
            |r| *r = with_peers(r.clone(), &["10.0.0.0/8", "2001:db8::/32"]),
            Field::Peers(1),
            "the peers 2001:db8::/32 are IPv6, but the home address 192.0.2.1 is IPv4",
            "give IPv4 prefixes only",
        ),
        (
            |r| *r = with_peers(r.clone(), &["198.51.100.7/24"]),
            Field::Peers(0),
            "the peers 198.51.100.7/24 have bits set beyond the prefix",
            "write 198.51.100.0/24, or 198.51.100.7/32 for one peer",
        ),
        (
            |r| *r = with_peers(r.clone(), &["10.0.0.0/8", "10.0.0.0/8"]),
            Field::Peers(1),
            "the peers 10.0.0.0/8 are given twice",
            "name them once",
        ),
    ];
    for (spoil, field, what, cure) in cases {
        let mut spoilt = redirect("web", "80");
        spoil(&mut spoilt);
        let flaws = spoilt.flaws();
        assert_eq!(flaws.len(), 1, "{what}: {flaws:?}");
        assert_eq!(
            (flaws[0].field, flaws[0].what.as_str(), flaws[0].cure.as_str()),
            (*field, *what, *cure)
        );
        let error = spoilt.validate().unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
        assert!(error.what.ends_with(what), "{error}");
    }
}

/// Pairs of redirects, and what is said of them together; `None` if they may be.
#[test]
fn contradictions_name_both_redirects() {
    let base = redirect("a", "80-89");
    let cases: Vec<(Redirect, Option<&str>)> = vec![
        (redirect("b", "90"), None),
        (redirect("b", "79"), None),
        (
            redirect("b", "85"),
            Some("redirects `a` and `b` both claim tcp 192.0.2.1:85 from all peers"),
        ),
        (
            redirect("b", "89-99"),
            Some("redirects `a` and `b` both claim tcp 192.0.2.1:89 from all peers"),
        ),
        (Redirect { protocols: vec![Protocol::Udp], ..redirect("b", "85") }, None),
        (Redirect { home: "192.0.2.2".parse().unwrap(), ..redirect("b", "85") }, None),
        (with_peers(redirect("b", "85"), &["10.0.0.0/8"]), None),
        (
            with_peers(redirect("b", "85"), &["10.0.0.0/8", "0.0.0.0/0"]),
            Some("redirects `a` and `b` both claim tcp 192.0.2.1:85 from all peers"),
        ),
        (
            Redirect {
                target: "192.0.2.1".parse().unwrap(),
                target_port: 80,
                home: "192.0.2.9".parse().unwrap(),
                ..redirect("b", "85")
            },
            Some(
                "redirect `b` sends to tcp 192.0.2.1:80, which redirect `a` takes away again: tcp \
                 192.0.2.1:80-89 -> 192.0.2.3:8080-8089",
            ),
        ),
        (
            Redirect {
                home: "192.0.2.3".parse().unwrap(),
                target: "192.0.2.4".parse().unwrap(),
                ..redirect("b", "8085")
            },
            Some(
                "redirect `a` sends to tcp 192.0.2.3:8085, which redirect `b` takes away again: tcp \
                 192.0.2.3:8085 -> 192.0.2.4:8080",
            ),
        ),
        (
            Redirect {
                home: "192.0.2.3".parse().unwrap(),
                target: "192.0.2.4".parse().unwrap(),
                ..redirect("b", "8090")
            },
            None,
        ),
    ];
    for (other, expected) in cases {
        let together = RedirectSet::new([base.clone(), other.clone()]);
        let one_by_one = RedirectSet::new([base.clone()]).unwrap().with(other.clone());
        assert_eq!(together.as_ref().err().map(|e| e.what.as_str()), expected);
        assert_eq!(together, one_by_one, "{other}");
        if let Err(error) = together {
            assert_eq!(error.kind, Kind::Conflict);
        }
    }
}

#[test]
fn nested_prefixes_live_together_and_equal_ones_do_not() {
    let wide = with_peers(redirect("wide", "80"), &["10.0.0.0/8"]);
    let narrow = with_peers(redirect("narrow", "80"), &["10.1.0.0/16"]);
    let set = RedirectSet::new([wide, narrow, redirect("all", "80")]).unwrap();
    let same = with_peers(redirect("same", "80"), &["172.16.0.0/12", "10.1.0.0/16"]);
    let error = set.with(same).unwrap_err();
    assert_eq!(
        error.what,
        "redirects `narrow` and `same` both claim tcp 192.0.2.1:80 from 10.1.0.0/16"
    );
}

#[test]
fn a_name_is_taken_once() {
    let set = RedirectSet::new([redirect("web", "80")]).unwrap();
    let error = set.with(redirect("web", "81")).unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
    assert_eq!(error.what, "there is already a redirect `web`: tcp 192.0.2.1:80 -> 192.0.2.3:8080");
    let error = RedirectSet::new([redirect("web", "80"), redirect("web", "81")]).unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
}

#[test]
fn what_is_removed_can_be_added_again() {
    let mut set = RedirectSet::new([redirect("web", "80")]).unwrap();
    assert_eq!(set.remove("dns").unwrap_err().kind, Kind::NotFound);
    let web = set.remove("web").unwrap();
    assert!(set.is_empty());
    set.insert(Redirect { name: "new".to_owned(), ..web }).unwrap();
    assert_eq!(set.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn the_json_form_is_stable() {
    let mut web = with_peers(redirect("web", "80-81"), &["10.0.0.0/8"]);
    let json = serde_json::to_string(&web).unwrap();
    assert_eq!(
        json,
        r#"{"name":"web","protocols":["tcp"],"home":"192.0.2.1","ports":"80-81","target":"192.0.2.3","target_port":8080,"peers":["10.0.0.0/8"],"mode":"nat","flows":"new-only"}"#
    );
    assert_eq!(serde_json::from_str::<Redirect>(&json).unwrap(), web);
    web.host = Some("c".to_owned());
    web.flows = Flows::Follow;
    web.peers.clear();
    let json = serde_json::to_string(&web).unwrap();
    assert!(json.ends_with(r#""host":"c","mode":"nat","flows":"follow"}"#), "{json}");
    assert_eq!(serde_json::from_str::<Redirect>(&json).unwrap(), web);
    let misspelt = json.replace("flows", "flow");
    assert!(serde_json::from_str::<Redirect>(&misspelt).is_err());
}

#[test]
fn port_ranges_are_read_strictly() {
    for (text, wrong) in [
        ("0", "port 0 cannot be redirected: it is reserved (RFC 6335, section 6)"),
        ("90-80", "the port range 90-80 ends before it starts"),
        ("65536", "port 65536 is too large"),
        ("99999999999999999999", "port 99999999999999999999 is too large"),
        ("", "`` is not a port or a port range"),
        ("+80", "`+80` is not a port or a port range"),
        ("80-", "`80-` is not a port or a port range"),
        ("-80", "`-80` is not a port or a port range"),
        ("80-81-82", "`80-81-82` is not a port or a port range"),
        ("http", "`http` is not a port or a port range"),
    ] {
        assert_eq!(text.parse::<PortRange>().unwrap_err().what, wrong);
    }
    assert_eq!("80 - 81".parse::<PortRange>(), PortRange::new(80, 81));
    assert_eq!(serde_json::from_str::<PortRange>("80").unwrap(), PortRange::single(80).unwrap());
    assert!(serde_json::from_str::<PortRange>("65616").is_err());
    assert_eq!(PortRange::new(1, 65535).unwrap().len(), 65535);
}

#[test]
fn replies_are_not_mistaken_for_connections() {
    let snat = PortRange::new(61000, 65535).unwrap();
    redirect("web", "60000-60999").keeps_off(snat).unwrap();
    let error = redirect("web", "60000-61000").keeps_off(snat).unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
    assert!(error.what.contains("60000-61000 overlap snat_ports 61000-65535"), "{error}");
}

/// A short range of home ports inside a long one must not hide the long one.
#[test]
fn a_chain_to_a_long_range_is_seen_behind_a_short_one() {
    let home = "192.0.2.9".parse().unwrap();
    let long = Redirect { home, ..redirect("long", "1-10") };
    let short = with_peers(Redirect { home, ..redirect("short", "2-3") }, &["10.0.0.0/8"]);
    let sender = Redirect { target: home, target_port: 8, ..redirect("sender", "80") };
    let error = RedirectSet::new([long, short, sender]).unwrap_err();
    assert!(
        error.what.starts_with("redirect `sender` sends to tcp 192.0.2.9:8, which redirect `long`"),
        "{error}"
    );
}
