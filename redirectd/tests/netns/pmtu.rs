//! A path with a smaller MTU: whoever sends too much learns it through home.
//!
//! ```text
//! near ──N── home ──X── r1 ──Y── r2 ──Z── far
//! ```
//!
//! Near and far are the peer and the host, or the other way round. The narrow
//! link is Y, whose routers say so to home, or X, where home has to say so
//! itself. All others take 1,500 bytes, so that neither end knows beforehand.

use anyhow::{Result, ensure};
use xtask::lab::{Host, Lab, Nginx, Plug, Switch, soon};

use crate::{
    echo::{self, Echo},
    scene,
};

const NARROW: u32 = 1400;

struct Path {
    near: Host,
    home: Host,
    far: Host,
    _others: ([Host; 2], [Switch; 4]),
}

impl Path {
    /// Network N is 10.0.0.0/24 and fd00::/64, X 10.1.0.0/24 and fd01::/64, …
    fn new(lab: &Lab, narrow: &str) -> Result<Self> {
        let switch = |name: &str| {
            if name == narrow { lab.narrow_switch(name, NARROW) } else { lab.switch(name) }
        };
        let [n, x, y, z] = [switch("N")?, switch("X")?, switch("Y")?, switch("Z")?];
        let plug = |host: &Host, interface: &str, switch: &Switch, network: u8, number: u8| {
            let plug = Plug::new(interface)
                .addr(&format!("10.{network}.0.{number}/24"))
                .addr(&format!("fd0{network}::{number}/64"));
            host.plug(switch, plug)
        };
        let [near, home, far] = [lab.host("near")?, lab.host("home")?, lab.host("far")?];
        let [r1, r2] = [lab.host("r1")?, lab.host("r2")?];
        plug(&near, "eth0", &n, 0, 1)?;
        plug(&home, "eth0", &n, 0, 2)?;
        plug(&home, "eth1", &x, 1, 2)?;
        plug(&r1, "eth0", &x, 1, 1)?;
        plug(&r1, "eth1", &y, 2, 1)?;
        plug(&r2, "eth0", &y, 2, 2)?;
        plug(&r2, "eth1", &z, 3, 2)?;
        plug(&far, "eth0", &z, 3, 1)?;
        for router in [&r1, &r2] {
            router.forward()?;
        }
        for (host, gateway4, gateway6) in [
            (&home, "10.1.0.1", "fd01::1"),
            (&r2, "10.2.0.1", "fd02::1"),
            (&far, "10.3.0.2", "fd03::2"),
        ] {
            host.route("default", gateway4)?;
            host.route("default", gateway6)?;
        }
        r1.route("10.0.0.0/24", "10.1.0.2")?;
        r1.route("fd00::/64", "fd01::2")?;
        r1.route("10.3.0.0/24", "10.2.0.2")?;
        r1.route("fd03::/64", "fd02::2")?;
        Ok(Self { near, home, far, _others: ([r1, r2], [n, x, y, z]) })
    }
}

