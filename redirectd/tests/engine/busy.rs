//! Connections that are never still while their server moves.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::soon;

use crate::{
    programs::{self, MIRROR, SELECT, Talk},
    scene::{Place, Scene},
};

const HOME: &str = "10.0.0.2:7000";

/// Home → c → d → home; calls `at_each` on each.
fn tour(scene: &Scene, pid: i32, mut at_each: impl FnMut(&Place) -> Result<()>) -> Result<()> {
    at_each(&scene.home)?;
    for (from, to) in [(&scene.home, &scene.c), (&scene.c, &scene.d), (&scene.d, &scene.home)] {
        scene.migrate(pid, from, to)?;
        at_each(to)?;
    }
    Ok(())
}

/// What was seen of a conversation.
struct Seen {
    /// The server's addresses, in turn.
    addresses: Vec<String>,
    lines: usize,
    worst: Duration,
}

/// Asks line after line until `end`.
fn ask(mut talk: Talk, end: &AtomicBool, seen_at: &dyn Fn(&str)) -> Result<Seen> {
    let mut seen = Seen { addresses: Vec::new(), lines: 0, worst: Duration::ZERO };
    while !end.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let address = talk.line()?;
        seen.worst = seen.worst.max(begin.elapsed());
        seen.lines += 1;
        seen_at(&address);
        if seen.addresses.last() != Some(&address) {
            seen.addresses.push(address);
        }
    }
    Ok(seen)
}

#[test]
fn a_conversation() -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, SELECT, "0.0.0.0")?;
    let talk = Talk::open(&scene.lan.peer, HOME)?;
    let (end, at) = (AtomicBool::new(false), Mutex::new(String::new()));
    let seen = thread::scope(|scope| {
        let talking = scope.spawn(|| {
            ask(talk, &end, &|address| address.clone_into(&mut at.lock().expect("no panic")))
        });
        let moved = tour(&scene, pid, |place| {
            let answers = || (*at.lock().expect("no panic") == place.v4).then_some(());
            soon("the server answers from where it is", answers)
        });
        end.store(true, Ordering::Relaxed);
        let seen = talking.join().expect("it does not panic");
        moved.and(seen)
    })?;
    let Seen { addresses, lines, worst } = seen;
    println!("{lines} lines, the longest silence {worst:?}");
    assert_eq!(addresses, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.2"]);
    Ok(())
}

/// What the peer sends, and must get: the numbers from 0 on, eight bytes each. So
/// many bytes of that, after so many others.
fn numbers(after: u64, length: usize) -> Vec<u8> {
    let numbers = after / 8..(after + length as u64).div_ceil(8);
    let mut bytes = Vec::with_capacity(length + 16);
    numbers.for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
    bytes.drain(..(after % 8) as usize);
    bytes.truncate(length);
    bytes
}

/// Sends numbers until `end`, and tells how many bytes.
pub(crate) fn send(mut connection: &TcpStream, end: &AtomicBool) -> Result<u64> {
    let mut sent = 0;
    while !end.load(Ordering::Relaxed) {
        let some = numbers(sent, 64 << 10);
        connection.write_all(&some).context("cannot send")?;
        sent += some.len() as u64;
    }
    connection.shutdown(Shutdown::Write)?;
    Ok(sent)
}

/// Takes numbers to the end, and tells how many bytes; `so_far` meanwhile.
pub(crate) fn take(mut connection: &TcpStream, so_far: &AtomicU64) -> Result<u64> {
    let (mut came, mut some) = (0, vec![0; 64 << 10]);
    loop {
        let length = connection.read(&mut some).context("cannot receive")?;
        if length == 0 {
            return Ok(came);
        }
        ensure!(some[..length] == numbers(came, length), "wrong after {came}");
        came += length as u64;
        so_far.store(came, Ordering::Relaxed);
    }
}

/// As much as goes, both ways at once.
#[test]
fn bulk_both_ways() -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, MIRROR, "0.0.0.0")?;
    let connection = scene.lan.peer.enter(|| TcpStream::connect(HOME))?;
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    connection.set_write_timeout(Some(Duration::from_secs(20)))?;
    let (end, so_far) = (AtomicBool::new(false), AtomicU64::new(0));
    let (sent, came) = thread::scope(|scope| {
        let sending = scope.spawn(|| send(&connection, &end));
        let taking = scope.spawn(|| take(&connection, &so_far));
        let moved = tour(&scene, pid, |_| {
            let before = so_far.load(Ordering::Relaxed);
            let more = || (so_far.load(Ordering::Relaxed) > before + (8 << 20)).then_some(());
            soon("8 MiB more have come", more)
        });
        end.store(true, Ordering::Relaxed);
        let (sent, came) = (sending.join(), taking.join());
        moved?;
        Ok::<_, anyhow::Error>((sent.expect("no panic")?, came.expect("no panic")?))
    })?;
    println!("{sent} bytes there and back");
    assert_eq!(sent, came);
    Ok(())
}
