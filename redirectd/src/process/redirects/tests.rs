//! Sockets on paper, and what is caught for them.

use proptest::prelude::*;

use super::*;
use crate::rule::{Redirect, RedirectSet};

const FORM: Form<'static> = Form { name: "web-7", to: "c", flows: "follow" };

/// A socket bound to `local` and perhaps connected: `tcp 192.0.2.1:80`, `udp
/// *:53`, `tcp 192.0.2.1:40000 198.51.100.7:80`.
fn socket(text: &str) -> InetSocket {
    let words: Vec<&str> = text.split(' ').collect();
    let both_families = words[1].starts_with('*');
    let local: SocketAddr = words[1].replace('*', "[::]").parse().unwrap();
    let protocol: Protocol = words[0].parse().unwrap();
    let remote = words.get(2).map(|remote| remote.parse().unwrap());
    InetSocket {
        inode: 0,
        holders: Vec::new(),
        protocol,
        local,
        remote,
        listening: protocol == Protocol::Tcp && remote.is_none(),
        both_families,
        multipath: false,
    }
}

fn sockets(own: &[&str]) -> Sockets {
    Sockets { inet: own.iter().map(|text| socket(text)).collect(), ..Sockets::default() }
}

/// `name protocol home`, and the peers if it is not for all.
fn caught(own: &[&str]) -> Vec<String> {
    let shown = |addition: Addition| {
        let Spec { protocol, home, to, peers, flows, .. } = addition.redirect;
        assert_eq!((to.as_str(), flows.as_deref()), ("c", Some("follow")));
        let peers = if peers.is_empty() { "" } else { &format!(" for {}", peers.join(",")) };
        format!("{} {} {home}{peers}", addition.name, protocol.join(","))
    };
    redirects(&sockets(own), FORM).additions.into_iter().map(shown).collect()
}

#[test]
fn each_endpoint_gets_one() {
    assert_eq!(
        caught(&["tcp 192.0.2.1:80", "tcp [2001:db8::1]:80", "udp 192.0.2.1:53"]),
        [
            "web-7-80 tcp 192.0.2.1:80",
            "web-7-80-2 tcp [2001:db8::1]:80",
            "web-7-53-udp udp 192.0.2.1:53"
        ]
    );
}

#[test]
fn no_address_in_particular_means_all_of_home_s_in_its_families() {
    assert_eq!(caught(&["tcp *:80"]), ["web-7-80 tcp 80"]);
    assert_eq!(caught(&["tcp 0.0.0.0:80"]), ["web-7-80 tcp 80 for 0.0.0.0/0"]);
    assert_eq!(caught(&["udp [::]:53"]), ["web-7-53-udp udp 53 for ::/0"]);
    // As nginx does it: a socket for each family.
    assert_eq!(caught(&["tcp 0.0.0.0:80", "tcp [::]:80"]), ["web-7-80 tcp 80"]);
    // Several processes, each with a socket of its own for the same port.
    assert_eq!(caught(&["tcp *:80", "tcp *:80"]), ["web-7-80 tcp 80"]);
}

#[test]
fn what_the_wildcard_takes_needs_nothing_of_its_own() {
    assert_eq!(caught(&["tcp 0.0.0.0:80", "tcp 192.0.2.1:80"]), ["web-7-80 tcp 80 for 0.0.0.0/0"]);
    assert_eq!(
        caught(&["tcp 0.0.0.0:80", "tcp [2001:db8::1]:80"]),
        ["web-7-80 tcp [2001:db8::1]:80", "web-7-80-2 tcp 80 for 0.0.0.0/0"]
    );
    assert_eq!(
        caught(&["tcp *:80", "tcp 192.0.2.1:80 198.51.100.7:5000"]),
        ["web-7-80 tcp 80"],
        "an accepted connection"
    );
    // TCP's port 53 is not UDP's.
    assert_eq!(caught(&["tcp *:53", "udp *:53"]), ["web-7-53 tcp 53", "web-7-53-udp udp 53"]);
}

#[test]
fn connections_it_made_are_for_their_peers_alone() {
    assert_eq!(
        caught(&[
            "tcp 192.0.2.1:40000 198.51.100.7:80",
            "tcp 192.0.2.1:40000 198.51.100.8:80",
            "tcp [2001:db8::1]:40001 [2001:db8::9]:80",
            "udp 192.0.2.1:40002 198.51.100.7:53",
        ]),
        [
            "web-7-40000 tcp 192.0.2.1:40000 for 198.51.100.7/32,198.51.100.8/32",
            "web-7-40001 tcp [2001:db8::1]:40001 for 2001:db8::9/128",
            "web-7-40002-udp udp 192.0.2.1:40002 for 198.51.100.7/32",
        ]
    );
}

#[test]
fn only_listeners_are_tried() {
    let own = sockets(&["tcp *:80", "udp *:53", "tcp 192.0.2.1:40000 198.51.100.7:80"]);
    let tried: Vec<_> = redirects(&own, FORM).additions.iter().map(|one| one.check).collect();
    assert_eq!(tried, [true, false, false]);
}

