//! nginx in the middle of downloads of 500 MB.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::tour::{Pace, Tour};
use crate::scene::Scene;

const SIZE: u64 = 500_000_000;
/// What a client takes at once.
const PIECE: usize = 64 << 10;
/// What it rests after a piece while the server is on tour, so that the download
/// is not over before.
const REST: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// How much a client takes at most: after each move there is more to come.
fn allowed(pace: &Pace) -> u64 {
    match pace.is_over() {
        true => SIZE,
        false => SIZE / 5 * u64::from(pace.moves.load(Ordering::Relaxed) + 1),
    }
}

/// Downloads what is in `file` too, and compares.
fn download(connection: TcpStream, file: &Path, pace: &Pace) -> Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    (&connection).write_all(b"GET /large HTTP/1.1\r\nHost: home\r\nConnection: close\r\n\r\n")?;
    let mut answer = BufReader::with_capacity(PIECE, connection);
    let mut header = String::new();
    while !header.ends_with("\r\n\r\n") {
        ensure!(answer.read_line(&mut header)? > 0, "it ends too early: {header}");
    }
    ensure!(header.starts_with("HTTP/1.1 200 OK"), "{header}");
    let mut expected = BufReader::with_capacity(PIECE, File::open(file)?);
    let mut came = 0;
    loop {
        while came >= allowed(pace) && !pace.is_over() {
            thread::sleep(REST);
        }
        let some = answer.fill_buf().context("cannot receive")?;
        let length = some.len().min(expected.fill_buf()?.len());
        ensure!(some[..length] == expected.buffer()[..length], "wrong after {came} bytes");
        if length == 0 {
            ensure!(some.is_empty() && expected.buffer().is_empty(), "{came} bytes came");
            return Ok(());
        }
        answer.consume(length);
        expected.consume(length);
        came += length as u64;
        pace.add(length as u64);
        if !pace.is_over() {
            thread::sleep(REST);
        }
    }
}

/// A download by IPv4 and one by IPv6 from a listener for both.
#[test]
fn downloads_of_500_mb() -> Result<()> {
    let scene = Scene::new()?;
    let folder = scene.lan.home.dir().join("nginx");
    let dir = folder.to_str().context("the lab's names are plain")?;
    fs::create_dir(&folder)?;
    let large = folder.join("large");
    io::copy(&mut File::open("/dev/urandom")?.take(SIZE), &mut File::create(&large)?)?;
    let configuration = format!(
        "daemon off; pid {dir}/pid; error_log stderr; user root; worker_processes 2;
events {{ }}
http {{
  access_log off; sendfile on;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server {{ listen [::]:7000 ipv6only=off; root {dir}; }}
}}
"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration)?;
    let file = file.to_str().context("the lab's names are plain")?;
    let (mut tour, _) = Tour::of_server(&scene, &["nginx", "-e", "stderr", "-c", file])?;
    let begin = |endpoint| scene.lan.peer.enter(|| TcpStream::connect(endpoint));
    let [four, six] = [begin("10.0.0.2:7000")?, begin("[fd00::2]:7000")?];
    let large = &large;
    tour.go(
        8 << 20,
        vec![
            Box::new(move |pace| download(four, large, pace)),
            Box::new(move |pace| download(six, large, pace)),
        ],
    )
}
