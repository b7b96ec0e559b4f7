//! Packets that come while a process is being moved: held, and delivered in order
//! to where it is then.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Result, ensure};
use redirectd::{
    dataplane::{Connection, Dataplane as _, Replayed},
    rule::{Flows, Mode, PortRange, Protocol, Redirect},
};
use xtask::lab::Lab;

use crate::{
    echo::{self, Echo, ask},
    numbered::{Numbered, Report},
    relocate::Mover,
    repair::{self, Taken},
    scene::Scene,
};

/// The addresses of one family.
struct Ends {
    peer: &'static str,
    home: &'static str,
    c: &'static str,
    d: &'static str,
}

const V4: Ends =
    Ends { peer: "10.0.0.1:5000", home: "10.0.0.2:7", c: "10.0.0.3:7000", d: "10.0.0.4:7000" };

const V6: Ends =
    Ends { peer: "[fd00::1]:5000", home: "[fd00::2]:7", c: "[fd00::3]:7000", d: "[fd00::4]:7000" };

/// Redirects `home` to c.
fn redirect(scene: &Scene, ends: &Ends) -> Result<()> {
    let what = ["echo", ends.home, "--to", ends.c, "--protocol", "tcp,udp", "--flows", "follow"];
    scene.add(&[&what[..], &["--no-check"]].concat())
}

/// Asserts that nothing was lost in the delivery, and that something was held.
fn assert_delivered(replayed: &Replayed, packets: u64) {
    assert_eq!(replayed.lost, 0, "{replayed:?}");
    assert_eq!(replayed.held.overflow.packets, 0, "{replayed:?}");
    assert!(replayed.held.traffic.packets >= packets, "{replayed:?}");
}

/// Asserts that all were answered once and in order, by `names` in turn.
fn assert_in_turn(report: &Report, names: &[char]) {
    report.assert_complete();
    let numbers: Vec<u64> = report.answers.iter().map(|answer| answer.number).collect();
    assert!(numbers.is_sorted(), "out of order: {numbers:?}");
    let mut by: Vec<char> = report.answers.iter().map(|answer| answer.by).collect();
    by.dedup();
    assert_eq!(by, names);
}

fn datagrams(attach: &str, ends: &Ends) -> Result<()> {
    let mut scene = Scene::in_lab(Lab::alone()?, if attach == "xdp" { "xdp" } else { "tc" })?;
    let _servers = (Echo::udp(&scene.lan.c, ends.c, b'c')?, Echo::udp(&scene.lan.d, ends.d, b'd')?);
    redirect(&scene, ends)?;
    let mut mover = if attach == "clsact" {
        Mover::take_over_by_clsact(&mut scene)?
    } else {
        Mover::take_over(&mut scene)?
    };
    let stream = Numbered::start(&scene.lan.peer, ends.peer, ends.home, 1000)?;
    assert_eq!(stream.hear_more(100)?.by, 'c');

    let group = mover.park(&["echo"], ends.d)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.commit(group)?, 100);
    stream.hear_from('d')?;
    stream.hear_more(100)?;
    // And once more, but it stays where it is.
    let group = mover.park(&["echo"], ends.c)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.abort(group)?, 100);
    stream.hear_more(100)?;
    // And back, with nothing held before the flip.
    let group = mover.begin(&["echo"], ends.c)?;
    mover.commit(group)?;
    stream.hear_from('c')?;
    stream.hear_more(100)?;
    assert_in_turn(&stream.finish(), &['c', 'd', 'c']);
    ensure!(mover.at_home(|bpf| bpf.groups())?.is_empty(), "no group is left over");
    Ok(())
}

#[test]
fn datagrams_keep_their_order_by_tc() -> Result<()> {
    datagrams("tc", &V4)?;
    datagrams("tc", &V6)
}

/// As on kernels before 6.6.
#[test]
fn datagrams_keep_their_order_by_clsact() -> Result<()> {
    datagrams("clsact", &V4)
}

