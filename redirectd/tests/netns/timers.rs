//! Idle flows go when their time is over, and not before; busy ones stay.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use xtask::lab::{Lab, soon};

use crate::{
    echo::{self, Echo, ask, there_and_back},
    raw::{self, RawSender},
    scene::Scene,
};

const TABLES: &str = "tables: { redirects: 64, flows: 64, half_open: 64 }";
/// Further apart than [`SWEEP`], so that no timer can pass for another.
const TIMERS: &str =
    "timers: { udp_unreplied: 1s, tcp_transitory: 4s, udp: 7s, tcp_established: 10s }";
/// A machine of local administration that is not there, so that nothing ever
/// comes back from it, not even that it is not there.
const NOBODY: &str = "10.0.0.99";
const NOBODYS_MAC: &str = "02:00:5e:00:53:63";
/// What the kernel's coarse clock may be behind.
const COARSE: Duration = Duration::from_millis(50);
/// A sweep comes every second, on a busy machine a little later.
const SWEEP: Duration = Duration::from_millis(2900);
/// Looks that lie further apart, or a first one so long after the words, may miss
/// the shortest timer, and tell of the machine's pauses, not of the flows.
const APART: Duration = Duration::from_millis(950);
/// What an idle flow of datagrams gets when its process is moved.
const UDP: Duration = Duration::from_secs(2);
/// So many rounds the machine may spoil.
const ROUNDS: usize = 8;

enum Round {
    /// It has shown what it should.
    Shown,
    /// The machine stood still for too long: that proves nothing.
    Spoilt,
}

/// Runs `round` until the machine does not spoil it.
fn shown(mut round: impl FnMut() -> Result<Round>) -> Result<()> {
    for _ in 0..ROUNDS {
        if let Round::Shown = round()? {
            return Ok(());
        }
    }
    bail!("the machine stood still for too long in each of {ROUNDS} rounds")
}

/// The port of home's endpoint of a flow.
fn port(flow: &Value) -> Option<u16> {
    flow["home"].as_str()?.parse::<SocketAddr>().ok().map(|home| home.port())
}

/// Each kind of flow has a port of home's, by which it is known here.
fn endpoint(port: u16) -> String {
    format!("10.0.0.2:{port}")
}

fn add_redirects(scene: &Scene) -> Result<()> {
    let neighbour = ["neigh", "add", NOBODY, "lladdr", NOBODYS_MAC, "dev", "eth0"];
    scene.lan.home.ip(&neighbour)?;
    for (port, host, protocol) in [
        (1, NOBODY, "udp"),
        (2, "10.0.0.3", "udp"),
        (3, NOBODY, "tcp"),
        (4, "10.0.0.3", "tcp"),
        (5, "10.0.0.3", "tcp"),
        (6, "10.0.0.3", "udp"),
        (7, "10.0.0.3", "tcp"),
    ] {
        let (name, target) = (format!("r{port}"), format!("{host}:7000"));
        let what = [&name, &endpoint(port), "--to", &target, "--protocol", protocol];
        scene.add(&[&what[..], &["--no-check"]].concat())?;
    }
    Ok(())
}

fn udp(scene: &Scene, port: u16) -> Result<UdpSocket> {
    let socket = echo::udp(&scene.lan.peer, "10.0.0.1:0")?;
    socket.connect(endpoint(port))?;
    Ok(socket)
}

/// Flows that are busy all the time, one of each protocol.
struct Busy {
    udp: UdpSocket,
    tcp: TcpStream,
}

impl Busy {
    fn open(scene: &Scene) -> Result<Self> {
        let busy = Self { udp: udp(scene, 6)?, tcp: echo::connect(&scene.lan.peer, &endpoint(7))? };
        there_and_back(&busy.udp, b"first")?;
        there_and_back(&busy.udp, b"second")?;
        Ok(busy)
    }

    fn speak(&mut self) -> Result<()> {
        there_and_back(&self.udp, b"busy")?;
        assert_eq!(ask(&mut self.tcp, b"busy")?, 'c');
        Ok(())
    }
}

/// Flows that say no more, by their ports.
struct Idle {
    /// When each had its last word, and its timer.
    last: BTreeMap<u16, (Instant, Duration)>,
    _connections: (TcpStream, [UdpSocket; 2]),
}

impl Idle {
    fn speak(scene: &Scene) -> Result<Self> {
        let connect = |port: u16| echo::connect(&scene.lan.peer, &endpoint(port));
        let (mut idle, mut closed) = (connect(5)?, connect(4)?);
        assert_eq!(ask(&mut closed, b"goodbye")?, 'c');
        let (answered, unanswered) = (udp(scene, 2)?, udp(scene, 1)?);
        there_and_back(&answered, b"first")?;
        let nowhere: SocketAddr = "10.0.0.77:4000".parse()?;
        let to: SocketAddr = endpoint(3).parse()?;
        let sender = RawSender::new(&scene.lan.d, to.ip())?;
        // From here on: each at its last word. Nothing comes after it.
        let mut last = BTreeMap::new();
        let mut says = |port, wait| last.insert(port, (Instant::now(), Duration::from_secs(wait)));
        says(5, 10);
        assert_eq!(ask(&mut idle, b"and now silence")?, 'c');
        says(4, 4);
        drop(closed);
        says(2, 7);
        there_and_back(&answered, b"second")?;
        says(3, 4);
        sender.send(&raw::syn(nowhere, to, 1)?, to.ip())?;
        says(1, 1);
        unanswered.send(b"anybody?")?;
        Ok(Self { last, _connections: (idle, [answered, unanswered]) })
    }
}

