//! Datagrams that come while a process is being moved: held, and delivered in
//! order to where it is then.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use redirectd::{
    dataplane::{Dataplane as _, Replayed},
    rule::{Flows, Mode, PortRange, Protocol, Redirect},
};
use xtask::lab::{Lab, soon};

use crate::{
    echo::{self, Echo},
    numbered::Numbered,
    relocate::Mover,
    scene::Scene,
};

/// The addresses of one family.
pub(crate) struct Ends {
    pub(crate) peer: &'static str,
    pub(crate) home: &'static str,
    pub(crate) c: &'static str,
    pub(crate) d: &'static str,
}

pub(crate) const V4: Ends =
    Ends { peer: "10.0.0.1:5000", home: "10.0.0.2:7", c: "10.0.0.3:7000", d: "10.0.0.4:7000" };

pub(crate) const V6: Ends =
    Ends { peer: "[fd00::1]:5000", home: "[fd00::2]:7", c: "[fd00::3]:7000", d: "[fd00::4]:7000" };

/// Redirects `home` to c.
pub(crate) fn redirect(scene: &Scene, ends: &Ends) -> Result<()> {
    let what = ["echo", ends.home, "--to", ends.c, "--protocol", "tcp,udp", "--flows", "follow"];
    scene.add(&[&what[..], &["--no-check"]].concat())
}

/// Asserts that nothing was lost in the delivery, that something was held, and
/// nothing of it sent again.
pub(crate) fn assert_delivered(replayed: &Replayed, packets: u64) {
    assert_eq!(replayed.lost, 0, "{replayed:?}");
    assert_eq!(replayed.held.overflow.packets, 0, "{replayed:?}");
    assert!(replayed.held.traffic.packets >= packets, "{replayed:?}");
    assert_eq!(replayed.held.retransmissions(), 0, "{replayed:?}");
}

fn datagrams(attach: &str, ends: &Ends) -> Result<()> {
    let mut scene = Scene::in_lab(Lab::alone()?, if attach == "xdp" { "xdp" } else { "tc" })?;
    scene.lan.keep_order()?;
    let _servers = (Echo::udp(&scene.lan.c, ends.c, b'c')?, Echo::udp(&scene.lan.d, ends.d, b'd')?);
    redirect(&scene, ends)?;
    let mut mover = if attach == "clsact" {
        Mover::take_over_by_clsact(&mut scene)?
    } else {
        Mover::take_over(&mut scene)?
    };
    let stream = Numbered::start(&scene.lan.peer, ends.peer, ends.home, 1000)?;
    assert_eq!(stream.hear_more(100)?.by, 'c');

    let group = mover.park(&["echo"], ends.d)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.commit(group)?, 100);
    stream.hear_from('d')?;
    stream.hear_more(100)?;
    // And once more, but it stays where it is.
    let group = mover.park(&["echo"], ends.c)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.abort(group)?, 100);
    stream.hear_more(100)?;
    // And back, with nothing held before the flip.
    let group = mover.begin(&["echo"], ends.c)?;
    mover.commit(group)?;
    stream.hear_from('c')?;
    stream.hear_more(100)?;
    stream.finish().assert_in_turn(&['c', 'd', 'c']);
    ensure!(mover.at_home(|bpf| bpf.groups())?.is_empty(), "no group is left over");
    Ok(())
}

#[test]
fn datagrams_keep_their_order_by_tc() -> Result<()> {
    datagrams("tc", &V4)?;
    datagrams("tc", &V6)
}

/// As on kernels before 6.6.
#[test]
fn datagrams_keep_their_order_by_clsact() -> Result<()> {
    datagrams("clsact", &V4)
}

/// On such kernels nothing is removed when a daemon dies.
#[test]
fn a_filter_that_a_daemon_has_left_is_removed() -> Result<()> {
    let mut scene = Scene::tc()?;
    redirect(&scene, &V4)?;
    let mut mover = Mover::take_over_by_clsact(&mut scene)?;
    mover.begin(&["echo"], V4.d)?;
    // The next daemon gives up what the dead one had begun.
    let mut mover = mover.die_and_come_again(&mut scene)?;
    let groups = mover.at_home(|bpf| bpf.groups())?;
    assert!(groups.is_empty(), "{groups:?}");
    let group = mover.begin(&["echo"], V4.d)?;
    mover.commit(group)?;
    Ok(())
}

