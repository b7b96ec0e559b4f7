//! Which packets a redirect is for: ranges of ports, and some peers only.

use std::io;

use anyhow::Result;

use crate::{
    echo::{self, Echo, ask},
    scene::Scene,
};

#[test]
fn a_range_of_ports_goes_to_a_range_of_ports() -> Result<()> {
    let scene = Scene::tc()?;
    let c = &scene.lan.c;
    let _servers = [
        Echo::tcp(c, "10.0.0.3:9000", b'1')?,
        Echo::tcp(c, "10.0.0.3:9001", b'2')?,
        Echo::tcp(c, "10.0.0.3:9002", b'3')?,
        Echo::tcp(c, "10.0.0.3:9003", b'4')?,
    ];
    scene.add(&["range", "10.0.0.2:8000-8002", "--to", "10.0.0.3:9000"])?;
    for (port, name) in [(8000, '1'), (8001, '2'), (8002, '3')] {
        let mut connection = echo::connect(&scene.lan.peer, &format!("10.0.0.2:{port}"))?;
        assert_eq!(ask(&mut connection, b"which?")?, name);
    }
    for port in [7999, 8003] {
        let outside = echo::connect(&scene.lan.peer, &format!("10.0.0.2:{port}"));
        assert_eq!(outside.map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionRefused));
    }
    Ok(())
}

/// The longest prefix decides; peers of none are home's own.
fn some_peers(home: &str, hosts: [&str; 2], prefixes: [&str; 2]) -> Result<()> {
    let scene = Scene::tc()?;
    let (c, d) = (format!("{}:7000", hosts[0]), format!("{}:7000", hosts[1]));
    let _c = Echo::tcp(&scene.lan.c, &c, b'c')?;
    let _d = Echo::tcp(&scene.lan.d, &d, b'd')?;
    let _home = Echo::tcp(&scene.lan.home, home, b'h')?;
    let who = |host| -> Result<char> { Ok(ask(&mut echo::connect(host, home)?, b"who?")?) };
    scene.add(&["wide", home, "--to", &c, "--peer", prefixes[0]])?;
    assert_eq!((who(&scene.lan.peer)?, who(&scene.lan.d)?), ('c', 'h'));
    scene.add(&["narrow", home, "--to", &d, "--peer", prefixes[1]])?;
    assert_eq!((who(&scene.lan.peer)?, who(&scene.lan.d)?), ('d', 'h'));
    scene.daemon.redirect(&["remove", "narrow"])?;
    assert_eq!((who(&scene.lan.peer)?, who(&scene.lan.d)?), ('c', 'h'));
    Ok(())
}

#[test]
fn some_peers_over_ipv4() -> Result<()> {
    some_peers("10.0.0.2:7", ["10.0.0.3", "10.0.0.4"], ["10.0.0.0/31", "10.0.0.1/32"])
}

#[test]
fn some_peers_over_ipv6() -> Result<()> {
    some_peers("[fd00::2]:7", ["[fd00::3]", "[fd00::4]"], ["fd00::/127", "fd00::1/128"])
}
