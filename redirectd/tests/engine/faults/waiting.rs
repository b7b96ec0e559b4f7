//! Peers that only wait, and say nothing themselves, hear it when the process is lost between the
//! commit and its first step on c: each of its connections is reset, of IPv4 and of IPv6, half
//! closed or not.

use std::{
    fs,
    io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};
use xtask::lab::{Host, Process, soon, until};

use super::{
    field::{Field, LONGEST},
    gate::Gate,
    hit::Hit,
};
use crate::nodes::PID;

/// As [`crate::programs::SELECT`], but leaves connections open whose peers have ended them, and
/// ends its own side of those that say so. It holds a file.
const PROGRAM: &str = "
import selectors, socket, sys
held = open(sys.argv[1])
listener = socket.create_server(('::', 7000), family=socket.AF_INET6, dualstack_ipv6=True)
known = selectors.DefaultSelector()
known.register(listener, selectors.EVENT_READ)
half = []
print('listening', flush=True)
while True:
    for key, _ in known.select():
        connection = key.fileobj
        if connection is listener:
            known.register(listener.accept()[0], selectors.EVENT_READ)
            continue
        line = connection.recv(4096)
        connection.sendall(b'heard ' + line) if line else None
        if line in (b'', b'end\\n'):
            half.append(connection)
            known.unregister(connection)
        if line == b'end\\n':
            connection.shutdown(socket.SHUT_WR)
";
const FOUR: &str = "10.0.0.2:7000";
const SIX: &str = "[fd00::2]:7000";
/// `TCP_FIN_WAIT2`, of the kernel's `net/tcp_states.h`.
const FIN_WAIT2: u8 = 5;

/// How a connection is when it moves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ended {
    No,
    ByPeer,
    ByServer,
}

/// One whose peer waits.
struct Waiting {
    connection: TcpStream,
    told: String,
    ended: Ended,
}

impl Waiting {
    /// The server has accepted it.
    fn open(host: &Host, (endpoint, ended): (&str, Ended)) -> Result<Self> {
        let to: SocketAddr = endpoint.parse()?;
        let mut connection = host.enter(|| TcpStream::connect_timeout(&to, LONGEST))?;
        connection.set_read_timeout(Some(LONGEST))?;
        connection.write_all(if ended == Ended::ByServer { b"end\n" } else { b"line\n" })?;
        let mut answer = String::new();
        BufReader::new(&connection).read_line(&mut answer)?;
        ensure!(answer.starts_with("heard "), "no answer: {answer:?}");
        match ended {
            Ended::No => {}
            Ended::ByPeer => {
                connection.shutdown(Shutdown::Write)?;
                let heard = || (state(&connection).ok()? == FIN_WAIT2).then_some(());
                soon("the server's kernel has heard the end", heard)?;
            }
            Ended::ByServer => ensure!(connection.read(&mut [0])? == 0, "no end"),
        }
        Ok(Self { connection, told: format!("{endpoint}, ended: {ended:?}"), ended })
    }

    /// It is reset, and does not just end.
    fn is_reset(&mut self) -> Result<()> {
        if self.ended == Ended::ByServer {
            // There is nothing to be read any more; and so it is another error.
            let error = || self.connection.take_error().ok().flatten();
            let error = until(LONGEST, "it is reset", error).with_context(|| self.told.clone())?;
            ensure!(error.kind() == ErrorKind::BrokenPipe, "{}: {error}", self.told);
            return Ok(());
        }
        match self.connection.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => bail!("{}: it is not reset but {other:?}", self.told),
        }
    }
}

/// What the kernel says of a connection's state.
fn state(connection: &TcpStream) -> Result<u8> {
    let (mut state, mut length) = (0_u8, 1);
    // SAFETY: the kernel writes at most `length` bytes to `state`, and how many to `length`;
    // both outlive the call, and the connection is open.
    let done = unsafe {
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        let state = (&raw mut state).cast();
        libc::getsockopt(connection.as_raw_fd(), level, option, state, &raw mut length)
    };
    ensure!(done == 0, "TCP_INFO: {}", Error::last_os_error());
    Ok(state)
}

/// The server at home, and peers that wait.
struct Scene {
    field: Field,
    peers: Vec<Waiting>,
    held: PathBuf,
    /// How many moves there have been when it is lost.
    moves: u32,
}

