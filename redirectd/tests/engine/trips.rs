//! A server moves from machine to machine and home again, in one connection of
//! its peers.

use anyhow::{Result, ensure};

use crate::{
    programs::{self, SELECT, Talk},
    scene::Scene,
};

/// Home → c → d → c → home. The peer talks to `at`; the server listens at `listen`
/// and sees itself at `addresses` of home, c and d.
fn round_trip(at: &str, listen: &str, addresses: [&str; 3]) -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, SELECT, listen)?;
    let mut talk = Talk::open(&scene.lan.peer, at)?;
    let mut other = Talk::open(&scene.lan.peer, at)?;
    assert_eq!(talk.line()?, addresses[0]);
    assert_eq!(other.line()?, addresses[0]);

    let (home, c, d) =
        ((&scene.home, addresses[0]), (&scene.c, addresses[1]), (&scene.d, addresses[2]));
    let mut begun = Vec::new();
    for ((from, _), (to, address)) in [(home, c), (c, d), (d, c), (c, home)] {
        scene.migrate(pid, from, to)?;
        ensure!(to.machine.has(pid) && !from.machine.has(pid), "{pid} is not where it should be");
        for _ in 0..20 {
            assert_eq!(talk.line()?, address);
            assert_eq!(other.line()?, address);
        }
        // Those that began on other machines, and one that begins here.
        begun.push(Talk::open(&scene.lan.peer, at)?);
        for talk in &mut begun {
            assert_eq!(talk.line()?, address);
        }
    }
    Ok(())
}

#[test]
fn with_ipv4() -> Result<()> {
    round_trip("10.0.0.2:7000", "0.0.0.0", ["10.0.0.2", "10.0.0.3", "10.0.0.4"])
}

#[test]
fn with_ipv6() -> Result<()> {
    round_trip("[fd00::2]:7000", "::", ["fd00::2", "fd00::3", "fd00::4"])
}

#[test]
fn with_ipv4_on_a_socket_of_both() -> Result<()> {
    let addresses = ["::ffff:10.0.0.2", "::ffff:10.0.0.3", "::ffff:10.0.0.4"];
    round_trip("10.0.0.2:7000", "::", addresses)
}

#[test]
fn of_a_listener_at_one_address() -> Result<()> {
    round_trip("10.0.0.2:7000", "10.0.0.2", ["10.0.0.2", "10.0.0.3", "10.0.0.4"])
}