#[test]
fn datagrams_keep_their_order_by_xdp() -> Result<()> {
    datagrams("xdp", &V4)?;
    datagrams("xdp", &V6)
}

/// The redirect of a process that is at home: it leads to where it comes from.
fn at_home(ends: &Ends) -> Result<Redirect> {
    let home: SocketAddr = ends.home.parse()?;
    Ok(Redirect {
        name: "echo".to_owned(),
        protocols: vec![Protocol::Tcp, Protocol::Udp],
        home: home.ip(),
        ports: PortRange::single(home.port())?,
        target: home.ip(),
        target_port: home.port(),
        host: None,
        peers: Vec::new(),
        mode: Mode::Nat,
        flows: Flows::Follow,
    })
}

/// Away from home, and home again. The peer is where `from` is an address of.
fn there_and_back(attach: &str, ends: &Ends, from: &str) -> Result<()> {
    let mut scene = Scene::in_lab(Lab::alone()?, attach)?;
    let from_home = from != ends.peer;
    let peer = if from_home { scene.lan.home.clone() } else { scene.lan.peer.clone() };
    let servers =
        (Echo::udp(&scene.lan.home, ends.home, b'h')?, Echo::udp(&scene.lan.c, ends.c, b'c')?);
    let mut mover = Mover::take_over(&mut scene)?;
    mover.add(at_home(ends)?)?;
    let stream = Numbered::start(&peer, from, ends.home, 1000)?;
    assert_eq!(stream.hear_more(100)?.by, 'h');

    let group = mover.park(&["echo"], ends.d)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.abort(group)?, 100);
    stream.hear_more(100)?;
    let group = mover.park(&["echo"], ends.c)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.commit(group)?, 100);
    stream.hear_from('c')?;
    stream.hear_more(100)?;
    let group = mover.park(&["echo"], ends.home)?;
    mover.held(group, 100)?;
    assert_delivered(&mover.commit(group)?, 100);
    stream.hear_from('h')?;
    stream.hear_more(100)?;
    assert_in_turn(&stream.finish(), &['h', 'c', 'h']);
    let flows = mover.at_home(|bpf| {
        let mut flows = 0;
        bpf.flows(&mut |_| flows += 1).map(|()| flows)
    })?;
    assert_eq!(flows, 0, "at home there are no flows");
    drop(servers);
    Ok(())
}

#[test]
fn a_process_leaves_home_and_comes_back_by_tc() -> Result<()> {
    there_and_back("tc", &V4, V4.peer)?;
    there_and_back("tc", &V6, V6.peer)
}

/// Its packets come in by `lo`, and do so again.
#[test]
fn a_process_leaves_a_peer_on_home_and_comes_back() -> Result<()> {
    there_and_back("tc", &V4, "10.0.0.2:5000")?;
    there_and_back("tc", &V6, "[fd00::2]:5000")
}

#[test]
fn a_process_leaves_home_and_comes_back_by_xdp() -> Result<()> {
    there_and_back("xdp", &V4, V4.peer)?;
    there_and_back("xdp", &V6, V6.peer)
}

/// How many segments were sent again, as the kernel's `TCP_INFO` tells.
fn retransmissions(connection: &TcpStream) -> u32 {
    let info: libc::tcp_info = repair::get(connection, libc::TCP_INFO).expect("the kernel tells");
    info.tcpi_total_retrans
}

/// Lets the peer wait for answers as long as it takes: what it sends again is then
/// for something that was lost, not for something late.
fn patient(scene: &Scene) -> Result<()> {
    for prefix in ["10.0.0.0/24", "fd00::/64"] {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        let route = ["route", "replace", prefix, "dev", "eth0", "rto_min", "30s"];
        scene.lan.peer.ip(&[&[family], &route[..]].concat())?;
    }
    scene.lan.peer.sysctl("net/ipv4/tcp_early_retrans", "0")
}

