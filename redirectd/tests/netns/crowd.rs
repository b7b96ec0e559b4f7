//! Many clients at once.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::Nginx;

use crate::{echo, scene::Scene};

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
