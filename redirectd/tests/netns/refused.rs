//! Flows for which there is no room are refused, and their peers told at once;
//! nobody else notices.

use std::{io, net::UdpSocket};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Lab, soon};

use crate::{
    echo::{self, Echo, ask, there_and_back},
    scene::Scene,
};

/// What connections and sockets are told by ICMP's «communication
/// administratively prohibited» (icmp(7), ipv6(7)).
const PROHIBITED_V4: i32 = libc::EHOSTUNREACH;
const PROHIBITED_V6: i32 = libc::EACCES;

/// How many new flows of the redirect `name` were refused.
fn refused(scene: &Scene, name: &str) -> Result<u64> {
    scene.counters(name)?["flows_refused"].as_u64().context("a count of refused flows")
}

/// What becomes of a question on a connected socket: an answer, or an error.
fn outcome(socket: &UdpSocket, question: &[u8]) -> Result<io::Result<usize>> {
    socket.send(question)?;
    soon("an answer or an error comes", || match socket.recv(&mut [0; 64]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        known => Some(known),
    })
}

#[test]
fn by_a_full_table() -> Result<()> {
    let rest = "tables: { redirects: 64, flows: 4, half_open: 64 }\ntimers: { tcp_transitory: 1s }";
    let scene = Scene::configured(Lab::new()?, rest)?;
    let peer = &scene.lan.peer;
    let _v4 = Echo::tcp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    let _v6 = Echo::tcp(&scene.lan.c, "[fd00::3]:7000", b'c')?;
    scene.add_both("echo", "tcp", 7, 7000)?;
    scene.add_both("datagram", "udp", 7, 7000)?;
    let endpoints = [("10.0.0.2:7", PROHIBITED_V4), ("[fd00::2]:7", PROHIBITED_V6)];
    let mut open = Vec::new();
    for (home, _) in [endpoints, endpoints].concat() {
        let mut connection = echo::connect(peer, home)?;
        // Its first word also completes the handshake at home.
        assert_eq!(ask(&mut connection, b"room")?, 'c');
        open.push(connection);
    }

    for (home, error) in endpoints {
        let told = echo::connect(peer, home).map(drop).map_err(|error| error.raw_os_error());
        assert_eq!(told, Err(Some(error)), "a connection to {home}");
        let any = if home.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = echo::udp(peer, any)?;
        socket.connect(home)?;
        let told = outcome(&socket, b"room?")?.map_err(|error| error.raw_os_error());
        assert_eq!(told, Err(Some(error)), "a datagram to {home}");
    }
    let mut refusals = 0;
    for family in ["4", "6"] {
        assert_eq!(refused(&scene, &format!("datagram-{family}"))?, 1, "one datagram was sent");
        // Linux may be told of a SYN while connect(2) still holds the socket; it
        // believes that only when the second SYN, a second later, is refused too.
        let syns = refused(&scene, &format!("echo-{family}"))?;
        assert!((1..=2).contains(&syns), "{syns} SYNs over IPv{family}: it was not told at once");
        refusals += 1 + syns;
    }
    assert_eq!(scene.reason("table_full")?, refusals);
    for connection in &mut open {
        assert_eq!(ask(connection, b"nothing happened")?, 'c');
    }

    // One ends, and when it has expired there is room for one.
    open.pop();
    let mut new = soon("there is room", || echo::connect(peer, "10.0.0.2:7").ok())?;
    assert_eq!(ask(&mut new, b"I am new")?, 'c');
    let full = echo::connect(peer, "10.0.0.2:7").map(drop).map_err(|error| error.raw_os_error());
    assert_eq!(full, Err(Some(PROHIBITED_V4)), "there was room for one");
    Ok(())
}

/// Peers at several addresses that use one port, which only one of them can
/// have towards the host; two more have those of `snat_ports`.
fn ports(peers: [&str; 4], home: &str, host: &str, error: i32) -> Result<()> {
    let rest = "snat_ports: 61000-61001\ntimers: { udp: 2s, udp_unreplied: 1s }
tables: { redirects: 64, flows: 64, half_open: 64 }";
    let scene = Scene::configured(Lab::new()?, rest)?;
    let peer = &scene.lan.peer;
    let _echo = Echo::udp(&scene.lan.c, host, b'c')?;
    scene.add(&["echo", home, "--to", host, "--protocol", "udp"])?;
    let mut sockets = Vec::new();
    for (address, number) in peers.iter().zip(0..) {
        if number > 0 {
            let prefix = if address.starts_with('[') { 64 } else { 24 };
            let address = address.trim_matches(['[', ']']);
            peer.address("eth0", &format!("{address}/{prefix}"))?;
        }
        let socket = echo::udp(peer, &format!("{address}:5000"))?;
        socket.connect(home)?;
        sockets.push(socket);
    }
    let [first, second, third, late] = &sockets[..] else { unreachable!("there are four") };
    for socket in [first, second, third] {
        // A flow whose peer speaks after the answer cannot be pushed out.
        there_and_back(socket, b"a port")?;
        there_and_back(socket, b"and to keep it")?;
    }
    let told = outcome(late, b"a port?")?.map_err(|error| error.raw_os_error());
    assert_eq!(told, Err(Some(error)));
    assert_eq!((scene.reason("ports_exhausted")?, refused(&scene, "echo")?), (1, 1));

    // The third one falls silent, and its port becomes the late one's.
    soon("a port is free", || {
        let kept = [first, second].iter().all(|socket| there_and_back(socket, b"kept").is_ok());
        assert!(kept, "a flow lost its port");
        outcome(late, b"a port?").ok()?.ok()
    })?;
    let flows = scene.flows()?;
    let ports: Vec<_> = flows.iter().filter_map(|flow| flow["snat_port"].as_u64()).collect();
    let expected = [5000, 61000, 61001];
    ensure!(expected.iter().all(|port| ports.contains(port)) && ports.len() == 3, "{flows:#?}");
    Ok(())
}

#[test]
fn by_exhausted_ports_over_ipv4() -> Result<()> {
    let peers = ["10.0.0.1", "10.0.0.11", "10.0.0.12", "10.0.0.13"];
    ports(peers, "10.0.0.2:7", "10.0.0.3:7000", PROHIBITED_V4)
}

#[test]
fn by_exhausted_ports_over_ipv6() -> Result<()> {
    let peers = ["[fd00::1]", "[fd00::11]", "[fd00::12]", "[fd00::13]"];
    ports(peers, "[fd00::2]:7", "[fd00::3]:7000", PROHIBITED_V6)
}
