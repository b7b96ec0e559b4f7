//! What the peer does all the while: a download, an echo session, and new
//! connections.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Host, Process};

pub(super) const WEB: &str = "10.0.0.2:8080";
const ECHO: &str = "10.0.0.2:7000";
/// The size of the download, in bytes.
pub(super) const SIZE: u64 = 256 << 20;
/// So much of it is left until the journey is over, in bytes.
const LEFT: u64 = 32 << 20;
/// How fast it is taken until then, in bytes a second.
pub(super) const RATE: u64 = 16 << 20;
/// How often a line is sent for an echo.
pub(super) const LINE: Duration = Duration::from_millis(3);
/// How often a new connection is opened.
pub(super) const VISIT: Duration = Duration::from_millis(50);
/// What a client waits for one answer at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// The peer, and how far the journey is.
pub(super) struct Peer<'a> {
    pub(super) host: &'a Host,
    /// Whether the server has come home for good.
    pub(super) over: AtomicBool,
    /// The bytes that have come of the download.
    pub(super) came: AtomicU64,
}

/// One answer of the echo session.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) at: Instant,
    /// Since the answer before.
    pub(super) gap: Duration,
    /// The server's own address.
    pub(super) from: String,
}

/// What became of the new connections.
#[derive(Debug, Default)]
pub(super) struct Visits {
    pub(super) opened: u32,
    /// How long each that was answered took, from its opening to its end.
    pub(super) answered: Vec<Duration>,
    /// Why the others were not.
    pub(super) failures: Vec<String>,
}

impl Peer<'_> {
    /// Asks for a line every [`LINE`] in one connection; each answer must be the one
    /// to the line before it.
    pub(super) fn echo(&self) -> Result<Vec<Answer>> {
        let mut session = BufReader::new(self.host.enter(|| connect(ECHO))?);
        let (mut answers, mut last) = (Vec::new(), Instant::now());
        for number in 1.. {
            if self.over.load(Relaxed) {
                break;
            }
            let line = format!("line {number}\n");
            session.get_mut().write_all(line.as_bytes()).context("cannot send")?;
            let mut answer = String::new();
            session.read_line(&mut answer).context("no answer")?;
            let at = Instant::now();
            let (from, echo) = answer.split_once(' ').unwrap_or_default();
            ensure!(echo == line, "not the answer to {line:?}: {answer:?}");
            answers.push(Answer { at, gap: at - last, from: from.to_owned() });
            last = at;
            thread::sleep(LINE);
        }
        Ok(answers)
    }

    /// Opens a connection every [`VISIT`], and asks for a page.
    pub(super) fn visit(&self) -> Visits {
        self.host.enter(|| {
            let mut visits = Visits::default();
            while !self.over.load(Relaxed) {
                let begun = Instant::now();
                visits.opened += 1;
                match page() {
                    Ok(()) => visits.answered.push(begun.elapsed()),
                    Err(error) => visits.failures.push(format!("{error:#}")),
                }
                thread::sleep(VISIT.saturating_sub(begun.elapsed()));
            }
            visits
        })
    }

    /// Takes the download in one connection, slowly while the server is under way,
    /// and gives the SHA-256 of what came.
    pub(super) fn download(&self) -> Result<String> {
        let mut connection = BufReader::new(self.host.enter(|| get("/download"))?);
        skip_head(&mut connection)?;
        let mut sha256sum = self.host.start(&["sha256sum"])?;
        let mut sum = sha256sum.stdin();
        let (begun, mut came, mut some) = (Instant::now(), 0, vec![0; 1 << 16]);
        while came < SIZE {
            if !self.over.load(Relaxed) && came >= allowed(begun.elapsed()) {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            let length = connection.read(&mut some).context("cannot receive")?;
            ensure!(length > 0, "ended after {came} of {SIZE} bytes");
            sum.write_all(&some[..length]).context("sha256sum takes no more")?;
            came += length as u64;
            self.came.store(came, Relaxed);
        }
        drop(sum);
        hash(&mut sha256sum)
    }
}

/// The bytes that may have come after so long a time of the journey.
fn allowed(elapsed: Duration) -> u64 {
    let paced = elapsed.as_secs_f64() * RATE as f64;
    (paced as u64).min(SIZE - LEFT)
}

fn hash(sha256sum: &mut Process) -> Result<String> {
    let status = sha256sum.wait(PATIENCE)?;
    let said = sha256sum.log();
    ensure!(status.success(), "sha256sum ended with {status}: {said}");
    first_word(&said)
}

/// The hash in what sha256sum writes.
pub(super) fn first_word(said: &str) -> Result<String> {
    said.split_whitespace().next().map(str::to_owned).context("sha256sum says nothing")
}

fn connect(endpoint: &str) -> Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&endpoint.parse()?, PATIENCE)
        .with_context(|| format!("cannot connect to {endpoint}"))?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

fn get(path: &str) -> Result<TcpStream> {
    let mut connection = connect(WEB)?;
    connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    Ok(connection)
}

fn skip_head(connection: &mut BufReader<TcpStream>) -> Result<()> {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        ensure!(connection.read_line(&mut line)? > 0, "ended within the head");
    }
    Ok(())
}

fn page() -> Result<()> {
    let mut said = String::new();
    get("/")?.read_to_string(&mut said).context("no answer")?;
    ensure!(said.contains(" answers at 10.0.0."), "not the page: {said:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_download_is_open_until_the_journey_is_over() {
        assert_eq!(allowed(Duration::ZERO), 0);
        assert_eq!(allowed(Duration::from_secs(2)), 2 * RATE);
        assert_eq!(allowed(Duration::from_secs(1_000)), SIZE - LEFT);
    }

    #[test]
    fn a_hash_is_what_sha256sum_says_first() -> Result<()> {
        assert_eq!(first_word("0a1b  -\n")?, "0a1b");
        assert!(first_word("\n").is_err());
        Ok(())
    }
}
