//! Idle flows go when their time is over, and not before; busy ones stay.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
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

/// The port of home's endpoint of a flow.
fn port(flow: &Value) -> Option<u16> {
    flow["home"].as_str()?.parse::<SocketAddr>().ok().map(|home| home.port())
}

#[test]
fn idle_flows_go_and_busy_ones_stay() -> Result<()> {
    let scene = Scene::configured(Lab::alone()?, &format!("{TABLES}\n{TIMERS}"))?;
    let (peer, c) = (&scene.lan.peer, &scene.lan.c);
    let neighbour = ["neigh", "add", NOBODY, "lladdr", NOBODYS_MAC, "dev", "eth0"];
    scene.lan.home.ip(&neighbour)?;
    let _tcp = Echo::tcp(c, "10.0.0.3:7000", b'c')?;
    let _udp = Echo::udp(c, "10.0.0.3:7000", b'c')?;
    // Each kind of flow has a port of home's, by which it is known here.
    let endpoint = |port: u16| format!("10.0.0.2:{port}");
    let add = |port: u16, host: &str, protocol: &str| {
        let (name, target) = (format!("r{port}"), format!("{host}:7000"));
        scene.add(&[&name, &endpoint(port), "--to", &target, "--protocol", protocol, "--no-check"])
    };
    let udp = |port: u16| -> Result<UdpSocket> {
        let socket = echo::udp(peer, "10.0.0.1:0")?;
        socket.connect(endpoint(port))?;
        Ok(socket)
    };
    for (port, host, protocol) in [
        (1, NOBODY, "udp"),
        (2, "10.0.0.3", "udp"),
        (3, NOBODY, "tcp"),
        (4, "10.0.0.3", "tcp"),
        (5, "10.0.0.3", "tcp"),
        (6, "10.0.0.3", "udp"),
        (7, "10.0.0.3", "tcp"),
    ] {
        add(port, host, protocol)?;
    }

    let mut last = BTreeMap::new();
    let (busy_udp, mut busy_tcp) = (udp(6)?, echo::connect(peer, &endpoint(7))?);
    let (mut idle, mut closed) =
        (echo::connect(peer, &endpoint(5))?, echo::connect(peer, &endpoint(4))?);
    assert_eq!(ask(&mut closed, b"goodbye")?, 'c');
    there_and_back(&busy_udp, b"first")?;
    there_and_back(&busy_udp, b"second")?;
    let answered = udp(2)?;
    there_and_back(&answered, b"first")?;
    // From here on: each at its last word. Nothing comes after it.
    let mut says = |port: u16, wait: u64| last.insert(port, (Instant::now(), wait));
    says(5, 10);
    assert_eq!(ask(&mut idle, b"and now silence")?, 'c');
    says(4, 4);
    drop(closed);
    says(2, 7);
    there_and_back(&answered, b"second")?;
    says(3, 4);
    let nowhere: SocketAddr = "10.0.0.77:4000".parse()?;
    let to: SocketAddr = endpoint(3).parse()?;
    RawSender::new(&scene.lan.d, to.ip())?.send(&raw::syn(nowhere, to, 1)?, to.ip())?;
    says(1, 1);
    let unanswered = udp(1)?;
    unanswered.send(b"anybody?")?;

    let mut states = BTreeMap::new();
    let mut gone = BTreeMap::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) + SWEEP {
        there_and_back(&busy_udp, b"busy")?;
        assert_eq!(ask(&mut busy_tcp, b"busy")?, 'c');
        let flows = scene.flows()?;
        let now = Instant::now();
        for flow in &flows {
            let state = flow["state"].as_str().context("a state")?.to_owned();
            states.entry(port(flow).context("a home endpoint")?).or_insert(state);
        }
        for absent in last.keys().filter(|&&p| flows.iter().all(|flow| port(flow) != Some(p))) {
            gone.entry(*absent).or_insert(now);
        }
        std::thread::sleep(COARSE);
    }

    let seen: Vec<(u16, &str)> = states.iter().map(|(port, state)| (*port, &**state)).collect();
    let (open, half) = ("established", "half-open");
    let expected =
        [(1, half), (2, open), (3, half), (4, "closed"), (5, open), (6, open), (7, open)];
    assert_eq!(seen, expected);
    for (port, (at, wait)) in &last {
        let lasted = *gone.get(port).with_context(|| format!("flow {port} never goes"))? - *at;
        let wait = Duration::from_secs(*wait);
        ensure!(lasted + COARSE >= wait, "flow {port} lasted {lasted:?} of {wait:?}");
        ensure!(lasted <= wait + SWEEP, "flow {port} lasted {lasted:?}, not {wait:?}");
    }
    let mut left: Vec<_> = scene.flows()?.iter().filter_map(port).collect();
    left.sort_unstable();
    assert_eq!(left, [6, 7], "the busy ones are still there");
    Ok(())
}

/// After a move, what the new host says reaches a peer that has not spoken
/// since, and keeps the flow alive.
fn moved_while_the_peer_is_silent([peer, home, c, d]: [&str; 4]) -> Result<()> {
    let scene = Scene::configured(Lab::new()?, &format!("{TABLES}\ntimers: {{ udp: 2s }}"))?;
    let at_home = format!("{home}:7");
    let (old, new) = (format!("{c}:7000"), format!("{d}:7000"));
    let _echo = Echo::udp(&scene.lan.c, &old, b'c')?;
    let what = ["echo", &at_home, "--protocol", "udp", "--flows", "follow", "--no-check"];
    scene.add(&[&what[..], &["--to", &old]].concat())?;
    let listener = echo::udp(&scene.lan.peer, &format!("{peer}:5000"))?;
    listener.connect(&at_home)?;
    there_and_back(&listener, b"subscribe")?;
    there_and_back(&listener, b"and listen")?;
    let flows = scene.flows()?;
    let port = flows[0]["snat_port"].as_u64().context("a port towards the host")?;

    scene.add(&[&what[..], &["--to", &new, "--replace"]].concat())?;
    let speaker = echo::udp(&scene.lan.d, &new)?;
    speaker.connect(format!("{home}:{port}"))?;
    let begin = Instant::now();
    // Three times what an idle flow gets.
    for number in 0_u64.. {
        speaker.send(&number.to_be_bytes())?;
        let mut heard = [0; 64];
        let length =
            soon(&format!("the peer hears number {number}"), || listener.recv(&mut heard).ok())?;
        assert_eq!(heard[..length], number.to_be_bytes());
        if begin.elapsed() > Duration::from_secs(6) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let after = scene.flows()?;
    ensure!(after.len() == 1 && after[0]["host"] == new, "{after:#?}");
    Ok(())
}

#[test]
fn moved_while_the_peer_is_silent_over_ipv4() -> Result<()> {
    moved_while_the_peer_is_silent(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"])
}

#[test]
fn moved_while_the_peer_is_silent_over_ipv6() -> Result<()> {
    moved_while_the_peer_is_silent(["[fd00::1]", "[fd00::2]", "[fd00::3]", "[fd00::4]"])
}
