//! Which redirects catch what peers send to a tree. Pure.

use std::net::SocketAddr;

use super::sockets::{InetSocket, Sockets};
use crate::rule::{Protocol, Redirect};

/// A socket, and the redirects that catch what is sent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Led<'a> {
    /// The socket.
    pub socket: &'a InetSocket,
    /// None if it is the socket's own, several where they are for different home
    /// addresses or peers.
    pub redirects: Vec<&'a Redirect>,
}

/// For each socket of `sockets` that new packets are sent to, those of `redirects`
/// that catch them.
///
/// Open TCP connections are left out: their packets reach their sockets whatever
/// the redirects say.
#[must_use]
pub fn led<'a>(sockets: &'a Sockets, redirects: &'a [Redirect]) -> Vec<Led<'a>> {
    let open = |socket: &&InetSocket| socket.listening || socket.protocol == Protocol::Udp;
    let catching = |socket: &'a InetSocket| {
        let caught = redirects.iter().filter(|redirect| catches(redirect, socket));
        Led { socket, redirects: caught.collect() }
    };
    sockets.inet.iter().filter(open).map(catching).collect()
}

fn catches(redirect: &Redirect, socket: &InetSocket) -> bool {
    let (protocol, port) = (socket.protocol, socket.local.port());
    if !redirect.protocols.contains(&protocol) || !redirect.ports.contains(port) {
        return false;
    }
    let home = SocketAddr::new(redirect.home, port);
    match (socket.endpoint(), socket.remote) {
        (Some(endpoint), _) => endpoint.takes(protocol, home),
        (None, Some(remote)) => {
            let everybody = redirect.peers.is_empty();
            let for_it = redirect.peers.iter().any(|peers| peers.contains(&remote.ip()));
            socket.local == home && (everybody || for_it)
        }
        (None, None) => false,
    }
}

/// Whether `name` is one that `redirect add --pid` gave for process `pid`.
#[must_use]
pub fn is_named_for(name: &str, pid: i32) -> bool {
    let (_, rest) = match name.split_once(&format!("-{pid}-")) {
        Some((first, rest)) if !first.is_empty() => (first, rest),
        _ => return false,
    };
    rest.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        process::fixture::socket,
        rule::{Flows, Mode, PortRange},
    };

    fn redirect(name: &str, home: &str, ports: &str, peers: &[&str]) -> Redirect {
        Redirect {
            name: name.to_owned(),
            protocols: vec![Protocol::Tcp],
            home: home.parse().unwrap(),
            ports: ports.parse::<PortRange>().unwrap(),
            target: "192.0.2.3".parse().unwrap(),
            target_port: 80,
            host: None,
            peers: peers.iter().map(|peers| peers.parse().unwrap()).collect(),
            mode: Mode::default(),
            flows: Flows::default(),
        }
    }

    #[test]
    fn a_socket_is_led_by_what_catches_its_port() {
        let redirects = [
            redirect("all", "192.0.2.1", "80", &[]),
            redirect("range", "192.0.2.2", "70-90", &["198.51.100.0/24"]),
            redirect("six", "2001:db8::1", "80", &[]),
            redirect("other", "192.0.2.1", "81", &[]),
        ];
        let names = |socket: InetSocket| {
            let sockets = Sockets { inet: vec![socket], ..Sockets::default() };
            let led = led(&sockets, &redirects);
            let [Led { redirects, .. }] = led.as_slice() else { return Vec::new() };
            redirects.iter().map(|redirect| redirect.name.clone()).collect()
        };
        assert_eq!(names(socket("0.0.0.0:80", None)), ["all", "range"]);
        assert_eq!(names(socket("192.0.2.2:80", None)), ["range"]);
        let both = InetSocket { both_families: true, ..socket("[::]:80", None) };
        assert_eq!(names(both), ["all", "range", "six"]);
        assert_eq!(names(socket("0.0.0.0:443", None)), [""; 0]);
        let udp = InetSocket { protocol: Protocol::Udp, ..socket("0.0.0.0:80", None) };
        assert_eq!(names(udp), [""; 0]);
        assert_eq!(names(socket("192.0.2.1:80", Some("198.51.100.7:9"))), [""; 0], "it is open");
    }

    #[test]
    fn a_connected_udp_socket_is_led_by_what_is_for_its_peer() {
        let sockets = Sockets {
            inet: vec![InetSocket {
                protocol: Protocol::Udp,
                ..socket("192.0.2.1:80", Some("198.51.100.7:9"))
            }],
            ..Sockets::default()
        };
        for (leads, home, peers) in [
            (true, "192.0.2.1", &[][..]),
            (true, "192.0.2.1", &["198.51.100.0/24"]),
            (false, "192.0.2.1", &["198.51.101.0/24"]),
            (false, "192.0.2.2", &[]),
        ] {
            let udp = vec![Protocol::Udp];
            let redirects = [Redirect { protocols: udp, ..redirect("x", home, "80", peers) }];
            assert_eq!(
                !led(&sockets, &redirects)[0].redirects.is_empty(),
                leads,
                "{home} {peers:?}"
            );
        }
    }

    #[test]
    fn names_tell_for_which_process_a_redirect_was_made() {
        for (named, name) in [
            (true, "nginx-4711-80"),
            (true, "Web-Content-4711-53-udp.6"),
            (false, "nginx-4711"),
            (false, "nginx-47110-80"),
            (false, "nginx-14711-80"),
            (false, "4711-80"),
            (false, "nginx-4711-old"),
        ] {
            assert_eq!(is_named_for(name, 4711), named, "{name}");
        }
    }
}
