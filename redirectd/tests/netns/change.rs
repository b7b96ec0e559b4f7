//! What becomes of open connections when a redirect changes or goes.

use std::io;

use anyhow::{Result, ensure};
use xtask::lab::{Lab, soon};

use crate::{
    echo::{self, Echo, ask},
    numbered::Numbered,
    scene::Scene,
};

const HOME: &str = "10.0.0.2:7";

/// Echo servers for TCP and UDP at port 7000 of c and d.
fn servers(scene: &Scene) -> Result<[Echo; 4]> {
    let (c, d) = (&scene.lan.c, &scene.lan.d);
    Ok([
        Echo::tcp(c, "10.0.0.3:7000", b'c')?,
        Echo::udp(c, "10.0.0.3:7000", b'c')?,
        Echo::tcp(d, "10.0.0.4:7000", b'd')?,
        Echo::udp(d, "10.0.0.4:7000", b'd')?,
    ])
}

/// Redirects the port of both protocols to `host`, whether it was or not.
fn redirect_to(scene: &Scene, host: &str, flows: &str) -> Result<()> {
    let target = format!("{host}:7000");
    let what = ["echo", HOME, "--to", &target, "--protocol", "tcp,udp"];
    scene.add(&[&what[..], &["--flows", flows, "--replace"]].concat())
}

#[test]
fn new_only_leaves_open_connections() -> Result<()> {
    let scene = Scene::alone()?;
    let _servers = servers(&scene)?;
    let peer = &scene.lan.peer;
    redirect_to(&scene, "10.0.0.3", "new-only")?;
    let mut old = echo::connect(peer, HOME)?;
    let stream = Numbered::start(peer, "10.0.0.1:5000", HOME, 200)?;
    assert_eq!(ask(&mut old, b"before")?, 'c');
    assert_eq!(stream.hear_more(20)?.by, 'c');

    redirect_to(&scene, "10.0.0.4", "new-only")?;
    let mut new = echo::connect(peer, HOME)?;
    assert_eq!(ask(&mut new, b"I am new")?, 'd');
    assert_eq!(ask(&mut old, b"after")?, 'c');
    assert_eq!(stream.hear_more(20)?.by, 'c');
    let fresh = Numbered::start(peer, "10.0.0.1:5001", HOME, 200)?;
    assert_eq!(fresh.hear_more(20)?.by, 'd');
    stream.finish().assert_complete();
    fresh.finish().assert_complete();
    Ok(())
}

/// UDP has no state at the servers, so that it goes on wherever it arrives.
fn follow(attach: &str) -> Result<()> {
    let scene = Scene::in_lab(Lab::alone()?, attach)?;
    scene.lan.keep_order()?;
    let _servers = servers(&scene)?;
    redirect_to(&scene, "10.0.0.3", "follow")?;
    let stream = Numbered::start(&scene.lan.peer, "10.0.0.1:5000", HOME, 1000)?;
    assert_eq!(stream.hear_more(200)?.by, 'c');
    redirect_to(&scene, "10.0.0.4", "follow")?;
    stream.hear_from('d')?;
    stream.hear_more(200)?;
    // Back and forth, as a process may move.
    redirect_to(&scene, "10.0.0.3", "follow")?;
    stream.hear_from('c')?;
    stream.hear_more(200)?;

    let report = stream.finish();
    report.assert_complete();
    // In the order of their numbers: c, then d, then c, and nothing between.
    let mut answers = report.answers.clone();
    answers.sort_by_key(|answer| answer.number);
    let mut by: Vec<char> = answers.iter().map(|answer| answer.by).collect();
    by.dedup();
    assert_eq!(by, ['c', 'd', 'c']);
    Ok(())
}

#[test]
fn follow_takes_open_connections_along_by_tc() -> Result<()> {
    follow("tc")
}

#[test]
fn follow_takes_open_connections_along_by_xdp() -> Result<()> {
    follow("xdp")
}

#[test]
fn removed_ones_drain() -> Result<()> {
    let scene = Scene::tc()?;
    let _servers = servers(&scene)?;
    redirect_to(&scene, "10.0.0.3", "new-only")?;
    let mut old = echo::connect(&scene.lan.peer, HOME)?;
    assert_eq!(ask(&mut old, b"before")?, 'c');

    scene.daemon.redirect(&["remove", "echo"])?;
    let refused = echo::connect(&scene.lan.peer, HOME).map(drop).map_err(|error| error.kind());
    assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused), "home's own again, for new ones");
    for word in [&b"after"[..], b"and on"] {
        assert_eq!(ask(&mut old, word)?, 'c');
    }
    ensure!(scene.flows()?.len() == 1, "the open connection is still a flow");
    // Home's own server takes the port, and the draining connection is not its.
    let _own = Echo::tcp(&scene.lan.home, HOME, b'h')?;
    let mut new = echo::connect(&scene.lan.peer, HOME)?;
    assert_eq!(ask(&mut new, b"I am new")?, 'h');
    assert_eq!(ask(&mut old, b"still there")?, 'c');
    Ok(())
}

#[test]
fn removed_now_are_cut() -> Result<()> {
    let scene = Scene::tc()?;
    let _servers = servers(&scene)?;
    redirect_to(&scene, "10.0.0.3", "new-only")?;
    let mut old = echo::connect(&scene.lan.peer, HOME)?;
    assert_eq!(ask(&mut old, b"before")?, 'c');
    let stream = Numbered::start(&scene.lan.peer, "10.0.0.1:5000", HOME, 200)?;
    assert_eq!(stream.hear_more(20)?.by, 'c');

    scene.daemon.redirect(&["remove", "echo", "--now"])?;
    // Home knows nothing of that connection, and says so.
    let cut = ask(&mut old, b"after").map_err(|error| error.kind());
    assert_eq!(cut, Err(io::ErrorKind::ConnectionReset));
    ensure!(scene.flows()?.is_empty(), "the flows are gone");
    let _own = Echo::udp(&scene.lan.home, HOME, b'h')?;
    soon("home's own server hears the peer", || (stream.hear_more(1).ok()?.by == 'h').then_some(()))
}