/// What is seen of all flows by looking again and again.
#[derive(Default)]
struct Seen {
    /// The first state of each, by its port.
    states: BTreeMap<u16, String>,
    /// When each was first seen to be gone.
    gone: BTreeMap<u16, Instant>,
}

impl Seen {
    fn look(&mut self, scene: &Scene, idle: &Idle) -> Result<()> {
        let flows = scene.flows()?;
        let now = Instant::now();
        for flow in &flows {
            let state = flow["state"].as_str().context("a state")?.to_owned();
            self.states.entry(port(flow).context("a home endpoint")?).or_insert(state);
        }
        for absent in idle.last.keys().filter(|&&p| flows.iter().all(|flow| port(flow) != Some(p)))
        {
            self.gone.entry(*absent).or_insert(now);
        }
        Ok(())
    }

    fn judge(&self, idle: &Idle) -> Result<()> {
        let seen = self.states.iter().map(|(port, state)| (*port, &**state));
        let (open, half) = ("established", "half-open");
        let expected =
            [(1, half), (2, open), (3, half), (4, "closed"), (5, open), (6, open), (7, open)];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
        for (port, (at, wait)) in &idle.last {
            let gone = self.gone.get(port).with_context(|| format!("flow {port} never goes"))?;
            let lasted = *gone - *at;
            ensure!(lasted + COARSE >= *wait, "flow {port} lasted {lasted:?} of {wait:?}");
            ensure!(lasted <= *wait + SWEEP, "flow {port} lasted {lasted:?}, not {wait:?}");
        }
        Ok(())
    }
}

fn idle_ones_go() -> Result<Round> {
    let scene = Scene::configured(Lab::alone()?, &format!("{TABLES}\n{TIMERS}"))?;
    let _tcp = Echo::tcp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    let _udp = Echo::udp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    add_redirects(&scene)?;
    let mut busy = Busy::open(&scene)?;
    let idle = Idle::speak(&scene)?;
    let mut seen = Seen::default();
    let begin = Instant::now();
    // No word was before this one.
    let mut looked = idle.last[&5].0;
    while begin.elapsed() < Duration::from_secs(10) + SWEEP {
        busy.speak()?;
        seen.look(&scene, &idle)?;
        let now = Instant::now();
        if now - looked > APART {
            return Ok(Round::Spoilt);
        }
        looked = now;
        std::thread::sleep(COARSE);
    }
    seen.judge(&idle)?;
    let mut left: Vec<_> = scene.flows()?.iter().filter_map(port).collect();
    left.sort_unstable();
    assert_eq!(left, [6, 7], "the busy ones are still there");
    Ok(Round::Shown)
}

#[test]
fn idle_flows_go_and_busy_ones_stay() -> Result<()> {
    shown(idle_ones_go)
}

/// After a move, what the new host says reaches a peer that has not spoken
/// since, and keeps the flow alive.
fn moved_while_the_peer_is_silent([peer, home, c, d]: [&str; 4]) -> Result<Round> {
    let rest = format!("{TABLES}\ntimers: {{ udp: {}s }}", UDP.as_secs());
    let scene = Scene::configured(Lab::alone()?, &rest)?;
    let at_home = format!("{home}:7");
    let (old, new) = (format!("{c}:7000"), format!("{d}:7000"));
    let _echo = Echo::udp(&scene.lan.c, &old, b'c')?;
    let what = ["echo", &at_home, "--protocol", "udp", "--flows", "follow", "--no-check"];
    scene.add(&[&what[..], &["--to", &old]].concat())?;
    let listener = echo::udp(&scene.lan.peer, &format!("{peer}:5000"))?;
    listener.connect(&at_home)?;
    there_and_back(&listener, b"subscribe")?;
    // The flow may be gone if more than its timer lies between two words.
    let late = |last: Instant| last.elapsed() + COARSE > UDP;
    let mut last = Instant::now();
    there_and_back(&listener, b"and listen")?;
    let flows = scene.flows()?;
    if late(last) {
        return Ok(Round::Spoilt);
    }
    let port = flows[0]["snat_port"].as_u64().context("a port towards the host")?;

    scene.add(&[&what[..], &["--to", &new, "--replace"]].concat())?;
    let speaker = echo::udp(&scene.lan.d, &new)?;
    speaker.connect(format!("{home}:{port}"))?;
    let begin = Instant::now();
    let mut heard = [0; 64];
    for number in 0_u64.. {
        let now = Instant::now();
        speaker.send(&number.to_be_bytes())?;
        if late(last) {
            return Ok(Round::Spoilt);
        }
        last = now;
        let what = format!("the peer hears number {number}");
        let length = soon(&what, || listener.recv(&mut heard).ok())?;
        assert_eq!(heard[..length], number.to_be_bytes());
        if begin.elapsed() > 3 * UDP {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let after = scene.flows()?;
    if late(last) {
        return Ok(Round::Spoilt);
    }
    ensure!(after.len() == 1 && after[0]["host"] == new, "{after:#?}");
    Ok(Round::Shown)
}

#[test]
fn moved_while_the_peer_is_silent_over_ipv4() -> Result<()> {
    shown(|| moved_while_the_peer_is_silent(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]))
}

#[test]
fn moved_while_the_peer_is_silent_over_ipv6() -> Result<()> {
    shown(|| moved_while_the_peer_is_silent(["[fd00::1]", "[fd00::2]", "[fd00::3]", "[fd00::4]"]))
}
