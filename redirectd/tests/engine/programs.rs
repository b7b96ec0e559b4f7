//! Servers that move. Each answers a line with the address it has there, as its
//! own socket tells it, and the line.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::lab::{Host, Machine, soon};

/// What a peer waits for one answer at most. The longest silence of a move is
/// some hundred milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// One process, all connections by turns; it outlives those that are reset.
pub(crate) const SELECT: &str = "
import selectors, socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 7000), family=family,
                                dualstack_ipv6=sys.argv[1] == '::')
known = selectors.DefaultSelector()
known.register(listener, selectors.EVENT_READ)
print('listening', flush=True)
while True:
    for key, _ in known.select():
        if key.fileobj is listener:
            known.register(listener.accept()[0], selectors.EVENT_READ)
            continue
        try:
            line = key.fileobj.recv(4096)
        except ConnectionError:
            line = b''
        if line:
            key.fileobj.sendall(key.fileobj.getsockname()[0].encode() + b' ' + line)
        else:
            known.unregister(key.fileobj)
            key.fileobj.close()
";

/// A thread for each connection.
pub(crate) const THREADS: &str = "
import socket, sys, threading
def serve(connection):
    while line := connection.recv(4096):
        connection.sendall(connection.getsockname()[0].encode() + b' ' + line)
listener = socket.create_server((sys.argv[1], 7000))
print('listening', flush=True)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
";

/// One connection, taken by an MPTCP socket, which CRIU cannot write down.
pub(crate) const MULTIPATH: &str = "
import socket, sys
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
listener.bind((sys.argv[1], 7000))
listener.listen()
print('listening', flush=True)
connection = listener.accept()[0]
while line := connection.recv(4096):
    connection.sendall(connection.getsockname()[0].encode() + b' ' + line)
";

/// Sends back what it gets, as it comes; a thread for each connection.
pub(crate) const MIRROR: &str = "
import socket, sys, threading
def serve(connection):
    while some := connection.recv(1 << 16):
        connection.sendall(some)
listener = socket.create_server((sys.argv[1], 7000))
print('listening', flush=True)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
";

/// As [`SELECT`], but accepts only now and then.
pub(crate) const TARDY: &str = "
import select, socket, sys, threading, time
def serve(connection):
    while line := connection.recv(4096):
        connection.sendall(connection.getsockname()[0].encode() + b' ' + line)
listener = socket.create_server((sys.argv[1], 7000))
print('listening', flush=True)
while True:
    time.sleep(0.1)
    while select.select([listener], [], [], 0)[0]:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
";

/// A process for each connection.
pub(crate) const FORKS: &str = "
import os, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server((sys.argv[1], 7000))
print('listening', flush=True)
while True:
    connection = listener.accept()[0]
    if os.fork() == 0:
        listener.close()
        while line := connection.recv(4096):
            connection.sendall(connection.getsockname()[0].encode() + b' ' + line)
        os._exit(0)
    connection.close()
";

/// One connection, with options of its own; answers with those it has.
pub(crate) const OPTIONS: &str = "
import socket, sys
listener = socket.create_server((sys.argv[1], 7000))
print('listening', flush=True)
connection = listener.accept()[0]
connection.setsockopt(socket.IPPROTO_TCP, 13, b'reno')
connection.setsockopt(socket.IPPROTO_TCP, 18, 4321)
connection.setsockopt(socket.IPPROTO_TCP, 25, 65432)
connection.setsockopt(socket.IPPROTO_IP, 10, 0)
while line := connection.recv(4096):
    name = connection.getsockopt(socket.IPPROTO_TCP, 13, 16).rstrip(b'\\0').decode()
    numbers = [connection.getsockopt(6, 18), connection.getsockopt(6, 25),
               connection.getsockopt(0, 10)]
    connection.sendall(f'{name},{numbers} '.replace(', ', ',').encode() + line)
";

/// One connection; holds a lot of memory, a file it has read half of, a file that
/// is deleted, and a pipe with something in it. Answers with a digest of them all.
pub(crate) const HOLDS: &str = "
import hashlib, os, random, socket, sys, tempfile
memory = random.Random(7).randbytes(96 << 20)
deleted = tempfile.TemporaryFile()
deleted.write(b'nobody else has this')
deleted.flush()
half = open(sys.argv[2])
half.readline()
out, into = os.pipe()
os.write(into, b'on its way')
listener = socket.create_server((sys.argv[1], 7000))
print('listening', flush=True)
connection = listener.accept()[0]
while line := connection.recv(4096):
    deleted.seek(0)
    held = [memory, deleted.read(), half.readline().encode(), os.read(out, 100)]
    os.write(into, held[3])
    half.seek(half.tell() - len(held[2]))
    digest = hashlib.sha256(b'|'.join(held)).hexdigest()
    connection.sendall(f'{digest}/{len(memory) + len(held[1]) + len(held[2])} '.encode() + line)
