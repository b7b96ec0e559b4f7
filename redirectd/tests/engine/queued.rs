//! Datagrams that the process has not read when it is frozen.

use anyhow::{Context as _, Result};
use redirectd::migrate::criu::datagrams::waiting;
use xtask::lab::{Machine, soon};

use crate::{
    nodes::{PID, Two},
    programs::{self, Datagrams, GATED, Talk},
    scene::{Place, Scene},
};

/// Waits until so many datagrams wait at the server, which does not read them.
fn wait_for(place: &Place, pid: i32, count: usize) -> Result<()> {
    wait_on(&place.machine, pid, count)
}

fn wait_on(machine: &Machine, pid: i32, count: usize) -> Result<()> {
    let outside = machine.outside(pid).context("it runs there")?;
    let queued = || (waiting(&[outside]).ok()?.len() == count).then_some(());
    soon("datagrams wait at the server", queued)
}

/// Home → c → d → home, each time with datagrams of two peers that wait.
fn all_are_answered(at: &str, listen: &str) -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, GATED, listen)?;
    let mut talk = Talk::open(&scene.lan.peer, at)?;
    let peers = [Datagrams::open(&scene.lan.peer, at)?, Datagrams::open(&scene.lan.peer, at)?];
    let (home, c, d) = (&scene.home, &scene.c, &scene.d);
    for (from, to) in [(home, c), (c, d), (d, home)] {
        assert_eq!(talk.line()?, "0");
        let first = [b"first".to_vec(), vec![7; 5000], b"third".to_vec()];
        for data in &first {
            peers[0].say(data)?;
        }
        peers[1].say(b"mine")?;
        wait_for(from, pid, 4)?;
        scene.migrate(pid, from, to)?;
        assert_eq!(talk.line()?, "4", "from {} to {}", from.name(), to.name());
        for data in &first {
            assert_eq!(&peers[0].hear()?, data);
        }
        assert_eq!(peers[1].hear()?, b"mine");
    }
    Ok(())
}

#[test]
fn with_ipv4() -> Result<()> {
    all_are_answered("10.0.0.2:7000", "0.0.0.0")
}

#[test]
fn with_ipv6() -> Result<()> {
    all_are_answered("[fd00::2]:7000", "::")
}

/// With all that `redirect migrate` puts between: out, and home again.
#[test]
fn by_the_command() -> Result<()> {
    let two = Two::joined()?;
    two.serve(GATED)?;
    let mut talk = Talk::open(two.peer(), "10.0.0.2:7000")?;
    let peer = Datagrams::open(two.peer(), "10.0.0.2:7000")?;
    for (from, to) in [(&two.home, "c"), (&two.c, "home")] {
        assert_eq!(talk.line()?, "0");
        for data in [b"first", b"other"] {
            peer.say(data)?;
        }
        wait_on(from, PID, 2)?;
        two.run(&[], to, &[])?.success()?;
        assert_eq!(talk.line()?, "2", "to {to}");
        for data in [b"first", b"other"] {
            assert_eq!(&peer.hear()?, data);
        }
    }
    Ok(())
}