impl Scene {
    fn new(options: &'static [&'static str]) -> Result<Self> {
        let mut held = PathBuf::new();
        let field = Field::serving(options, |two| {
            held = two.home.host().dir().join("held");
            fs::write(&held, "held")?;
            let file = held.to_str().context("a plain path")?;
            let log = two.home.start_as(PID, &["python3", "-c", PROGRAM, file])?;
            let said = || fs::read_to_string(&log).ok().filter(|log| log.contains("listening"));
            soon("a server listens", said).map(drop)
        })?;
        let ends = [Ended::No, Ended::ByPeer, Ended::ByServer];
        let each = [FOUR, SIX].into_iter().flat_map(|to| ends.map(|ended| (to, ended)));
        let open = |one| Waiting::open(field.three.two.peer(), one);
        let peers = each.map(open).collect::<Result<_>>()?;
        Ok(Self { field, peers, held, moves: 1 })
    }

    /// All peers hear it, and `teller` tells it; the move has failed.
    fn is_lost(&mut self, teller: &str, mut command: Process) -> Result<()> {
        // The talk of the field is open, too.
        let line = format!("of a process that is lost pid={PID} move={} reset=7", self.moves);
        let heard = self.peers.iter_mut().try_for_each(Waiting::is_reset);
        heard.with_context(|| format!("{}\n{}", command.log(), self.field.logs()))?;
        let code = command.wait(LONGEST)?.code();
        ensure!(code != Some(0), "the move ended with {code:?}: {}", command.log());
        let daemon = self.field.daemon(teller);
        until(LONGEST, "it is told", || daemon.log().contains(&line).then_some(()))
            .with_context(|| daemon.log())
    }

    /// Where a machine has the images.
    fn images(&self, on: &str, what: &str) -> PathBuf {
        let run = self.field.machine(on).proc().join("../run/redirectd");
        run.join(format!("{what}-{PID}"))
    }

    /// They are there for whoever is to look at them.
    fn keeps_images(&self, on: &str, what: &str) -> Result<()> {
        let images = self.images(on, what);
        ensure!(images.join("files.img").exists(), "its images are not in {}", images.display());
        Ok(())
    }
}

/// Its memory follows; it is lost by what `hit` does, before c has heard that it is to run.
fn lost_lazily(hit: impl FnOnce(&mut Field) -> Result<()>) -> Result<()> {
    let mut scene = Scene::new(&["--memory", "lazy"])?;
    let gate = Gate::closing(&scene.field)?;
    let command = scene.field.start_by("c", &gate.socket())?;
    gate.closed().with_context(|| command.log())?;
    hit(&mut scene.field)?;
    gate.open()?;
    scene.is_lost("c", command)?;
    let images = scene.images("c", "arriving");
    until(LONGEST, "no images stay", || (!images.exists()).then_some(()))
}

/// It is c's, and what it needs is gone when it is to be revived again, after what `hit` does.
fn lost_twice(hit: impl FnOnce(&mut Hit<'_>) -> Result<()>) -> Result<()> {
    let mut scene = Scene::new(&[])?;
    scene.field.halts("c").at("post-restore!")?;
    let command = scene.field.start("c")?;
    let criu = scene.field.halts("c").halted()?;
    fs::remove_file(&scene.held)?;
    let mut move_hit = Hit { field: &mut scene.field, on: "c", criu, command };
    hit(&mut move_hit)?;
    let Hit { command, .. } = move_hit;
    scene.is_lost("c", command)?;
    scene.keeps_images("c", "arriving")
}

#[test]
fn its_memory_cannot_follow_as_daemon_and_criu_have_died() -> Result<()> {
    lost_lazily(|field| field.daemon_and_criu_die("c"))
}

#[test]
fn its_memory_cannot_follow_as_criu_has_died() -> Result<()> {
    lost_lazily(|field| field.all_criu_dies("c"))
}

/// It runs on at home, as CRIU lets it go, until redirectd there ends it.
#[test]
fn it_runs_on_where_it_was_as_the_command_has_died() -> Result<()> {
    lost_lazily(|field| {
        field.command_dies()?;
        let line = format!("of a process that is lost pid={PID} reset=7");
        let daemon = field.daemon("home");
        until(LONGEST, "it is told", || daemon.log().contains(&line).then_some(()))
            .with_context(|| daemon.log())
    })
}

#[test]
fn it_cannot_be_revived_again() -> Result<()> {
    lost_twice(|hit| hit.criu_dies())
}

#[test]
fn it_cannot_be_revived_again_as_daemon_and_criu_have_died() -> Result<()> {
    lost_twice(|hit| hit.both_die())
}

/// It was ended on c, and cannot go to d.
#[test]
fn it_cannot_come_back() -> Result<()> {
    let mut scene = Scene::new(&[])?;
    scene.field = scene.field.on_c()?;
    scene.moves = 2;
    scene.field.halts("c").at("done-dump")?;
    let command = scene.field.start("d")?;
    scene.field.halts("c").halted()?;
    fs::remove_file(&scene.held)?;
    scene.field.daemon_dies("c")?;
    scene.field.halts("c").go()?;
    scene.is_lost("c", command)?;
    scene.keeps_images("c", "leaving")
}