";

/// UDP; counts what it has answered.
pub(crate) const UDP: &str = "
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 7000))
print('listening', flush=True)
count = 0
while True:
    line, peer = server.recvfrom(4096)
    count += 1
    server.sendto(b'%s %d %s' % (server.getsockname()[0].encode(), count, line), peer)
";

/// Starts a server of these on `machine`, at port 7000 of `address`; gives its
/// number.
pub(crate) fn start(machine: &Machine, program: &str, address: &str) -> Result<i32> {
    start_with(machine, program, &[address])
}

/// The same with more arguments, the first of which is the address.
pub(crate) fn start_with(machine: &Machine, program: &str, arguments: &[&str]) -> Result<i32> {
    let (pid, log) = machine.start(&[&["python3", "-c", program], arguments].concat())?;
    let said = || std::fs::read_to_string(&log).ok().filter(|log| log.contains("listening"));
    soon("a server listens", said).with_context(|| {
        format!("its log: {}", std::fs::read_to_string(&log).unwrap_or_default())
    })?;
    Ok(pid)
}

/// A peer's connection to a server, which counts its lines.
pub(crate) struct Talk {
    connection: BufReader<TcpStream>,
    lines: u32,
}

impl Talk {
    /// Connects from `host`.
    pub(crate) fn open(host: &Host, endpoint: &str) -> Result<Self> {
        let endpoint: SocketAddr = endpoint.parse()?;
        let connection = host.enter(|| TcpStream::connect_timeout(&endpoint, PATIENCE))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_nodelay(true)?;
        Ok(Self { connection: BufReader::new(connection), lines: 0 })
    }

    /// Sends one more line and gives the address the server has, from its answer.
    pub(crate) fn line(&mut self) -> Result<String> {
        self.say()?;
        self.hear()
    }

    /// Sends one more line.
    pub(crate) fn say(&mut self) -> Result<()> {
        self.lines += 1;
        // In one piece: the servers answer what they get at a time.
        self.connection.get_mut().write_all(format!("line {}\n", self.lines).as_bytes())?;
        Ok(())
    }

    /// How many bytes of what was sent the other side has not acknowledged.
    pub(crate) fn unacknowledged(&self) -> Result<i32> {
        let mut bytes = 0;
        // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes an int, which outlives the call; the
        // connection is open.
        let done = unsafe {
            libc::ioctl(self.connection.get_ref().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes)
        };
        ensure!(done == 0, "SIOCOUTQ: {}", std::io::Error::last_os_error());
        Ok(bytes)
    }

    /// Waits, without a word, until the connection has come to an end.
    pub(crate) fn ends(&mut self) -> Result<()> {
        match self.connection.fill_buf() {
            Ok([]) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => bail!("the connection has no end but {other:?}"),
        }
    }

    /// Takes the answer to the last line.
    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut answer = String::new();
        self.connection.read_line(&mut answer)?;
        let (address, line) = answer.trim_end().split_once(' ').context("an answer has words")?;
        ensure!(
            line == format!("line {}", self.lines),
            "not the answer to {}: {answer}",
            self.lines
        );
        Ok(address.to_owned())
    }
}

/// One connection and UDP. Whenever a line comes, it answers all datagrams that
/// have come until then, and the line with how many there were.
pub(crate) const GATED: &str = "
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], 7000), family=family)
server = socket.socket(family, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 7000))
server.setblocking(False)
print('listening', flush=True)
connection = listener.accept()[0]
while line := connection.recv(4096):
    count = 0
    try:
        while True:
            data, peer = server.recvfrom(65536)
            server.sendto(data, peer)
            count += 1
    except BlockingIOError:
        connection.sendall(b'%d ' % count + line)
";

/// A peer's UDP socket.
pub(crate) struct Datagrams(UdpSocket);

impl Datagrams {
    /// Connected from `host`.
    pub(crate) fn open(host: &Host, endpoint: &str) -> Result<Self> {
        let any = if endpoint.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = host.enter(|| UdpSocket::bind(any))?;
        socket.connect(endpoint)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Sends `data`.
    pub(crate) fn say(&self, data: &[u8]) -> Result<()> {
        self.0.send(data)?;
        Ok(())
    }

    /// The next datagram that comes.
    pub(crate) fn hear(&self) -> Result<Vec<u8>> {
        let mut answer = vec![0; 65_536];
        let length = self.0.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    }

    /// Sends a datagram and gives the server's address and count.
    pub(crate) fn ask(&self) -> Result<(String, u32)> {
        self.0.send(b"datagram")?;
        let mut answer = [0; 100];
        let length = self.0.recv(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        let mut words = answer.split(' ');
        let (address, count) = (words.next(), words.next());
        Ok((address.context("an address")?.to_owned(), count.context("a count")?.parse()?))
    }
}
