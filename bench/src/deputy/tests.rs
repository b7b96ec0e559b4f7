//! The same server, with sockets of its own, by a deputy, and by one that reads
//! ahead: nobody can tell them apart.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    num::NonZeroU32,
    process,
    sync::{
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{forwarding::Forwarding, home::Deputy};
use crate::pair::{
    Exchange,
    server::{Behaviour, Server},
    sockets::{Descriptor, Failure, Kernel, SocketOption, Sockets},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Deputy { gather: bool },
}

const WAYS: [Way; 3] = [Way::Plain, Way::Deputy { gather: false }, Way::Deputy { gather: true }];

impl Way {
    /// Sockets of this way, on loopback.
    fn sockets(self) -> Box<dyn Sockets> {
        let Self::Deputy { gather } = self else { return Box::new(Kernel::default()) };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(at) = listener.local_addr().unwrap() else { unreachable!() };
        thread::spawn(move || {
            let (process, _) = listener.accept().unwrap();
            Deputy::new(process, gather).unwrap().serve().unwrap();
        });
        Box::new(Forwarding::connect(at).unwrap())
    }
}

/// Where nobody else listens or calls from: a loopback address of its own.
fn free() -> SocketAddrV4 {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (process::id() as u16).to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    SocketAddrV4::new(Ipv4Addr::new(127, high | 0x80, low, count), 7000)
}

/// A listening socket.
fn listen(sockets: &mut dyn Sockets) -> (Descriptor, SocketAddrV4) {
    let at = free();
    let listener = sockets.socket().unwrap();
    sockets.set_option(listener, SocketOption::ReuseAddress).unwrap();
    sockets.bind(listener, at).unwrap();
    sockets.listen(listener, 8).unwrap();
    (listener, at)
}

/// A connection, from both ends.
fn connection(sockets: &mut dyn Sockets) -> (Descriptor, TcpStream) {
    let (listener, at) = listen(sockets);
    let peer = TcpStream::connect(at).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (sockets.accept(listener).unwrap(), peer)
}

/// Reads to the end in pieces of `buffer` bytes.
fn read_all(sockets: &mut dyn Sockets, socket: Descriptor, buffer: usize) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; buffer]);
    loop {
        match sockets.recv(socket, &mut buffer).unwrap() {
            0 => return all,
            length => all.extend(&buffer[..length]),
        }
    }
}

/// Bytes none of which is like the one 251 before it by chance.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

fn errno(failure: &Failure) -> Option<i32> {
    match failure {
        Failure::Call(error) => error.raw_os_error(),
        Failure::Lost(reason) => panic!("{reason}"),
    }
}

#[test]
fn every_byte_arrives_in_order_and_comes_back() {
    // Several windows, and no multiple of any buffer.
    let sent = pattern(1_000_003);
    for way in WAYS {
        for buffer in [100, 8192, 1 << 20] {
            let mut sockets = way.sockets();
            let (socket, mut peer) = connection(&mut *sockets);
            let mut from_peer = peer.try_clone().unwrap();
            let expected = sent.clone();
            let writer = thread::spawn(move || {
                from_peer.write_all(&expected).unwrap();
                from_peer.shutdown(Shutdown::Write).unwrap();
            });
            let received = read_all(&mut *sockets, socket, buffer);
            writer.join().unwrap();
            assert!(received == sent, "{way:?} with {buffer} bytes a call");
            let reader = thread::spawn(move || {
                let mut back = Vec::new();
                peer.read_to_end(&mut back).unwrap();
                back
            });
            for part in received.chunks(buffer) {
                sockets.send_all(socket, part).unwrap();
            }
            // The peer sees the end of it by this alone.
            sockets.shutdown(socket).unwrap();
            assert!(reader.join().unwrap() == sent, "{way:?} with {buffer} bytes a call");
            sockets.close(socket).unwrap();
        }
    }
}

#[test]
fn the_end_is_told_again_and_again() {
    for way in WAYS {
        let mut sockets = way.sockets();
        let (socket, mut peer) = connection(&mut *sockets);
        peer.write_all(b"last").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut *sockets, socket, 3), b"last", "{way:?}");
        assert_eq!(sockets.recv(socket, &mut [0; 8]).unwrap(), 0, "{way:?}");
        sockets.send_all(socket, b"heard").unwrap();
        sockets.close(socket).unwrap();
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"heard", "{way:?}");
    }
}

#[test]
fn a_reset_is_an_error_of_the_call_and_the_next_connection_is_served() {
    for way in WAYS {
        let mut sockets = way.sockets();
        let (listener, at) = listen(&mut *sockets);
        let peer = TcpStream::connect(at).unwrap();
        let socket = sockets.accept(listener).unwrap();
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let failure = sockets.recv(socket, &mut [0; 8]).unwrap_err();
        assert_eq!(errno(&failure), Some(libc::ECONNRESET), "{way:?}");
        sockets.close(socket).unwrap();

        let mut peer = TcpStream::connect(at).unwrap();
        peer.write_all(b"next").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let socket = sockets.accept(listener).unwrap();
        assert_eq!(read_all(&mut *sockets, socket, 8), b"next", "{way:?}");
    }
}