/// Which family, as addresses of near, home and far.
type Family = [&'static str; 3];
const V4: Family = ["10.0.0.1", "10.0.0.2", "10.3.0.1"];
const V6: Family = ["[fd00::1]", "[fd00::2]", "[fd03::1]"];

/// Whoever is on the far side of the narrow link.
#[derive(PartialEq)]
enum Far {
    Peer,
    Host,
}

/// Sends 3 MB and large datagrams both ways over a path with a narrow link.
fn learned(family: Family, far: Far, narrow: &str) -> Result<()> {
    let lab = Lab::new()?;
    let path = Path::new(&lab, narrow)?;
    let daemon =
        scene::start(&path.home, "interfaces: { eth0: { attach: tc }, eth1: { attach: tc } }")?;
    let [near_address, home, far_address] = family;
    let (peer, peer_address, host, host_address) = match far {
        Far::Peer => (&path.far, far_address, &path.near, near_address),
        Far::Host => (&path.near, near_address, &path.far, far_address),
    };
    let nginx = Nginx::start(host, &[&format!("{host_address}:8080")])?;
    let _echo = Echo::udp(host, &format!("{host_address}:7000"), b'c')?;
    daemon.redirect(&[
        "add",
        "web",
        &format!("{home}:80"),
        "--to",
        &format!("{host_address}:8080"),
    ])?;
    let target = format!("{host_address}:7000");
    daemon.redirect(&[
        "add",
        "echo",
        &format!("{home}:7"),
        "--to",
        &target,
        "--protocol",
        "udp",
    ])?;

    // Datagrams first, while nobody knows the path yet: what does not fit gets
    // lost until its sender has learned, and no longer.
    let socket = echo::udp(peer, &format!("{peer_address}:0"))?;
    socket.connect(format!("{home}:7"))?;
    let data = [b'x'; 1440];
    let mut answer = [0; 2000];
    let length = soon("a large datagram comes back", || {
        socket.send(&data).ok()?;
        socket.recv(&mut answer).ok()
    })?;
    ensure!(answer[..length] == [b"c", &data[..]].concat(), "the datagram came back changed");

    let file = |name: &str| lab.dir().join(name).to_string_lossy().into_owned();
    let (up, down) = (file("up"), nginx.root().join("down").to_string_lossy().into_owned());
    for name in [&up, &down] {
        peer.run(&["sh", "-c", &format!("head -c 3000000 /dev/urandom > {name}")])?;
    }
    let curl = ["curl", "--silent", "--show-error", "--fail", "--max-time", "10"];
    let (got, url) = (file("got"), format!("http://{home}/down"));
    peer.run(&[&curl[..], &["--output", &got, &url]].concat())?;
    peer.run(&["cmp", &got, &down])?;
    let url = format!("http://{home}/upload/up");
    peer.run(&[&curl[..], &["--upload-file", &up, &url]].concat())?;
    peer.run(&["cmp", &up, &nginx.root().join("upload/up").to_string_lossy()])?;

    // The near side could know only by an ICMP error that came through home.
    let home = home.trim_matches(['[', ']']);
    let route = path.near.run(&["ip", "route", "get", home])?;
    ensure!(route.contains(&format!("mtu {NARROW}")), "the near side has not learned: {route}");
    Ok(())
}

#[test]
fn behind_a_router_towards_the_peer_over_ipv4() -> Result<()> {
    learned(V4, Far::Peer, "Y")
}

#[test]
fn behind_a_router_towards_the_peer_over_ipv6() -> Result<()> {
    learned(V6, Far::Peer, "Y")
}

#[test]
fn behind_a_router_towards_the_host_over_ipv4() -> Result<()> {
    learned(V4, Far::Host, "Y")
}

#[test]
fn behind_a_router_towards_the_host_over_ipv6() -> Result<()> {
    learned(V6, Far::Host, "Y")
}

#[test]
fn homes_own_link_towards_the_peer_over_ipv4() -> Result<()> {
    learned(V4, Far::Peer, "X")
}

#[test]
fn homes_own_link_towards_the_peer_over_ipv6() -> Result<()> {
    learned(V6, Far::Peer, "X")
}

#[test]
fn homes_own_link_towards_the_host_over_ipv4() -> Result<()> {
    learned(V4, Far::Host, "X")
}

#[test]
fn homes_own_link_towards_the_host_over_ipv6() -> Result<()> {
    learned(V6, Far::Host, "X")
}

/// Datagrams that may be cut up are, where home's own link is too narrow for
/// them: each arrives whole, the very first one too.
fn cut_up(far: Far) -> Result<()> {
    let lab = Lab::new()?;
    let path = Path::new(&lab, "X")?;
    let daemon =
        scene::start(&path.home, "interfaces: { eth0: { attach: tc }, eth1: { attach: tc } }")?;
    let (peer, peer_address, host, host_address) = match far {
        Far::Peer => (&path.far, "10.3.0.1:5000", &path.near, "10.0.0.1:7000"),
        Far::Host => (&path.near, "10.0.0.1:5000", &path.far, "10.3.0.1:7000"),
    };
    daemon.redirect(&[
        "add",
        "cut",
        "10.0.0.2:7",
        "--to",
        host_address,
        "--protocol",
        "udp",
        "--no-check",
    ])?;
    let (client, server) = (echo::udp(peer, peer_address)?, echo::udp(host, host_address)?);
    for socket in [&client, &server] {
        echo::set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
    }
    client.connect("10.0.0.2:7")?;
    let mut heard = [0; 2000];
    // Half-open at first, established from the second question on.
    for round in 1..=3 {
        let (question, answer) = ([round; 1440], [!round; 1460]);
        client.send(&question)?;
        let (length, from) = soon("the host hears it", || server.recv_from(&mut heard).ok())?;
        ensure!(heard[..length] == question, "question {round} came changed");
        server.send_to(&answer, from)?;
        let length = soon("the peer hears it", || client.recv(&mut heard).ok())?;
        ensure!(heard[..length] == answer, "answer {round} came changed");
    }
    // Nobody was told of the narrow link.
    let route = path.near.run(&["ip", "route", "get", "10.0.0.2"])?;
    ensure!(!route.contains("mtu"), "the near side has learned: {route}");
    Ok(())
}

#[test]
fn cut_up_on_the_way_to_the_host() -> Result<()> {
    cut_up(Far::Host)
}

#[test]
fn cut_up_on_the_way_to_the_peer() -> Result<()> {
    cut_up(Far::Peer)
}
