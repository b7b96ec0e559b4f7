//! A client that has connected out: its connection goes with it.

use std::net::TcpListener;

use anyhow::Result;
use xtask::lab::soon;

use super::{mirror::compare, tour::Tour};
use crate::scene::Scene;

/// Connects, and sends back what it gets.
const CLIENT: &str = "
import socket
connection = socket.create_connection(('10.0.0.1', 9000))
while some := connection.recv(1 << 16):
    connection.sendall(some)
";

#[test]
fn that_has_connected_out() -> Result<()> {
    let scene = Scene::new()?;
    let listener = scene.lan.peer.enter(|| TcpListener::bind("10.0.0.1:9000"))?;
    listener.set_nonblocking(true)?;
    let (pid, _) = scene.home.machine.start(&["python3", "-c", CLIENT])?;
    let (connection, client) = soon("a client connects", || listener.accept().ok())?;
    connection.set_nonblocking(false)?;
    // What belongs to the connection is known only now.
    scene.redirect("out", &client.to_string())?;
    Tour::of(&scene, &["out"], pid)
        .go(4 << 20, vec![Box::new(move |pace| compare(&connection, pace))])
}