#[test]
fn calls_on_what_is_no_socket_fail_as_in_the_kernel() {
    for way in WAYS {
        let mut sockets = way.sockets();
        let (socket, _peer) = connection(&mut *sockets);
        sockets.close(socket).unwrap();
        let failures = [
            sockets.recv(socket, &mut [0; 8]).unwrap_err(),
            sockets.accept(socket).unwrap_err(),
            sockets.shutdown(socket).unwrap_err(),
            sockets.close(socket).unwrap_err(),
        ];
        for failure in failures {
            assert_eq!(errno(&failure), Some(libc::EBADF), "{way:?}");
        }
    }
}

#[test]
fn a_taken_port_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, taken.local_addr().unwrap().port());
    for way in WAYS {
        let mut sockets = way.sockets();
        let listening = Server::listen(&mut *sockets, at, Behaviour::Receive, 8192);
        let failure = listening.err().expect("the port is taken");
        assert_eq!(errno(&failure), Some(libc::EADDRINUSE), "{way:?}");
    }
}

/// A peer that asks before it has the answer to what it asked before.
#[test]
fn what_is_gathered_does_not_keep_the_peer_waiting() {
    for way in WAYS {
        let mut sockets = way.sockets();
        let (socket, mut peer) = connection(&mut *sockets);
        // Or each of its acknowledgements would be waited for, by every way.
        sockets.set_option(socket, SocketOption::NoDelay).unwrap();
        for round in 0..50_u8 {
            peer.write_all(&[round; 3]).unwrap();
            let mut request = [0; 3];
            let mut read = 0;
            while read < 3 {
                read += sockets.recv(socket, &mut request[read..]).unwrap();
            }
            for byte in request {
                sockets.send_all(socket, &[byte]).unwrap();
            }
            let (tell, told) = mpsc::channel();
            let mut from_server = peer.try_clone().unwrap();
            let reader = thread::spawn(move || {
                let mut answer = [0; 3];
                from_server.read_exact(&mut answer).unwrap();
                tell.send(answer).unwrap();
                from_server.write_all(b"!").unwrap();
            });
            // Whoever waits for the peer has nothing more to add.
            sockets.recv(socket, &mut [0; 1]).unwrap();
            assert_eq!(told.recv_timeout(Duration::from_secs(20)).unwrap(), [round; 3], "{way:?}");
            reader.join().unwrap();
        }
    }
}

#[test]
fn both_behaviours_are_the_same_for_the_client() {
    let number = |number| NonZeroU32::new(number).unwrap();
    let exchange = Exchange { request: number(10_000), response: number(20_000) };
    for way in WAYS {
        for behaviour in [Behaviour::Receive, Behaviour::Answer(exchange)] {
            let at = free();
            let (ready, wait) = mpsc::channel();
            let server = thread::spawn(move || {
                let mut sockets = way.sockets();
                let mut server = Server::listen(&mut *sockets, at, behaviour, 4096).unwrap();
                ready.send(()).unwrap();
                server.serve_one().unwrap();
            });
            wait.recv().unwrap();
            let mut peer = TcpStream::connect(at).unwrap();
            peer.write_all(&pattern(30_000)).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            server.join().unwrap();
            match behaviour {
                Behaviour::Receive => assert_eq!(answer, 30_000_u64.to_be_bytes(), "{way:?}"),
                Behaviour::Answer(_) => assert_eq!(answer.len(), 60_000, "{way:?}"),
            }
        }
    }
}

#[test]
fn without_its_deputy_a_process_is_told_so_at_its_next_call() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let std::net::SocketAddr::V4(at) = listener.local_addr().unwrap() else { unreachable!() };
    for gather in [false, true] {
        let mut forwarding = thread::scope(|scope| {
            scope.spawn(|| drop(Deputy::new(listener.accept().unwrap().0, gather).unwrap()));
            Forwarding::connect(at).unwrap()
        });
        match forwarding.socket() {
            Err(Failure::Lost(reason)) => assert!(reason.contains(&at.to_string()), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_no_deputy_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let std::net::SocketAddr::V4(at) = listener.local_addr().unwrap() else { unreachable!() };
    thread::spawn(move || listener.accept().unwrap().0.write_all(b"HTTP/1.1 400\r\n").unwrap());
    let error = Forwarding::connect(at).err().expect("it does not speak like one");
    assert!(format!("{error:#}").contains("no deputy"), "{error:#}");
}
