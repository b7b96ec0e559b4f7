//! `redirect migrate --memory`: which way memory goes, and what is known while it follows.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Host, Process, soon, until, with_criu};

use crate::{
    memory::{self, Memory},
    nodes::{PID, Three, Two, refused},
    programs::{MIRROR, SELECT, Talk},
};

const SERVER: &str = "10.0.0.2:7000";
/// What a large process has, in MiB.
const LARGE: &str = "200";
const LARGE_BYTES: u64 = 200 << 20;
const ALL_RIGHT: &str = "51200 of 51200";
/// How long memory may take to follow, on a busy machine.
const FOLLOWING: Duration = Duration::from_secs(60);

/// A large server at home, with the number [`PID`].
pub(crate) fn serve_large(two: &Two) -> Result<()> {
    let log = two.home.start_as(PID, &["python3", "-c", &memory::alone(), "0.0.0.0", LARGE])?;
    let said = || fs::read_to_string(&log).ok().filter(|log| log.contains("listening"));
    soon("a server listens", said).map(drop)
}

/// A link that lets so little through that memory takes minutes to follow. When this
/// goes, it is as it was.
pub(crate) struct Slow<'a>(&'a Host);

impl<'a> Slow<'a> {
    pub(crate) fn link(of: &'a Host) -> Result<Self> {
        let rate = ["rate", "8mbit", "burst", "64kb", "limit", "256kb"];
        of.run(&[&["tc", "qdisc", "add", "dev", "eth0", "root", "tbf"], &rate[..]].concat())?;
        Ok(Self(of))
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["tc", "qdisc", "del", "dev", "eth0", "root"]);
    }
}

/// `redirect migrate`, while it goes on.
pub(crate) fn start(two: &Two, to: &str, options: &[&str]) -> Result<Process> {
    let (socket, state) = (two.daemon.socket().display(), two.daemon.state().display());
    let binary = env!("CARGO_BIN_EXE_redirect");
    let line = format!("{binary} migrate {PID} --to {to} --socket {socket} --state-dir {state}");
    let words = [two.home.enter(), with_criu()].concat();
    let words = words.iter().map(String::as_str).chain(line.split(' '));
    two.home.host().start(&words.chain(options.iter().copied()).collect::<Vec<_>>())
}

/// Waits until memory is on its way; gives what `redirect ps` says of it.
pub(crate) fn follows(two: &Two) -> Result<Value> {
    until(FOLLOWING, "memory follows", || {
        let list = two.daemon.json(&["ps"]).ok()?;
        Some(list["dependent"][0].clone()).filter(|one| one["bytes"].as_u64() > Some(0))
    })
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| text.to_owned())
}

/// Home → c → d → home, with a connection that is busy all the while.
#[test]
fn memory_follows_from_home_to_hosts_and_home() -> Result<()> {
    let three = Three::joined()?;
    let two = &three.two;
    serve_large(two)?;
    let mut memory = Memory::open(two.peer(), SERVER)?;
    assert_eq!(memory.all()?, ALL_RIGHT);
    let over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let talking = scope.spawn(|| {
            let mut talk = Talk::open(two.peer(), SERVER)?;
            let mut seen = vec![talk.line()?];
            while !over.load(Ordering::Relaxed) {
                let address = talk.line()?;
                if seen.last() != Some(&address) {
                    seen.push(address);
                }
            }
            Ok::<_, anyhow::Error>(seen)
        });
        let mut tour = || {
            for to in ["c", "d", "home"] {
                let report = two.run(&[], to, &["--memory", "lazy", "--json"])?.success()?;
                let report = json(&report)?;
                let followed = &report["memory"];
                ensure!(followed["way"] == "lazy", "{report:#}");
                ensure!(followed["why"] == "it was asked for", "{report:#}");
                ensure!(followed["bytes"].as_u64() >= Some(LARGE_BYTES), "{report:#}");
                ensure!(followed["seconds"].as_f64() > Some(0.0), "{report:#}");
                ensure!(report["bytes"].as_u64() < Some(LARGE_BYTES / 2), "{report:#}");
                ensure!(report["lost"] == Value::Array(Vec::new()), "{report:#}");
                three.must_be_on(to)?;
                assert_eq!(memory.all()?, ALL_RIGHT, "on {to}");
                let list = two.daemon.json(&["ps"])?;
                ensure!(list["dependent"].is_null(), "{list:#}");
                let id = report["move"]["id"].to_string();
                let kept = two.daemon.json(&["move", "show", &id])?;
                ensure!(kept["carried"]["followed"]["bytes"] == followed["bytes"], "{kept:#}");
                ensure!(kept["memory"]["way"] == "lazy" && kept["follows"].is_null(), "{kept:#}");
                let told = two.daemon.redirect(&["move", "show", &id])?;
                ensure!(told.contains("after the process: it was asked for"), "{told}");
            }
            Ok(())
        };
        let toured = tour();
        over.store(true, Ordering::Relaxed);
        let seen = talking.join().expect("it does not panic");
        toured.and(seen)
    })?;
    assert_eq!(seen, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.2"]);
    Ok(())
}

