//! Ten processes that move at once, each on its own way.

use std::thread;

use anyhow::Result;

use super::{peers::talk, tour::Tour};
use crate::{
    programs::{self, Talk},
    scene::Scene,
};

/// One connection at the port it is told; answers as those of [`programs`] do.
const SERVER: &str = "
import socket, sys
listener = socket.create_server(('0.0.0.0', int(sys.argv[1])))
print('listening', flush=True)
connection = listener.accept()[0]
while line := connection.recv(4096):
    connection.sendall(connection.getsockname()[0].encode() + b' ' + line)
";

/// One of them.
fn server(scene: &Scene, port: u16) -> Result<()> {
    let (name, port) = (format!("at-{port}"), port.to_string());
    let endpoint = format!("10.0.0.2:{port}");
    scene.redirect(&name, &endpoint)?;
    let pid = programs::start_with(&scene.home.machine, SERVER, &[&port])?;
    let open = Talk::open(&scene.lan.peer, &endpoint)?;
    Tour::of(scene, &[&name], pid).go(20, vec![Box::new(move |pace| talk(open, pace))])
}

#[test]
fn at_once() -> Result<()> {
    let scene = &Scene::new()?;
    thread::scope(|scope| {
        let begin = |port| scope.spawn(move || server(scene, port));
        let servers: Vec<_> = (7001..=7010).map(begin).collect();
        servers.into_iter().try_for_each(|server| server.join().expect("no panic"))
    })
}
