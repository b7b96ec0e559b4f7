//! Peers on home itself and on the host itself, and what is home's own and
//! stays so.

use anyhow::{Result, ensure};
use xtask::lab::{Host, Nginx, soon};

use crate::{
    echo::{self, Echo},
    scene::Scene,
};

/// What fits into one packet on the way to the host. On home itself nothing
/// larger works: `lo` takes it whole, and a packet is never split afterwards.
const WHOLE: &[usize] = &[1, 1000, 1452];

/// A page and datagrams of several sizes for a peer that runs on `peer`.
fn served(scene: &Scene, peer: &Host, addresses: [&str; 2], sizes: &[usize]) -> Result<()> {
    let nginx = Nginx::start(&scene.lan.c, &["10.0.0.3:8080", "[fd00::3]:8080"])?;
    let _v4 = Echo::udp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    let _v6 = Echo::udp(&scene.lan.c, "[fd00::3]:7000", b'c')?;
    let page = "for a peer close by\n".repeat(200_000);
    nginx.page("page", &page)?;
    scene.add_both("web", "tcp", 80, 8080)?;
    scene.add_both("echo", "udp", 7, 7000)?;
    for (address, home) in addresses.iter().zip(["10.0.0.2", "[fd00::2]"]) {
        let url = format!("http://{home}/page");
        let curl = ["curl", "--silent", "--show-error", "--max-time", "10"];
        let got = peer.run(&[&curl[..], &[&url]].concat())?;
        ensure!(got == page, "the page came changed: {} bytes", got.len());

        let socket = echo::udp(peer, &format!("{address}:0"))?;
        socket.connect(format!("{home}:7"))?;
        for &size in sizes {
            echo::there_and_back(&socket, &vec![b'n'; size])?;
        }
    }
    Ok(())
}

#[test]
fn peer_on_home() -> Result<()> {
    let scene = Scene::tc()?;
    served(&scene, &scene.lan.home, ["10.0.0.2", "[fd00::2]"], WHOLE)
}

#[test]
fn peer_on_home_at_another_address() -> Result<()> {
    let scene = Scene::tc()?;
    scene.lan.home.address("eth0", "10.0.0.22/24")?;
    scene.lan.home.address("eth0", "fd00::22/64")?;
    served(&scene, &scene.lan.home, ["10.0.0.22", "[fd00::22]"], WHOLE)
}

#[test]
fn peer_on_the_host() -> Result<()> {
    let scene = Scene::tc()?;
    served(&scene, &scene.lan.c, ["10.0.0.3", "[fd00::3]"], &[1, 1472, 9000])
}

/// Other ports, other addresses, other protocols, and home as a client.
fn homes_own(attach: &str) -> Result<()> {
    let scene = Scene::attached(attach)?;
    let (home, peer) = (&scene.lan.home, &scene.lan.peer);
    home.address("eth0", "10.0.0.22/24")?;
    let moved = Nginx::start(&scene.lan.c, &["10.0.0.3:8080", "[fd00::3]:8080"])?;
    moved.page("who", "c\n")?;
    scene.add_both("web", "tcp", 80, 8080)?;

    let endpoints = ["10.0.0.2:81", "[fd00::2]:81", "10.0.0.22:80"];
    let own = Nginx::start(home, &endpoints)?;
    own.page("who", "home\n")?;
    let _udp = Echo::udp(home, "10.0.0.2:80", b'h')?;
    let curl = |from: &Host, endpoint: &str| {
        let url = format!("http://{endpoint}/who");
        from.run(&["curl", "--silent", "--show-error", "--max-time", "10", &url])
    };
    for endpoint in endpoints {
        assert_eq!(curl(peer, endpoint)?, "home\n", "{endpoint}");
        assert_eq!(curl(home, endpoint)?, "home\n", "{endpoint} from home");
        assert_eq!(curl(&scene.lan.c, endpoint)?, "home\n", "{endpoint} from c");
    }
    // UDP on the port whose TCP is redirected.
    let socket = echo::udp(peer, "10.0.0.1:0")?;
    socket.connect("10.0.0.2:80")?;
    socket.send(b"whose?")?;
    let mut answer = [0; 64];
    let length = soon("home answers", || socket.recv(&mut answer).ok())?;
    assert_eq!(&answer[..length], b"hwhose?");
    // Home as a client of the host that serves its moved endpoint.
    assert_eq!(curl(home, "10.0.0.3:8080")?, "c\n");
    assert_eq!(curl(home, "[fd00::3]:8080")?, "c\n");
    // And the redirect was there all the time.
    assert_eq!(curl(peer, "10.0.0.2:80")?, "c\n");
    Ok(())
}

#[test]
fn what_no_redirect_names_by_tc() -> Result<()> {
    homes_own("tc")
}

#[test]
fn what_no_redirect_names_by_xdp() -> Result<()> {
    homes_own("xdp")
}