#[test]
fn what_nobody_elsewhere_sends_to_is_left_out_with_the_reason() {
    for (own, why) in [
        ("tcp 127.0.0.1:80", "loopback"),
        ("udp [::1]:53", "loopback"),
        ("udp 224.0.0.251:5353", "multicast"),
        ("tcp [fe80::1]:80", "link-local"),
        ("tcp 127.0.0.1:40000 127.0.0.1:80", "loopback"),
    ] {
        let Wanted { additions, remarks } = redirects(&sockets(&[own]), FORM);
        assert_eq!(additions, []);
        assert!(remarks.len() == 1 && remarks[0].contains(why), "{own}: {remarks:?}");
    }
}

#[test]
fn a_connection_of_its_own_to_itself_is_left_out() {
    let own = ["tcp 192.0.2.1:40000 192.0.2.1:80", "tcp 192.0.2.1:80 192.0.2.1:40000", "tcp *:80"];
    assert_eq!(caught(&own), ["web-7-80 tcp 80"]);
    // It has not accepted it yet.
    assert_eq!(
        caught(&own[..1].iter().chain(&own[2..]).copied().collect::<Vec<_>>()),
        ["web-7-80 tcp 80"]
    );
    // The same port on another machine is another's.
    assert_eq!(
        caught(&["tcp 192.0.2.1:40000 198.51.100.7:80", "tcp *:80"]),
        ["web-7-80 tcp 80", "web-7-40000 tcp 192.0.2.1:40000 for 198.51.100.7/32"]
    );
}

#[test]
fn strangers_at_the_same_port_are_told() {
    let mut own = sockets(&["tcp 192.0.2.1:22 198.51.100.7:5000"]);
    own.strangers = socket("tcp *:22").endpoint().into_iter().collect();
    let remarks = redirects(&own, FORM).remarks;
    assert!(remarks.len() == 1 && remarks[0].contains("tcp *:22"), "{remarks:?}");
}

#[test]
fn names_are_made_of_whatever_the_kernel_calls_a_process() {
    assert_eq!(base_name("nginx", 4711), "nginx-4711");
    assert_eq!(base_name("(sd-pam)", 12), "sd-pam-12");
    assert_eq!(base_name("Web Content", 12), "Web-Content-12");
    assert_eq!(base_name("/ \u{7}é", 12), "process-12");
}

fn any_socket() -> impl Strategy<Value = InetSocket> {
    let local = prop_oneof![
        Just("0.0.0.0"),
        Just("[::]"),
        Just("*"),
        Just("192.0.2.1"),
        Just("192.0.2.2"),
        Just("[2001:db8::1]"),
        Just("127.0.0.1")
    ];
    let remote = prop_oneof![Just(""), Just("v4"), Just("v4")];
    (any::<bool>(), local, 1u16..4, remote).prop_map(|(tcp, local, port, remote)| {
        let protocol = if tcp { "tcp" } else { "udp" };
        let remote = match (remote, local) {
            ("", _) | (_, "0.0.0.0" | "[::]" | "*") => "",
            (_, "[2001:db8::1]") => " [2001:db8::7]:9",
            _ => " 198.51.100.7:9",
        };
        socket(&format!("{protocol} {local}:{port}{remote}"))
    })
}

proptest! {
    /// Whatever a process has open: the redirects are valid and do not contradict
    /// each other, every endpoint that peers reach is caught, and no other port.
    #[test]
    fn all_endpoints_are_caught_without_contradiction(
        inet in prop::collection::vec(any_socket(), 0..12),
        base in ".{0,20}",
    ) {
        let home: Vec<IpAddr> =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|a| a.parse().unwrap()).into();
        let hosts = crate::config::Hosts::default()
            .with_resolved("c", &["192.0.2.3".parse().unwrap(), "2001:db8::3".parse().unwrap()])
            .unwrap();
        let own = Sockets { inet: inet.clone(), ..Sockets::default() };
        let name = base_name(&base.chars().take(15).collect::<String>(), 4_194_304);
        let wanted = redirects(&own, Form { name: &name, ..FORM });
        let meant: Vec<Redirect> = wanted
            .additions
            .iter()
            .flat_map(|one| {
                crate::config::redirects_from(&one.name, &one.redirect, &hosts, &home).unwrap()
            })
            .collect();
        prop_assert!(RedirectSet::new(meant.clone()).is_ok());
        let catches = |protocol, at: SocketAddr, peer: Option<IpAddr>| {
            meant.iter().any(|r| {
                let for_peer = |peer: IpAddr| {
                    r.peers.is_empty() || r.peers.iter().any(|net| net.contains(&peer))
                };
                r.protocols == [protocol]
                    && r.home == at.ip()
                    && r.ports.contains(at.port())
                    && peer.is_none_or(for_peer)
            })
        };
        for socket in &inet {
            for &address in &home {
                let at = SocketAddr::new(address, socket.local.port());
                let own = match socket.endpoint() {
                    Some(endpoint) => endpoint.takes(socket.protocol, at),
                    None => socket.local == at,
                };
                let peer = socket.remote.map(|remote| remote.ip());
                prop_assert!(!own || catches(socket.protocol, at, peer), "{at} of {meant:?}");
            }
        }
        for redirect in &meant {
            let own = inet.iter().any(|socket| {
                redirect.protocols == [socket.protocol]
                    && redirect.ports.contains(socket.local.port())
            });
            prop_assert!(own, "{redirect}");
        }
    }
}
