//! Servers with memory of their own that can tell whether it is right.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Result;
use xtask::lab::Host;

/// How long a server may take to look at all its memory, in a debug build on a
/// busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What they have in common: memory, and how a connection is served. A line is
/// answered with the server's address, after a look at one page; the line `all`
/// with how many of all pages are right.
const HOLDING: &str = "
import ctypes, mmap, os, random, selectors, signal, socket, sys, threading, zlib
class Memory:
    def __init__(self, seed):
        self.pages = int(sys.argv[2]) << 8
        self.map = mmap.mmap(-1, self.pages << 12, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for at in range(0, self.pages << 12, 1 << 20):
            self.map[at:at + (1 << 20)] = random.Random(seed + at).randbytes(1 << 20)
        self.sums = [self.sum(page) for page in range(self.pages)]
        self.turn = 0
        if sys.argv[3:] == ['alone']:
            library = ctypes.CDLL(None, use_errno=True)
            start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
            assert library.mlockall(1) == 0, ctypes.get_errno()
            assert library.munlock(ctypes.c_void_p(start), ctypes.c_size_t(len(self.map))) == 0
    def sum(self, page):
        return zlib.crc32(self.map[page << 12:page + 1 << 12])
    def right(self, page):
        return self.sum(page) == self.sums[page]
    def answer(self, connection):
        line = connection.recv(4096)
        if line == b'all\\n':
            count = sum(map(self.right, range(self.pages)))
            connection.sendall(b'%d of %d\\n' % (count, self.pages))
        elif line:
            self.turn += 7919
            right = self.right(self.turn % self.pages)
            address = connection.getsockname()[0] if right else 'wrong'
            connection.sendall(address.encode() + b' ' + line)
        return line
listener = socket.create_server((sys.argv[1], 7000))
";

const ALONE: &str = "
memory = Memory(7)
known = selectors.DefaultSelector()
known.register(listener, selectors.EVENT_READ)
print('listening', flush=True)
while True:
    for key, _ in known.select():
        if key.fileobj is listener:
            known.register(listener.accept()[0], selectors.EVENT_READ)
        elif not memory.answer(key.fileobj):
            known.unregister(key.fileobj)
            key.fileobj.close()
";

const THREADS: &str = "
def serve(connection):
    memory = Memory(connection.fileno())
    connection.sendall(b'ready\\n')
    while memory.answer(connection):
        pass
print('listening', flush=True)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
";

const FORKS: &str = "
memory = Memory(7)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print('listening', flush=True)
while True:
    connection = listener.accept()[0]
    if os.fork() == 0:
        listener.close()
        while memory.answer(connection):
            pass
        os._exit(0)
    connection.close()
";

/// One process that serves all connections by turns. Its second argument, as that of
/// all these, is how much memory it has, in MiB. With a third, `alone`, this is all
/// that may follow it: what Python itself has is locked. It then runs on, whatever
/// it finds there.
pub(crate) fn alone() -> String {
    [HOLDING, ALONE].concat()
}

/// A thread for each connection, each with memory of its own; it says `ready` when
/// it has it.
pub(crate) fn threads() -> String {
    [HOLDING, THREADS].concat()
}

/// A process for each connection, with its parent's memory.
pub(crate) fn forks() -> String {
    [HOLDING, FORKS].concat()
}

/// A connection over which a server is asked about all its memory.
pub(crate) struct Memory(BufReader<TcpStream>);

impl Memory {
    /// Connects from `host`.
    pub(crate) fn open(host: &Host, endpoint: &str) -> Result<Self> {
        let endpoint: SocketAddr = endpoint.parse()?;
        let connection = host.enter(|| TcpStream::connect_timeout(&endpoint, PATIENCE))?;
        connection.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(connection)))
    }

    /// The server's answer: how many of how many pages are right.
    pub(crate) fn all(&mut self) -> Result<String> {
        self.ask()?;
        self.hear()
    }

    /// Asks, without waiting for the answer.
    pub(crate) fn ask(&mut self) -> Result<()> {
        Ok(self.0.get_mut().write_all(b"all\n")?)
    }

    /// What the server says next.
    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
