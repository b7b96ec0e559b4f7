//! Many clients at once, and one client again and again.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, SockRef, Socket, Type};
use xtask::lab::Nginx;

use crate::{
    echo::{self, Echo, ask},
    scene::Scene,
};

const CLIENTS: usize = 1000;

/// Asks for the client's own page on a connection that stays open.
fn request(connection: &mut TcpStream, client: usize) -> Result<()> {
    let request = format!("GET /{client} HTTP/1.1\r\nHost: home\r\n\r\n");
    connection.write_all(request.as_bytes()).context("cannot send a request")
}

/// Reads one answer, whose content must be the client's own page.
fn answer(connection: &mut TcpStream, client: usize) -> Result<()> {
    let wanted = page(client);
    let mut answer = String::new();
    while !answer.ends_with(&wanted) {
        let mut buffer = [0; 2048];
        let length = connection.read(&mut buffer).context("no answer")?;
        ensure!(length > 0, "client {client} gets {answer:?} and no more");
        answer.push_str(std::str::from_utf8(&buffer[..length])?);
    }
    ensure!(answer.starts_with("HTTP/1.1 200 OK"), "client {client} gets {answer:?}");
    Ok(())
}

fn page(client: usize) -> String {
    format!("<page of client {client}>\n")
}

fn at_once(home: &str, host: &str) -> Result<()> {
    let scene = Scene::tc()?;
    let nginx = Nginx::start(&scene.lan.c, &[host])?;
    for client in 0..CLIENTS {
        nginx.page(&client.to_string(), &page(client))?;
    }
    scene.add(&["web", home, "--to", host])?;
    let mut connections: Vec<TcpStream> = (0..CLIENTS)
        .map(|client| {
            echo::connect(&scene.lan.peer, home).with_context(|| format!("client {client}"))
        })
        .collect::<Result<_>>()?;
    // All of them are open now, and ask twice, all before the first answer.
    for _round in 0..2 {
        for (client, connection) in connections.iter_mut().enumerate() {
            request(connection, client)?;
        }
        for (client, connection) in connections.iter_mut().enumerate() {
            answer(connection, client)?;
        }
    }
    Ok(())
}

#[test]
fn a_thousand_over_ipv4() -> Result<()> {
    at_once("10.0.0.2:80", "10.0.0.3:8080")
}

#[test]
fn a_thousand_over_ipv6() -> Result<()> {
    at_once("[fd00::2]:80", "[fd00::3]:8080")
}

/// A client that breaks off and uses its port again at once is a new connection
/// each time.
#[test]
fn one_from_the_same_port_again() -> Result<()> {
    let scene = Scene::tc()?;
    let _c = Echo::tcp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    let _d = Echo::tcp(&scene.lan.d, "10.0.0.4:7000", b'd')?;
    let (here, home): (SocketAddr, SocketAddr) = ("10.0.0.1:40000".parse()?, "10.0.0.2:7".parse()?);
    for (target, name) in [("10.0.0.3:7000", 'c'), ("10.0.0.4:7000", 'd')].repeat(5) {
        scene.add(&["echo", "10.0.0.2:7", "--to", target, "--replace"])?;
        let socket = scene.lan.peer.enter(|| Socket::new(Domain::IPV4, Type::STREAM, None))?;
        socket.bind(&here.into())?;
        socket.connect_timeout(&home.into(), Duration::from_secs(5)).context(target)?;
        let mut connection = TcpStream::from(socket);
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        assert_eq!(ask(&mut connection, b"again")?, name);
        // Without lingering, the end is a RST.
        SockRef::from(&connection).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}
