//! UDP servers and numbered datagrams: none is lost, none comes twice, and all come
//! in order.

use anyhow::{Context as _, Result, ensure};
use xtask::lab::Lab;

use super::tour::{Pace, Tour};
use crate::{
    programs::{self, Datagrams, UDP},
    scene::Scene,
};

/// So many are under way at most: all have room in the socket that they come to.
const UNDER_WAY: u64 = 32;
/// On each machine, at least so many.
const MORE: u64 = 200;
const MOVES: u64 = 3;

/// Connects its socket to the first peer; counts, as [`UDP`] does.
const CONNECTED: &str = "
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('0.0.0.0', 7000))
print('listening', flush=True)
line, peer = server.recvfrom(4096)
server.connect(peer)
count = 0
while True:
    count += 1
    server.send(b'- %d %s' % (count, line))
    line = server.recv(4096)
";

/// Sends numbers until the tour is over, and compares what comes back: the server
/// must have got all before, and the answers come in order. Tells how many
/// answers did not come.
fn number(peer: &Datagrams, pace: &Pace) -> Result<u64> {
    let (mut sent, mut last, mut came) = (0, 0, 0);
    while last < sent || !pace.is_over() {
        while sent < last + UNDER_WAY && !pace.is_over() {
            sent += 1;
            peer.say(sent.to_string().as_bytes())?;
        }
        let answer = peer.hear().with_context(|| format!("nothing comes after {last}"))?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let mut words = answer.split(' ').skip(1).map(str::parse);
        let (Some(Ok(count)), Some(Ok(number))) = (words.next(), words.next()) else {
            anyhow::bail!("no answer: {answer}");
        };
        ensure!(count == number, "the server has got {count} up to {number}");
        ensure!(number > last, "{number} is answered after {last}");
        (last, came) = (number, came + 1);
        pace.add(1);
    }
    Ok(sent - came)
}

/// Gives how many answers were lost.
fn lost_with(server: &str) -> Result<u64> {
    // Alone, so that no other test's packets fill the queues of the cables.
    let scene = Scene::in_lab(Lab::alone()?)?;
    scene.lan.keep_order()?;
    let pid = programs::start(&scene.home.machine, server, "0.0.0.0")?;
    let peer = Datagrams::open(&scene.lan.peer, "10.0.0.2:7000")?;
    let mut lost = 0;
    let numbers = |pace: &Pace| number(&peer, pace).map(|count| lost = count);
    Tour::of(&scene, &["four"], pid).go(MORE, vec![Box::new(numbers)])?;
    Ok(lost)
}

#[test]
fn to_a_connected_socket_and_back() -> Result<()> {
    let lost = lost_with(CONNECTED)?;
    ensure!(lost == 0, "{lost} answers are lost");
    Ok(())
}

/// The server takes the peer's address from each datagram, and answers there. If it
/// is frozen in between, that one answer goes to an address that was right where
/// the server was before.
#[test]
fn to_a_socket_for_all_peers() -> Result<()> {
    let lost = lost_with(UDP)?;
    ensure!(lost <= MOVES, "{lost} answers are lost");
    Ok(())
}
