//! TCP connections while their process is being moved: held, delivered, and never
//! sent again.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;
use redirectd::{
    dataplane::{Connection, Dataplane as _},
    rule::Protocol,
};
use xtask::lab::soon;

use crate::{
    echo::{self, Echo, ask},
    parking::{Ends, V4, V6, assert_delivered, at_home, redirect},
    relocate::Mover,
    repair::{self, Taken},
    scene::Scene,
};

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

/// What the peer's kernel sends again while its server is parked for longer than it
/// waits, is counted as the kernel counts it: of a batch of segments, each.
fn sent_again(ends: &Ends, length: usize) -> Result<()> {
    let mut scene = Scene::tc()?;
    let listener: SocketAddr = ends.c.parse()?;
    let listener = scene.lan.c.enter(|| TcpListener::bind(listener))?;
    redirect(&scene, ends)?;
    let mut mover = Mover::take_over(&mut scene)?;
    let mut peer = echo::connect(&scene.lan.peer, ends.home)?;
    let (mut server, _) = listener.accept()?;
    peer.write_all(b"before")?;
    assert_eq!(read(&mut server)?, b"before");
    server.write_all(b"yes")?;
    assert_eq!(read(&mut peer)?, b"yes");
    // All has been acknowledged: what is sent again from here on is held.
    let before = retransmissions(&peer);

    let group = mover.park(&["echo"], ends.d)?;
    let data: Vec<u8> = (0..PERIOD as u8).cycle().take(length).collect();
    peer.write_all(&data)?;
    // They come ever more rarely, so at some moment none is under way.
    let sent = soon("all that is sent again is counted", || {
        let sent = u64::from(retransmissions(&peer) - before);
        let held = mover.at_home(|bpf| bpf.group_held(group)).ok()?;
        (sent >= 3 && held.retransmissions() == sent).then_some(sent)
    })?;
    let replayed = mover.abort(group)?;
    let held = &replayed.held;
    assert_eq!((replayed.lost, held.flows.len()), (0, 1), "{replayed:?}");
    assert!(held.flows[0].retransmissions >= sent, "{replayed:?}");
    let mut received = vec![0; length];
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    server.read_exact(&mut received)?;
    assert!(received == data, "the bytes differ");
    Ok(())
}

#[test]
fn what_a_peer_sends_again_is_counted_as_its_kernel_counts_it() -> Result<()> {
    sent_again(&V4, 17)?;
    sent_again(&V6, 17)?;
    sent_again(&V4, 20_000)
}

/// A stream from a peer to a listener: numbers that show where bytes are missing.
struct Bulk {
    end: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
    sender: JoinHandle<Result<(TcpStream, usize)>>,
    receiver: JoinHandle<Result<bool>>,
}

/// The pattern's length: a prime, so that it fits no packet.
const PERIOD: usize = 251;

impl Bulk {
    fn start(connection: TcpStream, listener: TcpListener) -> Self {
        let (end, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let told = Arc::clone(&end);
        let sender = std::thread::spawn(move || send(connection, &told));
        let count = Arc::clone(&received);
        let receiver = std::thread::spawn(move || receive(&listener, &count));
        Self { end, received, sender, receiver }
    }

    /// Waits until much more has arrived, and so the sender's window is open wide.
    fn flow(&self) -> Result<()> {
        let wanted = self.received.load(Ordering::Relaxed) + (20 << 20);
        soon("the stream flows", || (self.received.load(Ordering::Relaxed) >= wanted).then_some(()))
    }

    /// Ends it; asserts that all arrived as it was sent, and nothing was sent twice.
    fn finish(self) -> Result<()> {
        self.end.store(true, Ordering::Relaxed);
        let (connection, sent) = self.sender.join().expect("it sends")?;
        assert!(self.receiver.join().expect("it receives")?, "the bytes differ");
        assert_eq!(self.received.load(Ordering::Relaxed), sent);
        assert_eq!(retransmissions(&connection), 0);
        Ok(())
    }
}

fn send(mut connection: TcpStream, end: &AtomicBool) -> Result<(TcpStream, usize)> {
    let block: Vec<u8> = (0..PERIOD as u8).cycle().take(PERIOD * 1000).collect();
    let mut sent = 0;
    while !end.load(Ordering::Relaxed) {
        connection.write_all(&block)?;
        sent += block.len();
    }
    connection.shutdown(std::net::Shutdown::Write)?;
    Ok((connection, sent))
}

/// Whether what comes is what [`send`] sends.
fn receive(listener: &TcpListener, count: &AtomicUsize) -> Result<bool> {
    let (mut connection, _) = listener.accept()?;
    let mut buffer = vec![0; 1 << 20];
    let (mut received, mut right) = (0, true);
    loop {
        let length = connection.read(&mut buffer)?;
        if length == 0 {
            return Ok(right);
        }
        let expected = (received..received + length).map(|at| (at % PERIOD) as u8);
        right &= expected.eq(buffer[..length].iter().copied());
        received += length;
        count.store(received, Ordering::Relaxed);
    }
}

/// A sender's large packets, a batch of segments each, come out whole.
fn bulk(ends: &Ends, name: char) -> Result<()> {
    let mut scene = Scene::tc()?;
    patient(&scene)?;
    scene.lan.keep_order()?;
    let (host, endpoint) =
        if name == 'c' { (&scene.lan.c, ends.c) } else { (&scene.lan.home, ends.home) };
    let endpoint: SocketAddr = endpoint.parse()?;
    let listener = host.enter(|| TcpListener::bind(endpoint))?;
    if name == 'c' {
        redirect(&scene, ends)?;
    }
    let mut mover = Mover::take_over(&mut scene)?;
    if name == 'h' {
        mover.add(at_home(ends)?)?;
    }
    let stream = Bulk::start(echo::connect(&scene.lan.peer, ends.home)?, listener);
    for _ in 0..3 {
        stream.flow()?;
        let group = mover.park(&["echo"], ends.d)?;
        let held = mover.held(group, 4)?;
        assert!(held.traffic.bytes > 1514 * held.traffic.packets, "no batches: {held:?}");
        assert_delivered(&mover.abort(group)?, 4);
    }
    stream.flow()?;
    stream.finish()
}

/// A packet that comes as the delivery ends is either delivered with the others, or after
/// them: none is forgotten.
#[test]
fn bulk_is_parked_again_and_again() -> Result<()> {
    const TIMES: usize = 1000;
    let mut scene = Scene::tc()?;
    patient(&scene)?;
    scene.lan.keep_order()?;
    let home: SocketAddr = V4.home.parse()?;
    let listener = scene.lan.home.enter(|| TcpListener::bind(home))?;
    let mut mover = Mover::take_over(&mut scene)?;
    mover.add(at_home(&V4)?)?;
    let stream = Bulk::start(echo::connect(&scene.lan.peer, V4.home)?, listener);
    stream.flow()?;
    for _ in 0..TIMES {
        let group = mover.park(&["echo"], V4.d)?;
        mover.held(group, 1)?;
        assert_delivered(&mover.abort(group)?, 1);
    }
    stream.flow()?;
    stream.finish()
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
