//! Redis with a subscriber, and a client that does not wait for answers.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::tour::{Pace, Tour};
use crate::scene::Scene;

/// So many numbers are written in one piece.
const BATCH: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(20);

/// A client, in Redis's own protocol (RESP 2).
struct Client(BufReader<TcpStream>);

impl Client {
    fn open(scene: &Scene) -> Result<Self> {
        let connection = scene.lan.peer.enter(|| TcpStream::connect("10.0.0.2:7000"))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_nodelay(true)?;
        Ok(Self(BufReader::new(connection)))
    }

    fn say(&mut self, commands: &str) -> Result<()> {
        Ok(self.0.get_mut().write_all(commands.as_bytes())?)
    }

    /// Takes this answer, and no other.
    fn hear(&mut self, expected: &str) -> Result<()> {
        let mut answer = vec![0; expected.len()];
        self.0.read_exact(&mut answer).with_context(|| format!("no {expected:?}"))?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer == expected, "{answer:?} instead of {expected:?}");
        Ok(())
    }

    /// Takes a bulk string, and gives what it says.
    fn bulk(&mut self) -> Result<String> {
        let mut length = String::new();
        self.0.read_line(&mut length)?;
        let length: usize = length.trim_end().trim_start_matches('$').parse()?;
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text)?;
        text.truncate(length);
        Ok(String::from_utf8(text)?)
    }
}

/// A bulk string.
fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// Appends numbers to a list and publishes them, and has the next ones on their
/// way when it hears the answers. Tells how many.
fn write(client: &mut Client, pace: &Pace) -> Result<u64> {
    let batch = |after: u64| -> String {
        let numbers = after + 1..=after + BATCH;
        numbers.map(|n| format!("RPUSH list {n}\r\nPUBLISH numbers {n}\r\n")).collect()
    };
    let (mut sent, mut heard) = (0, 0);
    while heard < sent || !pace.is_over() {
        while sent <= heard + BATCH && !pace.is_over() {
            client.say(&batch(sent))?;
            sent += BATCH;
        }
        let numbers = heard + 1..=heard + BATCH;
        client.hear(&numbers.map(|n| format!(":{n}\r\n:1\r\n")).collect::<String>())?;
        heard += BATCH;
        pace.add(BATCH);
    }
    client.say("PUBLISH numbers end\r\n")?;
    client.hear(":1\r\n")?;
    Ok(heard)
}

/// Hears all numbers, in order, to the end. Tells how many.
fn subscribe(client: &mut Client, pace: &Pace) -> Result<u64> {
    let head = format!("*3\r\n{}{}", bulk("message"), bulk("numbers"));
    for number in 1.. {
        client.hear(&head)?;
        let said = client.bulk()?;
        if said == "end" {
            return Ok(number - 1);
        }
        ensure!(said == number.to_string(), "{said} was published instead of {number}");
        pace.add(1);
    }
    unreachable!("there are many numbers")
}

#[test]
fn a_subscriber_and_pipelined_writes() -> Result<()> {
    let scene = Scene::new()?;
    let folder = scene.lan.home.dir().join("redis");
    let dir = folder.to_str().context("the lab's names are plain")?;
    fs::create_dir(&folder)?;
    let server = ["redis-server", "--port", "7000", "--bind", "0.0.0.0", "--dir", dir];
    let options = ["--protected-mode", "no", "--save", "", "--appendonly", "no"];
    let (mut tour, _) = Tour::of_server(&scene, &[&server[..], &options].concat())?;

    let (mut writer, mut subscriber) = (Client::open(&scene)?, Client::open(&scene)?);
    subscriber.say("SUBSCRIBE numbers\r\n")?;
    let subscribed = format!("*3\r\n{}{}:1\r\n", bulk("subscribe"), bulk("numbers"));
    subscriber.hear(&subscribed)?;
    let (mut written, mut published) = (0, 0);
    tour.go(
        1000,
        vec![
            Box::new(|pace| write(&mut writer, pace).map(|count| written = count)),
            Box::new(|pace| subscribe(&mut subscriber, pace).map(|count| published = count)),
        ],
    )?;
    ensure!(written == published, "{written} were written, and {published} published");

    let mut reader = Client::open(&scene)?;
    reader.say("LRANGE list 0 -1\r\n")?;
    reader.hear(&format!("*{written}\r\n"))?;
    reader.hear(&(1..=written).map(|n| bulk(&n.to_string())).collect::<String>())
}
