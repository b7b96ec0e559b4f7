//! A server moves to another machine and back, in one connection of its peers.

use anyhow::{Result, ensure};

use crate::{
    programs::{self, SELECT, Talk},
    scene::Scene,
};

/// There and back; the peer talks to `at`, the server is at `addresses` of c
/// and d, and listens at `listen`.
fn there_and_back(at: &str, listen: &str, addresses: [&str; 2]) -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.c.machine, SELECT, listen)?;
    scene.redirect_to(&scene.c)?;
    let mut talk = Talk::open(&scene.lan.peer, at)?;
    let mut other = Talk::open(&scene.lan.peer, at)?;
    assert_eq!(talk.line()?, addresses[0]);
    assert_eq!(other.line()?, addresses[0]);

    let trips = [(&scene.c, &scene.d, addresses[1]), (&scene.d, &scene.c, addresses[0])];
    for (from, to, address) in trips {
        scene.migrate(pid, from, to)?;
        ensure!(to.machine.has(pid) && !from.machine.has(pid), "{pid} is not where it should be");
        for _ in 0..20 {
            assert_eq!(talk.line()?, address);
            assert_eq!(other.line()?, address);
        }
        let mut new = Talk::open(&scene.lan.peer, at)?;
        assert_eq!(new.line()?, address);
    }
    Ok(())
}

#[test]
fn with_ipv4() -> Result<()> {
    there_and_back("10.0.0.2:7", "0.0.0.0", ["10.0.0.3", "10.0.0.4"])
}

#[test]
fn with_ipv6() -> Result<()> {
    there_and_back("[fd00::2]:7", "::", ["fd00::3", "fd00::4"])
}

#[test]
fn with_ipv4_on_a_socket_of_both() -> Result<()> {
    there_and_back("10.0.0.2:7", "::", ["::ffff:10.0.0.3", "::ffff:10.0.0.4"])
}

#[test]
fn of_a_listener_at_one_address() -> Result<()> {
    there_and_back("10.0.0.2:7", "10.0.0.3", ["10.0.0.3", "10.0.0.4"])
}
