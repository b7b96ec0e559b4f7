//! Floods at redirected ports, of SYNs and of datagrams from sources that do not
//! exist, fill nothing that matters.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Lan, soon, until};

use crate::{
    echo::{self, Echo, ask},
    raw::{self, RawSender},
    scene::Scene,
};

/// Many times what the tables of a test's daemon hold.
const PACKETS: u32 = 60_000;
/// New clients during the flood.
const CLIENTS: u32 = 100;
/// However slow the machine is, the flood ends by then.
const AT_MOST: Duration = Duration::from_secs(20);

/// Sends what `packet` makes for a source and a number, each from another source
/// that does not exist, as fast as that goes while `room` says that there is some.
fn flood(
    sender: &RawSender,
    packet: impl Fn(SocketAddr, SocketAddr, u32) -> Result<Vec<u8>>,
    room: impl Fn() -> Result<bool>,
    sent: &AtomicU32,
    stop: &AtomicBool,
) -> Result<()> {
    let home: SocketAddr = "10.0.0.2:7".parse()?;
    let begin = Instant::now();
    // The places of a full-period generator: no source comes twice.
    let mut place: u32 = 1;
    while sent.load(Ordering::Relaxed) < PACKETS {
        if begin.elapsed() > AT_MOST || stop.load(Ordering::Relaxed) {
            break;
        }
        if !room()? {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        place = place.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, _, third, fourth] = place.to_be_bytes();
        let port = 1024 + (place >> 17) as u16;
        let source = SocketAddr::from((Ipv4Addr::new(10, 66, third, fourth), port));
        sender.send(&packet(source, home, place)?, home.ip())?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Floods home from d while `during` goes on.
fn flooded(
    scene: &Scene,
    packet: impl Fn(SocketAddr, SocketAddr, u32) -> Result<Vec<u8>> + Send,
    room: impl Fn() -> Result<bool> + Send,
    during: impl FnOnce(&AtomicU32) -> Result<()>,
) -> Result<()> {
    let sender = RawSender::new(&scene.lan.d, "10.0.0.2".parse()?)?;
    let (sent, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&sender, packet, room, &sent, &stop));
        let during = during(&sent);
        stop.store(during.is_err(), Ordering::Relaxed);
        flood.join().expect("the flood does not panic")?;
        during
    })
}

#[test]
fn of_syns_from_nowhere() -> Result<()> {
    let scene = Scene::alone()?;
    let Lan { peer, home, c, d, .. } = &scene.lan;
    // SYN-ACKs to the sources go to d, which drops them.
    home.route("10.66.0.0/16", "10.0.0.4")?;
    d.ip(&["route", "add", "blackhole", "10.66.0.0/16"])?;
    c.sysctl("net/ipv4/tcp_syncookies", "2")?;
    let _echo = Echo::tcp(c, "10.0.0.3:7000", b'c')?;
    scene.add(&["echo", "10.0.0.2:7", "--to", "10.0.0.3:7000"])?;
    let mut established = Vec::new();
    for _ in 0..50 {
        established.push(echo::connect(peer, "10.0.0.2:7")?);
    }

    let room = || Ok(true);
    flooded(&scene, raw::syn, room, |sent| during_the_flood(&scene, &mut established, sent))?;

    // Every connection of before is still there, and nothing was pushed out.
    for connection in &mut established {
        assert_eq!(ask(connection, b"after")?, 'c');
    }
    let stats = scene.daemon.json(&["stats"])?;
    let tables = stats["tables"].as_array().context("there are tables")?;
    for table in tables {
        let (used, size) = (table["used"].as_u64(), table["size"].as_u64());
        ensure!(used <= size, "{table}");
        let half_open = table["table"].as_str().is_some_and(|name| name.contains("half_open"));
        ensure!(half_open || used.zip(size).is_some_and(|(used, size)| used < size / 2), "{table}");
    }
    Ok(())
}

