use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::*;

/// Whether namespaces can be made; says so if not.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: not root");
    }
    root
}

const PORT: u16 = 5000;
const QUESTION: &[u8] = &[7; 100_000];
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a question from the peer, and the answer back; where the server says
/// that the client is.
fn ask(lan: &Lan, route: &dyn Route) -> SocketAddr {
    let listener =
        lan.host.enter(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?)).unwrap();
    let server = thread::spawn(move || {
        let (mut connection, client) = listener.accept().unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut question = Vec::new();
        connection.read_to_end(&mut question).unwrap();
        assert!(question == QUESTION);
        connection.write_all(b"answer").unwrap();
        client
    });
    let target = SocketAddr::from((route.target(), PORT));
    let connect = || Ok(TcpStream::connect_timeout(&target, PATIENCE)?);
    let mut connection = lan.peer.enter(connect).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(QUESTION).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
    server.join().unwrap()
}

#[test]
fn every_route_but_the_direct_one_leads_through_home() {
    if !is_root() {
        return;
    }
    let wire = Wire { rate: None, offloads: false, xdp: true };
    for route in all() {
        let name = route.name();
        if let Some(reason) = route.unavailable().or_else(|| route.unfit(&wire)) {
            eprintln!("{name} is not tried: {reason}");
            continue;
        }
        if route.server() != Server::Plain {
            continue;
        }
        let lan = Lan::new(&wire).unwrap();
        let _running = route.set_up(&lan, &[PORT]).unwrap();
        let before = lan.bytes_into_home().unwrap();
        ask(&lan, route.as_ref());
        let through = lan.bytes_into_home().unwrap() - before;
        if name == "direct" {
            assert!(through < 1_000, "{name}: {through} bytes went to home");
        } else {
            assert!(through > QUESTION.len() as u64, "{name}: {through} bytes went to home");
        }
    }
}

#[test]
fn every_route_can_be_chosen_by_its_name() {
    for route in all().into_iter().chain(deputies()) {
        assert!(crate::contestant::NAMES.contains(&route.name()), "{}", route.name());
    }
}
