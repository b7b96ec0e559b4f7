//! What travels to a deputy and what does not: the difference between each call
//! by itself and reading ahead with gathering.

use std::{
    io::Write as _,
    net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::{
    forwarding::Forwarding,
    frame::{Answer, Call, Frames, VERSION},
    home::Deputy,
};
use crate::pair::sockets::{Descriptor, Sockets as _};

const SOCKET: Descriptor = Descriptor(7);

fn listen() -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(at) = listener.local_addr().unwrap() else { unreachable!() };
    (listener, at)
}

/// What a deputy is asked for while `process` runs; it says that all is done, and
/// fails if it is asked for more before it has said so.
fn asked(gather: bool, process: impl FnOnce(&mut Forwarding)) -> Vec<String> {
    let (listener, at) = listen();
    let deputy = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut calls = Frames::new(stream.try_clone().unwrap());
        let mut answers = Vec::new();
        Answer::Greeting { version: VERSION, gather }.write(&mut answers);
        let mut asked = Vec::new();
        loop {
            stream.write_all(&answers).unwrap();
            answers.clear();
            let Some(frame) = calls.next().unwrap() else { return asked };
            let (call, answer) = match Call::read(frame).unwrap() {
                Call::Send(_, bytes) => {
                    (format!("send {}", bytes.len()), Answer::Done(bytes.len() as u32))
                }
                Call::Recv(_, length) => (format!("recv {length}"), Answer::Data(&[7; 3])),
                Call::Window(socket, _) => ("window".into(), Answer::Ahead(socket, &[7; 9])),
                other => (format!("{other:?}"), Answer::Done(0)),
            };
            asked.push(call);
            answer.write(&mut answers);
            // Whoever asks without waiting has done so by then.
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let more = calls.begun() || stream.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
            assert!(!more, "more is asked before {:?} is answered", asked.last());
            stream.set_read_timeout(None).unwrap();
        }
    });
    process(&mut Forwarding::connect(at).unwrap());
    deputy.join().unwrap()
}

/// Three small sends, two receives of what there is, and a close.
fn some_calls(process: &mut Forwarding) {
    for _ in 0..3 {
        assert_eq!(process.send(SOCKET, &[1; 100]).unwrap(), 100);
    }
    for _ in 0..2 {
        assert_eq!(process.recv(SOCKET, &mut [0; 3]).unwrap(), 3);
    }
    process.close(SOCKET).unwrap();
}

#[test]
fn without_the_switch_every_call_travels_by_itself() {
    let close = format!("{:?}", Call::Close(SOCKET));
    let expected = ["send 100", "send 100", "send 100", "recv 3", "recv 3", &close];
    assert_eq!(asked(false, some_calls), expected);
}

#[test]
fn with_the_switch_writes_travel_together_and_data_is_there_before_it_is_asked_for() {
    let close = format!("{:?}", Call::Close(SOCKET));
    assert_eq!(asked(true, some_calls), ["send 300", "window", &close]);
}

/// A connection of the deputy's own end of things, with data that has arrived.
#[test]
fn without_the_switch_nothing_is_sent_ahead() {
    let (listener, at) = listen();
    thread::spawn(move || {
        Deputy::new(listener.accept().unwrap().0, false).unwrap().serve().unwrap();
    });
    let mut process = TcpStream::connect(at).unwrap();
    let mut answers = Frames::new(process.try_clone().unwrap());
    let greeting = Answer::read(answers.next().unwrap().unwrap()).unwrap();
    assert_eq!(greeting, Answer::Greeting { version: VERSION, gather: false });
    let mut ask = |call: Call<'_>| {
        let mut frames = Vec::new();
        call.write(&mut frames);
        process.write_all(&frames).unwrap();
        match Answer::read(answers.next().unwrap().unwrap()).unwrap() {
            Answer::Done(value) => Ok(value),
            Answer::Data(bytes) => Err(bytes.to_vec()),
            other => panic!("{other:?} after {call:?}"),
        }
    };
    let (free, home) = listen();
    drop(free);
    let socket = Descriptor(ask(Call::Socket).unwrap());
    ask(Call::Bind(socket, home)).unwrap();
    ask(Call::Listen(socket, 1)).unwrap();
    let mut peer = TcpStream::connect(home).unwrap();
    let connection = Descriptor(ask(Call::Accept(socket)).unwrap());
    peer.write_all(b"data").unwrap();
    thread::sleep(Duration::from_millis(20));
    // The next answer is that of the next call.
    ask(Call::Listen(socket, 1)).unwrap();
    assert_eq!(ask(Call::Recv(connection, 2)), Err(b"da".to_vec()));
    assert_eq!(ask(Call::Recv(connection, 8)), Err(b"ta".to_vec()));
}
