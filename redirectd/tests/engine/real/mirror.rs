//! Programs of several makes that send back what they get: as much as goes, both
//! ways at once, in two connections.

use std::{net::TcpStream, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    rustc::compile,
    tour::{Pace, Task, Tour},
};
use crate::{
    busy::{send, take},
    programs::MIRROR,
    scene::Scene,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A process for each connection.
const FORKS: &str = "
import os, signal, socket
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server(('0.0.0.0', 7000))
while True:
    connection = listener.accept()[0]
    if os.fork() == 0:
        listener.close()
        while some := connection.recv(1 << 16):
            connection.sendall(some)
        os._exit(0)
    connection.close()
";

/// Sends as much as goes until the tour is over, and compares what comes back.
pub(super) fn compare(connection: &TcpStream, pace: &Pace) -> Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let (sent, came) = thread::scope(|scope| {
        let sending = scope.spawn(|| send(connection, &pace.over));
        let came = take(connection, &pace.count);
        (sending.join().expect("no panic"), came)
    });
    let (sent, came) = (sent?, came?);
    ensure!(sent == came, "{sent} bytes were sent, and {came} came back");
    Ok(())
}

fn all_comes_back(scene: &Scene, line: &[&str]) -> Result<()> {
    let (mut tour, _) = Tour::of_server(scene, line)?;
    let mut tasks: Vec<Task<'_>> = Vec::new();
    for _ in 0..2 {
        let connection = scene.lan.peer.enter(|| TcpStream::connect("10.0.0.2:7000"))?;
        tasks.push(Box::new(move |pace| compare(&connection, pace)));
    }
    tour.go(4 << 20, tasks)
}

#[test]
fn with_processes() -> Result<()> {
    all_comes_back(&Scene::new()?, &["python3", "-c", FORKS])
}

#[test]
fn with_threads() -> Result<()> {
    all_comes_back(&Scene::new()?, &["python3", "-c", MIRROR, "0.0.0.0"])
}

/// One that has no dynamic loader and no libraries.
#[test]
fn in_static_rust() -> Result<()> {
    let scene = Scene::new()?;
    let program = scene.lan.home.dir().join("static_mirror");
    let options = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
    compile(include_str!("static_mirror.rs"), &options, &program)?;
    let program = program.to_str().context("the lab's names are plain")?;
    all_comes_back(&scene, &[program])
}
