//! The client/server pair and the deputy as processes, on loopback: how they
//! start, fail and end.

use std::{
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    process::{self, Child, Command, Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// `redirectd-bench pair …`, its arguments parted by blanks.
fn pair(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redirectd-bench"));
    command.arg("pair").args(arguments.split_whitespace());
    command
}

/// A process that is ready; ended when the test is over, however it ends.
struct Running(Child);

impl Running {
    fn start(arguments: &str) -> Self {
        let mut command = pair(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Self(child);
        let mut line = String::new();
        BufReader::new(running.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{arguments}");
        running
    }

    /// Its exit code and what it complained of, once it has ended by itself.
    fn ended(&mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(10));
        };
        let mut complaint = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut complaint).unwrap();
        (status.code(), complaint)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The server's port.
const PORT: u16 = 7000;
/// The deputy's port.
const OF_DEPUTY: u16 = 7001;

/// A loopback address at which nobody else listens or calls from.
fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (process::id() as u16).to_be_bytes();
    Ipv4Addr::new(127, high | 0x80, low, COUNT.fetch_add(1, Ordering::Relaxed))
}

fn client(to: Ipv4Addr, more: &str) -> Output {
    pair(&format!("client --to {to} --port {PORT} {more}")).output().unwrap()
}

fn figures(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A server and the deputy that holds its sockets.
fn with_deputy(gather: &str, behaviour: &str) -> (Running, Running, Ipv4Addr) {
    let own = own_address();
    let deputy = Running::start(&format!("deputy --at {own}:{OF_DEPUTY} {gather}"));
    let by = format!("--deputy {own}:{OF_DEPUTY}");
    let server = format!("server --address {own} --port {PORT} {by} {behaviour}");
    (Running::start(&server), deputy, own)
}

#[test]
fn the_client_says_what_the_servers_received() {
    let own = own_address();
    let _server = Running::start(&format!("server --address {own} --port {PORT} --receive"));
    let all = figures(&client(own, "--amount 100003 --json"));
    let connection = &all["connections"][0];
    assert_eq!(connection["arrived"], 100_003);
    assert_eq!(connection["port"], PORT);
    assert!(all["seconds"].as_f64().unwrap() > 0.0);
    let text = client(own, "--amount 100003 --buffer 100");
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains(&format!("port {PORT}: 100003 bytes there, 8 back in ")), "{text}");
    let timed = figures(&client(own, "--time 0.2 --json"));
    assert!(timed["seconds"].as_f64().unwrap() >= 0.2, "{timed}");
}

#[test]
fn requests_are_answered_by_deputies_too() {
    for gather in ["", "--gather"] {
        let (_server, _deputy, own) = with_deputy(gather, "--answer 100:2000");
        let all = figures(&client(own, "--answer 100:2000 --amount 5000 --json"));
        assert_eq!(all["connections"][0]["returned"], 50 * 2000, "{gather}");
    }
}

/// With the last byte of its first frame: a length of 4 bytes, then these.
#[test]
fn a_deputy_says_whether_it_reads_ahead() {
    for (switch, says) in [("", 0), ("--gather", 1)] {
        let at = SocketAddrV4::new(own_address(), OF_DEPUTY);
        let _deputy = Running::start(&format!("deputy --at {at} {switch}"));
        let mut process = TcpStream::connect(at).unwrap();
        let mut length = [0; 4];
        process.read_exact(&mut length).unwrap();
        let mut greeting = vec![0; u32::from_be_bytes(length) as usize];
        process.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting.last(), Some(&says), "{switch}: {greeting:?}");
    }
}

#[test]
fn a_client_without_a_server_names_it() {
    let own = own_address();
    let output = client(own, "--amount 1");
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains(&format!("{own}, port {PORT}: cannot connect")), "{complaint}");
}

#[test]
fn a_server_whose_deputy_is_killed_ends_and_says_why() {
    for gather in ["", "--gather"] {
        for in_a_connection in [false, true] {
            let (mut server, deputy, own) = with_deputy(gather, "--receive");
            let connection = in_a_connection.then(|| TcpStream::connect((own, PORT)));
            drop(deputy);
            let (code, complaint) = server.ended();
            assert_eq!(code, Some(1), "{complaint}");
            let expected = format!("the deputy at {own}:{OF_DEPUTY} is gone");
            assert!(complaint.contains(&expected), "{complaint}");
            drop(connection);
        }
    }
}

/// In the midst of a call that would never return.
#[test]
fn a_deputy_ends_with_its_process() {
    for gather in ["", "--gather"] {
        for in_a_connection in [false, true] {
            let (server, mut deputy, own) = with_deputy(gather, "--receive");
            let connection = in_a_connection.then(|| TcpStream::connect((own, PORT)));
            drop(server);
            assert_eq!(deputy.ended(), (Some(0), String::new()), "{gather}");
            drop(connection);
        }
    }
}

#[test]
fn a_server_without_its_deputy_does_not_start() {
    let at = SocketAddrV4::new(own_address(), OF_DEPUTY);
    let server = pair(&format!("server --port {PORT} --deputy {at} --receive"));
    let output = { server }.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains(&format!("the deputy at {at}")), "{complaint}");
}
