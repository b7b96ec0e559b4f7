use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    lan::{Placement, tests::naps},
    processor,
};

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

/// How much `route` brought into home, in bytes, and how often home's receiving
/// thread worked for it.
fn try_out(route: &dyn Route, wire: &Wire) -> (u64, u64) {
    let placement = Placement::new(processor::last().unwrap()).unwrap();
    let lan = Lan::placed(wire, &placement).unwrap();
    let _running = route.set_up(&lan, &[PORT]).unwrap();
    let naps = || lan.receivers().iter().map(|&thread| naps(thread)).sum::<u64>();
    let before = (lan.bytes_into_home().unwrap(), naps());
    ask(&lan, route);
    (lan.bytes_into_home().unwrap() - before.0, naps() - before.1)
}

#[test]
fn every_route_but_the_direct_one_leads_through_home_and_its_processor() {
    if !is_root() || Placement::new(processor::last().unwrap()).is_err() {
        eprintln!("skipped: it takes two processors");
        return;
    }
    let _alone = processor::tests::alone();
    let wire = Wire { rate: None, offloads: false, xdp: true };
    for route in all() {
        let name = route.name();
        if let Some(reason) = route.unavailable().or_else(|| route.unfit(&wire)) {
            eprintln!("{name} is not tried: {reason}");
            continue;
        }
        // Those with a deputy are tried where deputies are.
        if route.server() != Server::Plain {
            continue;
        }
        let (bytes, naps) = try_out(route.as_ref(), &wire);
        if name == "direct" {
            assert!(bytes < 1_000 && naps < 10, "{bytes} bytes went to home, {naps} naps");
        } else {
            assert!(bytes > QUESTION.len() as u64, "{name}: {bytes} bytes went to home");
            assert!(naps > 0, "{name}: home's thread received nothing");
        }
    }
}

#[test]
fn every_route_can_be_chosen_by_its_name() {
    for route in all().into_iter().chain(deputies()) {
        assert!(crate::contestant::NAMES.contains(&route.name()), "{}", route.name());
    }
}