/// A request that comes while its server, which says `name`, is parked.
fn request(ends: &Ends, name: char) -> Result<()> {
    let mut scene = Scene::tc()?;
    patient(&scene)?;
    let _servers =
        (Echo::tcp(&scene.lan.c, ends.c, b'c')?, Echo::tcp(&scene.lan.home, ends.home, b'h')?);
    if name == 'c' {
        redirect(&scene, ends)?;
    }
    let mut mover = Mover::take_over(&mut scene)?;
    if name == 'h' {
        mover.add(at_home(ends)?)?;
    }
    let mut connection = echo::connect(&scene.lan.peer, ends.home)?;
    assert_eq!(ask(&mut connection, b"before")?, name);

    let group = mover.park(&["echo"], ends.d)?;
    let mut same = connection.try_clone()?;
    let asked = std::thread::spawn(move || ask(&mut same, b"while it is parked"));
    let held = mover.held(group, 1)?;
    assert_eq!(held.flows.len(), 1, "{held:?}");
    assert_eq!(held.flows[0].peer.1, connection.local_addr()?.port());
    assert_delivered(&mover.abort(group)?, 1);
    assert_eq!(asked.join().expect("it asks")?, name);
    assert_eq!(ask(&mut connection, b"after")?, name);
    assert_eq!(retransmissions(&connection), 0);
    Ok(())
}

#[test]
fn a_request_is_answered_by_the_host_after_an_abort() -> Result<()> {
    request(&V4, 'c')?;
    request(&V6, 'c')
}

#[test]
fn a_request_is_answered_by_home_after_an_abort() -> Result<()> {
    request(&V4, 'h')?;
    request(&V6, 'h')
}

/// A connection that is opened while its server is parked.
fn opening(ends: &Ends) -> Result<()> {
    let mut scene = Scene::tc()?;
    patient(&scene)?;
    let _servers =
        (Echo::tcp(&scene.lan.home, ends.home, b'h')?, Echo::tcp(&scene.lan.c, ends.c, b'c')?);
    let mut mover = Mover::take_over(&mut scene)?;
    mover.add(at_home(ends)?)?;
    for (target, name) in [(ends.c, 'c'), (ends.home, 'h')] {
        let group = mover.park(&["echo"], target)?;
        let (peer, home) = (scene.lan.peer.clone(), ends.home);
        let connecting = std::thread::spawn(move || echo::connect(&peer, home));
        mover.held(group, 1)?;
        assert_delivered(&mover.commit(group)?, 1);
        let mut connection = connecting.join().expect("it connects")?;
        assert_eq!(ask(&mut connection, b"hello")?, name);
        assert_eq!(retransmissions(&connection), 0);
    }
    Ok(())
}

#[test]
fn a_connection_is_opened_where_the_process_is_then() -> Result<()> {
    opening(&V4)?;
    opening(&V6)
}

/// Sends `amount` bytes and gives the connection, once all were acknowledged.
fn send_all(mut connection: TcpStream, amount: usize) -> Result<TcpStream> {
    let block: Vec<u8> = (0..=250).cycle().take(251 * 1000).collect();
    for _ in 0..amount / block.len() {
        connection.write_all(&block)?;
    }
    connection.shutdown(std::net::Shutdown::Write)?;
    Ok(connection)
}

/// A sender's large packets, a batch of segments each, come out whole.
fn bulk(ends: &Ends, name: char) -> Result<()> {
    const AMOUNT: usize = 251 * 1000 * 400;
    let mut scene = Scene::tc()?;
    patient(&scene)?;
    let (host, endpoint) =
        if name == 'c' { (&scene.lan.c, ends.c) } else { (&scene.lan.home, ends.home) };
    let endpoint: SocketAddr = endpoint.parse()?;
    let listener = host.enter(|| TcpListener::bind(endpoint))?;
    let receiver = std::thread::spawn(move || receive_all(&listener));
    if name == 'c' {
        redirect(&scene, ends)?;
    }
    let mut mover = Mover::take_over(&mut scene)?;
    if name == 'h' {
        mover.add(at_home(ends)?)?;
    }
    let connection = echo::connect(&scene.lan.peer, ends.home)?;
    let sender = std::thread::spawn(move || send_all(connection, AMOUNT));
    for _ in 0..3 {
        let group = mover.park(&["echo"], ends.d)?;
        let held = mover.held(group, 4)?;
        assert!(held.traffic.bytes > 1514 * held.traffic.packets, "no batches: {held:?}");
        assert_delivered(&mover.abort(group)?, 4);
    }
    let connection = sender.join().expect("it sends")?;
    let (received, right) = receiver.join().expect("it receives")?;
    assert_eq!((received, right), (AMOUNT, true));
    assert_eq!(retransmissions(&connection), 0);
    Ok(())
}