/// What a peer sends all the while comes back to the byte.
#[test]
fn a_busy_stream_loses_nothing_while_memory_follows() -> Result<()> {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpStream},
    };
    const PIECE: usize = 64 << 10;
    let two = Two::joined()?;
    two.serve(MIRROR)?;
    let endpoint: SocketAddr = SERVER.parse()?;
    let stream = two.peer().enter(|| TcpStream::connect(endpoint))?;
    stream.set_read_timeout(Some(FOLLOWING))?;
    let over = AtomicBool::new(false);
    let byte = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    thread::scope(|scope| {
        let (mut to, mut from) = (stream.try_clone()?, stream.try_clone()?);
        let (over, byte) = (&over, &byte);
        let sending = scope.spawn(move || {
            let mut at = 0;
            while !over.load(Ordering::Relaxed) {
                let piece: Vec<u8> = (at..at + PIECE as u64).map(byte).collect();
                to.write_all(&piece)?;
                at += PIECE as u64;
            }
            to.shutdown(std::net::Shutdown::Write)?;
            Ok::<_, anyhow::Error>(at)
        });
        let hearing = scope.spawn(move || {
            let (mut at, mut piece) = (0_u64, vec![0; PIECE]);
            loop {
                let length = from.read(&mut piece)?;
                if length == 0 {
                    return Ok::<_, anyhow::Error>(at);
                }
                let right = piece[..length].iter().zip(at..).all(|(got, at)| *got == byte(at));
                ensure!(right, "wrong bytes from {at} on");
                at += length as u64;
            }
        });
        let mut moved = Ok(());
        for to in ["c", "home"] {
            moved =
                moved.and_then(|()| two.run(&[], to, &["--memory", "lazy"])?.success().map(drop));
        }
        over.store(true, Ordering::Relaxed);
        let sent = sending.join().expect("no panic");
        let heard = hearing.join().expect("no panic");
        moved?;
        assert_eq!(sent?, heard?);
        Ok(())
    })
}

#[test]
fn auto_copies_what_is_small_and_has_what_is_large_follow() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let plan = json(&two.migrate(&["--dry-run", "--json"])?.success()?)?;
    ensure!(plan["memory_goes"]["way"] == "copy", "{plan:#}");
    ensure!(plan["memory_goes"]["why"].as_str().is_some_and(|why| why.contains("soon copied")));
    let report = json(&two.migrate(&["--json"])?.success()?)?;
    ensure!(report["memory"]["way"] == "copy" && report["memory"]["bytes"].is_null(), "{report:#}");
    // A small one may follow all the same.
    let report = two.run(&[], "home", &["--memory", "lazy", "--json"])?.success()?;
    ensure!(json(&report)?["memory"]["bytes"].as_u64() > Some(1 << 20), "{report}");
    let two = Two::joined()?;
    serve_large(&two)?;
    let said = two.migrate(&["--dry-run"])?.success()?;
    ensure!(said.contains("after the process: copying 2"), "{said}");
    let said = two.migrate(&[])?.success()?;
    ensure!(said.contains("would freeze the process for long"), "{said}");
    ensure!(said.contains("followed"), "{said}");
    assert_eq!(Memory::open(two.peer(), SERVER)?.all()?, ALL_RIGHT);
    Ok(())
}