#[test]
fn datagrams_keep_their_order_by_xdp() -> Result<()> {
    datagrams("xdp", &V4)?;
    datagrams("xdp", &V6)
}

/// The redirect of a process that is at home: it leads to where it comes from.
pub(crate) fn at_home(ends: &Ends) -> Result<Redirect> {
    let home: SocketAddr = ends.home.parse()?;
    Ok(Redirect {
        name: "echo".to_owned(),
        protocols: vec![Protocol::Tcp, Protocol::Udp],
        home: home.ip(),
        ports: PortRange::single(home.port())?,
        target: home.ip(),
        target_port: home.port(),
        host: None,
        peers: Vec::new(),
        mode: Mode::Nat,
        flows: Flows::Follow,
    })
}

/// Away from home, and home again. The peer is where `from` is an address of.
fn there_and_back(attach: &str, ends: &Ends, from: &str) -> Result<()> {
    let mut scene = Scene::in_lab(Lab::alone()?, attach)?;
    scene.lan.keep_order()?;
    let from_home = from != ends.peer;
    let peer = if from_home { scene.lan.home.clone() } else { scene.lan.peer.clone() };
    let servers =
        (Echo::udp(&scene.lan.home, ends.home, b'h')?, Echo::udp(&scene.lan.c, ends.c, b'c')?);
    let mut mover = Mover::take_over(&mut scene)?;
    mover.add(at_home(ends)?)?;
    let stream = Numbered::start(&peer, from, ends.home, 1000)?;
    assert_eq!(stream.hear_more(100)?.by, 'h');

    let group = mover.park(&["echo"], ends.d)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.abort(group)?, 100);
    stream.hear_more(100)?;
    let group = mover.park(&["echo"], ends.c)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.commit(group)?, 100);
    stream.hear_from('c')?;
    stream.hear_more(100)?;
    let group = mover.park(&["echo"], ends.home)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.commit(group)?, 100);
    stream.hear_from('h')?;
    stream.hear_more(100)?;
    stream.finish().assert_in_turn(&['h', 'c', 'h']);
    let flows = mover.at_home(|bpf| {
        let mut flows = 0;
        bpf.flows(&mut |_| flows += 1).map(|()| flows)
    })?;
    assert_eq!(flows, 0, "at home there are no flows");
    drop(servers);
    Ok(())
}

#[test]
fn a_process_leaves_home_and_comes_back_by_tc() -> Result<()> {
    there_and_back("tc", &V4, V4.peer)?;
    there_and_back("tc", &V6, V6.peer)
}

/// Its packets come in by `lo`, and do so again.
#[test]
fn a_process_leaves_a_peer_on_home_and_comes_back() -> Result<()> {
    there_and_back("tc", &V4, "10.0.0.2:5000")?;
    there_and_back("tc", &V6, "[fd00::2]:5000")
}

#[test]
fn a_process_leaves_home_and_comes_back_by_xdp() -> Result<()> {
    there_and_back("xdp", &V4, V4.peer)?;
    there_and_back("xdp", &V6, V6.peer)
}

/// The first fragment is held, the others are copied as they always are: they come
/// out together where the process is then.
fn fragments(ends: &Ends) -> Result<()> {
    let mut scene = Scene::tc()?;
    let _servers = (
        Echo::udp(&scene.lan.home, ends.home, b'h')?,
        Echo::udp(&scene.lan.c, ends.c, b'c')?,
        Echo::udp(&scene.lan.d, ends.d, b'd')?,
    );
    let mut mover = Mover::take_over(&mut scene)?;
    mover.add(at_home(ends)?)?;
    let socket = echo::udp(&scene.lan.peer, ends.peer)?;
    socket.connect(ends.home)?;
    let data: Vec<u8> = (0..=250).cycle().take(9_000).collect();
    let mut answer = vec![0; 65_536];
    for (target, name) in [(ends.c, b'c'), (ends.d, b'd'), (ends.home, b'h')] {
        let group = mover.park(&["echo"], target)?;
        socket.send(&data)?;
        mover.held(group, 1)?;
        assert_delivered(&mover.commit(group)?, 1);
        let length = soon("the answer comes", || socket.recv(&mut answer).ok())?;
        assert_eq!(answer[0], name);
        assert_eq!(answer[1..length], data);
    }
    Ok(())
}

#[test]
fn datagrams_in_fragments_come_out_whole() -> Result<()> {
    fragments(&V4)?;
    fragments(&V6)
}