/// How many bytes came, and whether they are those of [`send_all`].
fn receive_all(listener: &TcpListener) -> Result<(usize, bool)> {
    let (mut connection, _) = listener.accept()?;
    let mut buffer = vec![0; 1 << 20];
    let (mut received, mut right) = (0, true);
    loop {
        let length = connection.read(&mut buffer)?;
        if length == 0 {
            return Ok((received, right));
        }
        let expected = (received..received + length).map(|at| (at % 251) as u8);
        right &= expected.eq(buffer[..length].iter().copied());
        received += length;
    }
}

#[test]
fn bulk_goes_on_at_the_host() -> Result<()> {
    bulk(&V4, 'c')?;
    bulk(&V6, 'c')
}

#[test]
fn bulk_goes_on_at_home() -> Result<()> {
    bulk(&V4, 'h')?;
    bulk(&V6, 'h')
}

/// A connection that was open at home goes on at two hosts in turn, and at home
/// again; each time the peer asks while its server is nowhere.
fn connection(ends: &Ends) -> Result<()> {
    let mut scene = Scene::tc()?;
    patient(&scene)?;
    let home: SocketAddr = ends.home.parse()?;
    let mut mover = Mover::take_over(&mut scene)?;
    mover.add(at_home(ends)?)?;
    let lan = &scene.lan;
    let listener = lan.home.enter(|| TcpListener::bind(home))?;
    let mut peer = echo::connect(&lan.peer, ends.home)?;
    let (mut server, from) = listener.accept()?;
    // Only the connection moves.
    drop(listener);
    peer.write_all(b"at home")?;
    assert_eq!(read(&mut server)?, b"at home");
    server.write_all(b"yes")?;
    assert_eq!(read(&mut peer)?, b"yes");
    for (host, own) in [(&lan.c, ends.c), (&lan.d, ends.d), (&lan.home, ends.home)] {
        let group = mover.park(&["echo"], own)?;
        let taken = Taken::from(server)?;
        peer.write_all(own.as_bytes())?;
        mover.held(group, 1)?;
        let end = if own == ends.home {
            from
        } else {
            let host: SocketAddr = own.parse()?;
            let [there, at_home, at_host] = [from, home, host].map(|end| (end.ip(), end.port()));
            let claim = Connection {
                protocol: Protocol::Tcp,
                peer: there,
                home: at_home,
                host: at_host,
                snat_port: 0,
            };
            let entered = mover.at_home(|bpf| bpf.group_return(group, &[claim]))?;
            SocketAddr::new(home.ip(), entered[0].snat_port)
        };
        server = taken.put_down(host, own, end)?;
        // By the way back, before the flip.
        server.write_all(b"I am here")?;
        assert_eq!(read(&mut peer)?, b"I am here");
        assert_delivered(&mover.commit(group)?, 1);
        assert_eq!(read(&mut server)?, own.as_bytes());
    }
    assert_eq!((retransmissions(&peer), retransmissions(&server)), (0, 0));
    Ok(())
}

fn read(connection: &mut TcpStream) -> Result<Vec<u8>> {
    let mut buffer = [0; 64];
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let length = connection.read(&mut buffer)?;
    Ok(buffer[..length].to_vec())
}

#[test]
fn a_connection_goes_from_home_to_two_hosts_and_back() -> Result<()> {
    connection(&V4)?;
    connection(&V6)
}