/// While the flood lasts, new clients are let in and old ones answered.
fn during_the_flood(
    scene: &Scene,
    established: &mut [std::net::TcpStream],
    sent: &AtomicU32,
) -> Result<()> {
    for client in 0..CLIENTS {
        // Spread over the flood, from a twentieth of it on.
        let enough = PACKETS / 20 + PACKETS / 10 * 9 / CLIENTS * client;
        until(AT_MOST, "the flood goes on", || {
            (sent.load(Ordering::Relaxed) >= enough).then_some(())
        })?;
        let mut new = echo::connect(&scene.lan.peer, "10.0.0.2:7").context("a new client")?;
        assert_eq!(ask(&mut new, b"during")?, 'c');
        let old = client as usize % established.len();
        assert_eq!(ask(&mut established[old], b"during")?, 'c');
    }
    Ok(())
}

/// The server answers each datagram, so that only the peer's next word tells a
/// client from a forged source.
#[test]
fn of_datagrams_from_nowhere() -> Result<()> {
    let scene = Scene::alone()?;
    let Lan { peer, home, c, d, .. } = &scene.lan;
    // The answers to the sources go to d, which drops them.
    home.route("10.66.0.0/16", "10.0.0.4")?;
    d.ip(&["route", "add", "blackhole", "10.66.0.0/16"])?;
    let _tcp = Echo::tcp(c, "10.0.0.3:7000", b'c')?;
    let server = echo::udp(c, "10.0.0.3:7000")?;
    let _udp = Echo::at(server.try_clone()?, b'c')?;
    scene.add(&["echo", "10.0.0.2:7", "--to", "10.0.0.3:7000", "--protocol", "tcp,udp"])?;
    let mut established = vec![echo::connect(peer, "10.0.0.2:7")?];
    let client = || -> Result<UdpSocket> {
        let socket = echo::udp(peer, "10.0.0.1:0")?;
        socket.connect("10.0.0.2:7")?;
        Ok(socket)
    };
    // Under a flood a datagram may be lost before home, so that they ask again.
    let answered = |socket: &UdpSocket| {
        soon("a datagram is answered", || {
            socket.send(b"again").ok()?;
            socket.recv(&mut [0; 64]).ok()
        })
    };
    let old = client()?;
    echo::there_and_back(&old, b"once")?;
    echo::there_and_back(&old, b"established")?;
    let before = scene.flows()?;

    let datagram = |from, to, _| raw::datagram(from, to, b"from nowhere");
    // What finds no room at a server that does not run is never answered.
    let room = || echo::is_half_full(&server).map(|full| !full);
    flooded(&scene, datagram, room, |sent| {
        during_the_flood(&scene, &mut established, sent)?;
        answered(&old)?;
        for _ in 0..5 {
            let new = client()?;
            answered(&new).context("a new client")?;
            answered(&new).context("a new client's second question")?;
        }
        Ok(())
    })?;

    assert_eq!(ask(&mut established[0], b"after")?, 'c');
    let port = old.local_addr()?.to_string();
    let of = |flows: &[Value]| flows.iter().find(|flow| flow["peer"] == port).cloned();
    let after = scene.flows()?;
    let (before, now) = (of(&before).context("a flow")?, of(&after).context("the flow is left")?);
    ensure!(now["snat_port"] == before["snat_port"], "{before:#}\n{now:#}");
    ensure!(now["state"] == "established", "{now:#}");
    held_half_open(&scene)
}

/// Sources that do not exist have got no flow, though they were answered: what the
/// server has been sent last, it may still have to read.
fn held_half_open(scene: &Scene) -> Result<()> {
    let forged = || -> Result<Vec<Value>> {
        let from_nowhere = |flow: &Value| {
            flow["peer"].as_str().is_some_and(|address| address.starts_with("10.66."))
        };
        Ok(scene.flows()?.into_iter().filter(from_nowhere).collect())
    };
    let flows = forged()?.len();
    ensure!(flows > 500, "the flood did not come through: {flows} flows");
    soon("the server has answered more than half of them", || {
        let forged = forged().ok()?;
        let answered = forged.iter().filter(|flow| flow["to_peer"]["packets"] != 0).count();
        (answered > forged.len() / 2 && forged.len() > 500).then_some(())
    })?;
    let forged = forged()?;
    let taken = forged.iter().find(|flow| flow["state"] != "half-open");
    ensure!(taken.is_none(), "a source that does not exist got a flow: {taken:#?}");
    Ok(())
}
