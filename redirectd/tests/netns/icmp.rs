//! ICMP errors about redirected flows reach the right socket, in both
//! directions; ICMP to home itself is home's.

use std::{io, net::UdpSocket};

use anyhow::{Result, ensure};
use xtask::lab::{Nginx, soon};

use crate::{
    echo::{self, Echo},
    scene::Scene,
};

const V4: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const V6: [&str; 3] = ["[fd00::1]", "[fd00::2]", "[fd00::3]"];

/// The error that the kernel has for a connected socket, once it has one.
fn told(socket: &UdpSocket) -> Result<io::Error> {
    soon("the socket hears of an error", || match socket.recv(&mut [0; 64]) {
        Err(error) if heard(&error) => Some(error),
        _ => None,
    })
}

fn closed_port_at_the_host(attach: &str, [peer, home, host]: [&str; 3]) -> Result<()> {
    let scene = Scene::attached(attach)?;
    let (at_home, target) = (format!("{home}:7"), format!("{host}:7001"));
    scene.add(&["echo", &at_home, "--to", &target, "--protocol", "udp"])?;
    let socket = echo::udp(&scene.lan.peer, &format!("{peer}:0"))?;
    socket.connect(&at_home)?;
    socket.send(b"anybody there?")?;
    assert_eq!(told(&socket)?.kind(), io::ErrorKind::ConnectionRefused);
    Ok(())
}

#[test]
fn closed_port_at_the_host_over_ipv4_by_tc() -> Result<()> {
    closed_port_at_the_host("tc", V4)
}

#[test]
fn closed_port_at_the_host_over_ipv6_by_tc() -> Result<()> {
    closed_port_at_the_host("tc", V6)
}

#[test]
fn closed_port_at_the_host_over_ipv4_by_xdp() -> Result<()> {
    closed_port_at_the_host("xdp", V4)
}

#[test]
fn closed_port_at_the_host_over_ipv6_by_xdp() -> Result<()> {
    closed_port_at_the_host("xdp", V6)
}

/// As above, for peers on the host itself and on home: the message goes back by
/// the way the packet took.
fn closed_port_told_close_by([_, home, host]: [&str; 3]) -> Result<()> {
    let scene = Scene::tc()?;
    let (at_home, target) = (format!("{home}:7"), format!("{host}:7001"));
    scene.add(&["echo", &at_home, "--to", &target, "--protocol", "udp"])?;
    for (node, address) in [(&scene.lan.c, host), (&scene.lan.home, home)] {
        let socket = echo::udp(node, &format!("{address}:0"))?;
        socket.connect(&at_home)?;
        socket.send(b"anybody there?")?;
        assert_eq!(told(&socket)?.kind(), io::ErrorKind::ConnectionRefused, "{}", node.name());
    }
    let translated = scene.reason("icmp_translated")?;
    ensure!(translated == 2, "{translated} messages were translated");
    Ok(())
}

#[test]
fn closed_port_told_to_peers_close_by_over_ipv4() -> Result<()> {
    closed_port_told_close_by(V4)
}

#[test]
fn closed_port_told_to_peers_close_by_over_ipv6() -> Result<()> {
    closed_port_told_close_by(V6)
}

/// The peer is gone when the host answers: the server's socket is told.
fn closed_port_at_the_peer([peer, home, host]: [&str; 3]) -> Result<()> {
    let scene = Scene::tc()?;
    let (at_home, target) = (format!("{home}:7"), format!("{host}:7001"));
    scene.add(&["echo", &at_home, "--to", &target, "--protocol", "udp"])?;
    let server = echo::udp(&scene.lan.c, &target)?;
    let socket = echo::udp(&scene.lan.peer, &format!("{peer}:0"))?;
    socket.send_to(b"I shall not wait", &at_home)?;
    let mut buffer = [0; 64];
    let (_, from) = soon("the question arrives", || server.recv_from(&mut buffer).ok())?;
    drop(socket);
    server.connect(from)?;
    // Again and again: a kernel need not send a message for each (RFC 4443,
    // section 2.4 (f)). A socket that has heard of an error also tells the next
    // who sends.
    let told = soon("the server hears of an error", || {
        server.send(b"too late").and_then(|_| server.recv(&mut [0; 64])).err().filter(heard)
    })?;
    assert_eq!(told.kind(), io::ErrorKind::ConnectionRefused);
    Ok(())
}

/// Whether this is an error that the socket was told of.
fn heard(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::WouldBlock
}

#[test]
fn closed_port_at_the_peer_over_ipv4() -> Result<()> {
    closed_port_at_the_peer(V4)
}

#[test]
fn closed_port_at_the_peer_over_ipv6() -> Result<()> {
    closed_port_at_the_peer(V6)
}

/// Home is one hop of the way, as a router is: a packet that may make one hop
/// only ends there, and its sender is told.
fn last_hop([peer, home, host]: [&str; 3]) -> Result<()> {
    let scene = Scene::tc()?;
    let (at_home, target) = (format!("{home}:7"), format!("{host}:7001"));
    let _echo = Echo::udp(&scene.lan.c, &target, b'c')?;
    scene.add(&["echo", &at_home, "--to", &target, "--protocol", "udp"])?;
    let socket = echo::udp(&scene.lan.peer, &format!("{peer}:0"))?;
    socket.connect(&at_home)?;
    let ipv4 = socket.local_addr()?.is_ipv4();
    let (level, hops, errors) = if ipv4 {
        (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, libc::IPV6_RECVERR)
    };
    echo::set(&socket, level, errors, 1)?;
    echo::set(&socket, level, hops, 1)?;
    socket.send(b"one hop")?;
    // Time exceeded, as icmp(7) and ip(7) tell it to sockets.
    assert_eq!(told(&socket)?.raw_os_error(), Some(libc::EHOSTUNREACH));
    echo::set(&socket, level, hops, 2)?;
    echo::there_and_back(&socket, b"two hops")?;
    Ok(())
}

#[test]
fn last_hop_over_ipv4() -> Result<()> {
    last_hop(V4)
}

#[test]
fn last_hop_over_ipv6() -> Result<()> {
    last_hop(V6)
}

#[test]
fn closed_tcp_port_at_the_host_refuses() -> Result<()> {
    let scene = Scene::tc()?;
    scene.add_both("web", "tcp", 80, 8081)?;
    for home in ["10.0.0.2:80", "[fd00::2]:80"] {
        let refused = echo::connect(&scene.lan.peer, home).map(drop).map_err(|e| e.kind());
        assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused), "{home}");
    }
    Ok(())
}

#[test]
fn echo_to_home_is_answered_by_home() -> Result<()> {
    let scene = Scene::tc()?;
    let _nginx = Nginx::start(&scene.lan.c, &["10.0.0.3:8080", "[fd00::3]:8080"])?;
    scene.add_both("web", "tcp", 80, 8080)?;
    // An echo request for c's address goes to c, one for home's to home, which
    // is asked not to answer in the end.
    let ping = |address: &str| {
        scene.lan.peer.try_run(&["ping", "-c", "3", "-i", "0.02", "-W", "1", address])
    };
    for address in ["10.0.0.2", "fd00::2", "10.0.0.3"] {
        let said = ping(address)?.success()?;
        ensure!(said.contains("3 received"), "{said}");
    }
    scene.lan.home.sysctl("net/ipv4/icmp_echo_ignore_all", "1")?;
    ensure!(ping("10.0.0.2")?.stdout.contains("0 received"), "somebody else answered for home");
    Ok(())
}