#[test]
fn what_cannot_be_had_is_refused() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    refused(&two.migrate(&["--memory", "precopy"])?, 1, "memory cannot go while the process runs")?;
    let plan = json(&two.migrate(&["--memory", "precopy", "--dry-run", "--json"])?.success()?)?;
    ensure!(plan["movable"] == false && plan["memory_goes"].is_null(), "{plan:#}");
    let done = two.migrate(&["--memory", "eager"])?;
    ensure!(done.code == 2 && done.stderr.contains("auto, copy, lazy, precopy"), "{done}");
    two.goes_on_at_home(&mut talk)
}

/// On a slow link, all tell that the process depends on home, and it cannot move on.
#[test]
fn while_memory_follows_that_is_told_and_the_process_stays() -> Result<()> {
    let three = Three::joined()?;
    let two = &three.two;
    serve_large(two)?;
    let slow = Slow::link(&two.lan.home)?;
    let mut command = start(two, "c", &[])?;
    let dependent = follows(two)?;
    ensure!(dependent["place"] == "c" && dependent["on"] == "home", "{dependent:#}");
    three.must_be_on("c").or_else(|_| {
        // The one at home has ended, and its number is CRIU's still.
        let status = two.home.proc().join(PID.to_string()).join("status");
        ensure!(fs::read_to_string(status)?.contains("State:\tZ"), "it is at home too");
        Ok(())
    })?;
    let pid = PID.to_string();
    let said = two.daemon.redirect(&["ps"])?;
    ensure!(said.contains("of its memory still on home"), "{said}");
    let said = two.daemon.redirect(&["where", &pid])?;
    ensure!(said.contains("is on c") && said.contains("it depends on home"), "{said}");
    let told = two.daemon.json(&["where", &pid])?;
    ensure!(told["depends_on"]["bytes"].as_u64() > Some(0), "{told:#}");
    let id = dependent["move"].to_string();
    let told = two.daemon.json(&["move", "show", &id])?;
    ensure!(told["follows"]["total"].as_u64() >= Some(LARGE_BYTES), "{told:#}");
    let said = two.daemon.redirect(&["move", "show", &id])?;
    ensure!(said.contains("it depends on home"), "{said}");
    // It cannot move on, by whomever.
    for to in ["d", "home"] {
        for options in [&[][..], &["--dry-run"]] {
            refused(&two.run(&[], to, options)?, 1, "cannot leave c yet")?;
        }
    }
    refused(&two.c_daemon.try_redirect(&["evict", &pid])?, 1, "cannot leave c yet")?;
    let name = two.redirects()?[0]["name"].as_str().context("a name")?.to_owned();
    let begun = two.daemon.try_redirect(&["move", "begin", &name, "--to", "d"])?;
    refused(&begun, 1, "cannot leave c yet")?;
    // Nobody is lost by what is typed meanwhile.
    for signal in ["-INT", "-TERM", "-HUP"] {
        two.home.run(&["pkill", signal, "--exact", "redirect"])?.success()?;
    }
    let told = || command.log().matches("still on its way to c").count() >= 3;
    soon("it is told why it goes on", || told().then_some(()))?;
    ensure!(!command.has_ended()?, "it has ended: {}", command.log());
    drop(slow);
    let status = command.wait(FOLLOWING)?;
    ensure!(status.success(), "{}", command.log());
    three.must_be_on("c")?;
    let list = two.daemon.json(&["ps"])?;
    ensure!(list["dependent"].is_null(), "{list:#}");
    assert_eq!(Memory::open(two.peer(), SERVER)?.all()?, ALL_RIGHT);
    // Now it can, and where it comes home, that is told there.
    let slow = Slow::link(&two.lan.c)?;
    let mut command = start(two, "home", &[])?;
    let dependent = follows(two)?;
    ensure!(dependent["place"] == "home" && dependent["on"] == "c", "{dependent:#}");
    let said = two.redirect_on_home(&["where", &pid])?.success()?;
    ensure!(said.contains("runs here") && said.contains("it depends on c"), "{said}");
    let said = two.daemon.redirect(&["ps"])?;
    ensure!(said.contains("of its memory still on c"), "{said}");
    drop(slow);
    let status = command.wait(FOLLOWING)?;
    ensure!(status.success(), "{}", command.log());
    assert_eq!(Memory::open(two.peer(), SERVER)?.all()?, ALL_RIGHT);
    Ok(())
}
