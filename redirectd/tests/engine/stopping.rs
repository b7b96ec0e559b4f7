//! redirectd is told to stop while memory follows a process by way of it.

use std::{
    net::Shutdown,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal::SIGTERM;
use xtask::lab::{Daemon, Machine, Process, until};

use crate::{
    following::{Slow, follows, serve_large, start},
    memory::Memory,
    nodes::{C, PID, Two, binaries, refused},
};

const SERVER: &str = "10.0.0.2:7000";
const ALL_RIGHT: &str = "51200 of 51200";
const WAITS: &str = "the memory of process 3000 is still on its way";
const LAZILY: &[&str] = &["--memory", "lazy"];
/// How long all of it may take, on a busy machine.
const LONGEST: Duration = Duration::from_secs(60);

/// Another server at home, with the number after [`PID`].
const OTHER: &str = "import socket, time
server = socket.create_server(('0.0.0.0', 7001))
print('listening', flush=True)
time.sleep(600)";

/// Tells `daemon` to stop, and waits until it says what it waits for.
fn stops(daemon: &Daemon) -> Result<()> {
    daemon.signal(SIGTERM)?;
    until(LONGEST, "it says what it waits for", || daemon.log().contains(WAITS).then_some(()))
        .with_context(|| daemon.log())
}

/// The move that `command` makes comes to its end, and `daemon` to its own.
fn comes_to_its_end(command: &mut Process, daemon: &mut Daemon) -> Result<()> {
    let status = command.wait(LONGEST)?;
    ensure!(status.success(), "{}; {}", command.log(), daemon.log());
    let (status, log) = daemon.ends(LONGEST)?;
    ensure!(status.success() && log.contains("all memory is where it goes"), "{status}: {log}");
    ensure!(log.contains("a second signal ends at once, and the process with it"), "{log}");
    Ok(())
}

/// What systemd is told by a daemon whose socket for that is at the path.
struct Manager {
    socket: UnixDatagram,
    hearing: JoinHandle<Vec<String>>,
}

impl Manager {
    fn new(machine: &Machine) -> Result<(Self, PathBuf)> {
        let path = machine.host().dir().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        let hears = socket.try_clone()?;
        let hearing = thread::spawn(move || {
            let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
            while let Ok(length @ 1..) = hears.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            heard
        });
        Ok((Self { socket, hearing }, path))
    }

    /// All that it was told.
    fn heard(self) -> Result<Vec<String>> {
        self.socket.shutdown(Shutdown::Both)?;
        Ok(self.hearing.join().expect("it does not panic"))
    }
}

#[test]
fn the_destination_stops_when_all_memory_is_there() -> Result<()> {
    let mut manager = None;
    let mut two = Two::new(|c| {
        let (heard, path) = Manager::new(c)?;
        manager = Some(heard);
        let variable = format!("NOTIFY_SOCKET={}", path.display());
        Daemon::start_by(c, &["env", &variable], &binaries(), C)
    })?;
    serve_large(&two)?;
    two.home.start_as(PID + 1, &["python3", "-c", OTHER])?;
    let home = two.lan.home.clone();
    let slow = Slow::link(&home)?;
    let mut command = start(&two, "c", LAZILY)?;
    follows(&two)?;
    stops(&two.c_daemon)?;
    // It takes nothing new, and says why.
    let (socket, state) = (two.daemon.socket().display(), two.daemon.state().display());
    let other = format!(
        "{} migrate {} --to c --socket {socket} --state-dir {state}",
        env!("CARGO_BIN_EXE_redirect"),
        PID + 1
    );
    let words = [xtask::lab::with_criu(), other.split(' ').map(str::to_owned).collect()].concat();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    refused(&two.home.run(&words)?, 1, "redirectd stops, and takes no more moves")?;
    drop(slow);
    comes_to_its_end(&mut command, &mut two.c_daemon)?;
    let mut memory = Memory::open(two.peer(), SERVER)?;
    assert_eq!(memory.all()?, ALL_RIGHT);
    let heard = manager.context("c has a manager")?.heard()?;
    let at = |what: &str| heard.iter().position(|one| one.contains(what));
    let order = [at("READY=1"), at("STOPPING=1"), at(WAITS), at("EXTEND_TIMEOUT_USEC=90000000")];
    ensure!(order.is_sorted() && order[0].is_some(), "{heard:?}");
    // The next one knows its guest.
    two.c_daemon.start_again()?;
    two.run(&[], "home", LAZILY)?.success()?;
    assert_eq!(memory.all()?, ALL_RIGHT);
    Ok(())
}

#[test]
fn the_source_stops_when_all_memory_is_over() -> Result<()> {
    let mut two = Two::joined()?;
    serve_large(&two)?;
    two.run(&[], "c", LAZILY)?.success()?;
    let c = two.lan.c.clone();
    let slow = Slow::link(&c)?;
    let mut command = start(&two, "home", LAZILY)?;
    follows(&two)?;
    stops(&two.c_daemon)?;
    drop(slow);
    comes_to_its_end(&mut command, &mut two.c_daemon)?;
    assert_eq!(Memory::open(two.peer(), SERVER)?.all()?, ALL_RIGHT);
    two.c_daemon.start_again()?;
    two.run(&[], "c", LAZILY)?.success().map(drop)
}

/// It leads the move itself, as c sends the process home.
#[test]
fn home_stops_when_the_memory_of_one_that_is_evicted_is_there() -> Result<()> {
    let mut two = Two::joined()?;
    serve_large(&two)?;
    two.run(&[], "c", LAZILY)?.success()?;
    let c = two.lan.c.clone();
    let slow = Slow::link(&c)?;
    let socket = two.c_daemon.socket().display();
    let line = format!("{} --socket {socket} evict {PID}", env!("CARGO_BIN_EXE_redirect"));
    let words = two.c.enter();
    let words: Vec<&str> = words.iter().map(String::as_str).chain(line.split(' ')).collect();
    let mut command = two.c.host().start(&words)?;
    follows(&two)?;
    stops(&two.daemon)?;
    let name = two.redirects()?[0]["name"].as_str().context("a name")?.to_owned();
    let begun = two.daemon.try_redirect(&["move", "begin", &name, "--to", "c"])?;
    refused(&begun, 1, "redirectd stops, and takes no more moves")?;
    drop(slow);
    comes_to_its_end(&mut command, &mut two.daemon)?;
    assert_eq!(Memory::open(two.peer(), SERVER)?.all()?, ALL_RIGHT);
    two.daemon.start_again()?;
    two.run(&[], "c", LAZILY)?.success().map(drop)
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_process_with_it() -> Result<()> {
    let mut two = Two::joined()?;
    serve_large(&two)?;
    let home = two.lan.home.clone();
    let slow = Slow::link(&home)?;
    let mut command = start(&two, "c", LAZILY)?;
    follows(&two)?;
    stops(&two.c_daemon)?;
    two.c_daemon.signal(SIGTERM)?;
    let (status, log) = two.c_daemon.ends(LONGEST)?;
    ensure!(status.success() && log.contains("ending at once"), "{status}: {log}");
    ensure!(!command.wait(LONGEST)?.success(), "{}", command.log());
    ensure!(command.log().contains("the process has ended"), "{}", command.log());
    drop(slow);
    until(LONGEST, "the process has ended", || (!two.c.has(PID)).then_some(())).map(drop)
}
