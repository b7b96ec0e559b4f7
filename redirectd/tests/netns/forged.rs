//! What somebody else sends in the peer's or in home's name.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use xtask::lab::soon;

use crate::{
    echo::{self, Echo, ask},
    raw::{self, RawSender},
    scene::Scene,
};

/// Far from the window of a connection that has just begun, but for one chance
/// in 65,536.
const NOT_IN_THE_WINDOW: u32 = 0x5bad_5eed;

/// Sends a RST from `from` to `to` whose receiver does not believe it.
fn reset(scene: &Scene, from: &str, to: &str) -> Result<()> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse()?, to.parse()?);
    let sender = RawSender::new(&scene.lan.d, to.ip())?;
    sender.send(&raw::rst(from, to, NOT_IN_THE_WINDOW)?, to.ip())?;
    soon("the RST is noted", || (scene.state().ok()? == "closed").then_some(()))
}

/// A connection that a RST seems to close is an open one again for whoever goes
/// on with it.
#[test]
fn resets_are_taken_back_by_whoever_goes_on() -> Result<()> {
    let scene = Scene::tc()?;
    let _echo = Echo::tcp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    scene.add(&["echo", "10.0.0.2:7", "--to", "10.0.0.3:7000"])?;
    let mut connection = echo::connect(&scene.lan.peer, "10.0.0.2:7")?;
    assert_eq!(ask(&mut connection, b"before")?, 'c');
    assert_eq!(scene.state()?, "established");

    let peer = connection.local_addr()?.to_string();
    let snat = scene.flows()?[0]["snat_port"].as_u64().context("a port towards the host")?;
    let snat = format!("10.0.0.2:{snat}");
    for (from, to) in [(peer.as_str(), "10.0.0.2:7"), ("10.0.0.3:7000", snat.as_str())] {
        reset(&scene, from, to)?;
        assert_eq!(ask(&mut connection, b"I never said so")?, 'c', "after a RST from {from}");
        assert_eq!(scene.state()?, "established", "after a RST from {from}");
    }
    Ok(())
}

/// Datagrams from `sources`, which no peer on a wire can have, are not taken;
/// the server would send its answers to anybody.
fn strange_sources(sources: &[&str], home: &str, [peer, host]: [&str; 2]) -> Result<()> {
    let scene = Scene::tc()?;
    scene.lan.home.address("eth0", "10.0.0.22/24")?;
    scene.lan.home.address("eth0", "fd00::22/64")?;
    let server = echo::udp(&scene.lan.c, host)?;
    scene.add(&["strange", home, "--to", host, "--protocol", "udp"])?;
    let to: SocketAddr = home.parse()?;
    // A node asks for a neighbour in the name of its packet's source if that is
    // one of its own, and nobody answers 127.0.0.1; so that it must know before.
    scene.lan.d.run(&["ping", "-c", "1", &to.ip().to_string()])?;
    let sender = RawSender::new(&scene.lan.d, to.ip())?;
    for (source, before) in sources.iter().zip(0..) {
        assert_eq!(scene.reason("strange_source")?, before);
        sender.send(&raw::datagram(source.parse()?, to, b"strange")?, to.ip())?;
        soon(&format!("{source} is found strange"), || {
            (scene.reason("strange_source").ok()? == before + 1).then_some(())
        })?;
    }
    let flows = scene.flows()?;
    ensure!(flows.is_empty(), "flows of strange sources: {flows:#?}");

    // An ordinary one is taken, and is the first that the server hears of.
    let socket = echo::udp(&scene.lan.peer, peer)?;
    socket.send_to(b"ordinary", home)?;
    let mut heard = [0; 64];
    let length = soon("the server hears the peer", || server.recv(&mut heard).ok())?;
    assert_eq!(&heard[..length], b"ordinary");
    Ok(())
}

#[test]
fn strange_sources_over_ipv4() -> Result<()> {
    let sources = ["127.0.0.1:5000", "10.0.0.2:5000", "10.0.0.22:5000", "224.0.0.9:5000"];
    strange_sources(&sources, "10.0.0.2:7", ["10.0.0.1:5000", "10.0.0.3:7000"])
}

#[test]
fn strange_sources_over_ipv6() -> Result<()> {
    let sources = ["[::1]:5000", "[fd00::2]:5000", "[fd00::22]:5000"];
    strange_sources(&sources, "[fd00::2]:7", ["[fd00::1]:5000", "[fd00::3]:7000"])
}
