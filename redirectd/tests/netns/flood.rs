//! A SYN flood at a redirected port fills nothing that matters.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Lan, until};

use crate::{
    echo::{self, Echo, ask},
    raw::{self, RawSender},
    scene::Scene,
};

/// Many times what the tables of a test's daemon hold.
const SYNS: u32 = 60_000;
/// New clients during the flood.
const CLIENTS: u32 = 100;
/// However slow the machine is, the flood ends by then.
const AT_MOST: Duration = Duration::from_secs(20);

/// Sends SYNs from sources that do not exist, each from another one, as fast as
/// that goes.
fn flood(sender: &RawSender, sent: &AtomicU32, stop: &AtomicBool) -> Result<()> {
    let home: SocketAddr = "10.0.0.2:7".parse()?;
    let begin = Instant::now();
    // The places of a full-period generator: no source comes twice.
    let mut place: u32 = 1;
    for _ in 0..SYNS {
        if begin.elapsed() > AT_MOST || stop.load(Ordering::Relaxed) {
            break;
        }
        place = place.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, _, third, fourth] = place.to_be_bytes();
        let port = 1024 + (place >> 17) as u16;
        let source = SocketAddr::from((Ipv4Addr::new(10, 66, third, fourth), port));
        sender.send(&raw::syn(source, home, place)?, home.ip())?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
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

    let sender = RawSender::new(d, "10.0.0.2".parse()?)?;
    let (sent, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&sender, &sent, &stop));
        let during = during_the_flood(&scene, &mut established, &sent);
        stop.store(during.is_err(), Ordering::Relaxed);
        flood.join().expect("the flood does not panic")?;
        during
    })?;

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
        let enough = SYNS / 20 + SYNS / 10 * 9 / CLIENTS * client;
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
