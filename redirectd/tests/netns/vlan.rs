//! Peer and host behind VLAN tags, and home's interface on the trunk.
//!
//! The tags are put on and taken off by tc programs at peer and host, because
//! not every kernel has VLAN devices. Home's kernel cannot answer ARP through a
//! tag it does not know, so the neighbours are told by hand.

use anyhow::{Result, ensure};
use xtask::lab::{Host, Lan, Nginx, Program, soon};

use crate::{
    echo::{self, Echo},
    scene::Scene,
};

/// Ethertypes of a customer's tag (802.1Q) and a provider's (802.1ad).
const CUSTOMER: u16 = 0x8100;
const PROVIDER: u16 = 0x88a8;

/// Makes `host` put `tags` on all it sends, the innermost first, and take
/// nothing that comes without them.
fn behind(host: &Host, tags: &[(u16, u16)]) -> Result<()> {
    let on: Vec<Program> =
        tags.iter().map(|&(kind, id)| Program::tag(kind, id)).collect::<Result<_>>()?;
    let off: Vec<Program> =
        tags.iter().rev().map(|&(kind, id)| Program::untag(kind, id)).collect::<Result<_>>()?;
    host.attach_tc("eth0", "egress", &on)?;
    host.attach_tc("eth0", "ingress", &off)
}

/// Tells `host` who has `number`'s addresses.
fn introduce(host: &Host, number: u8, other: &Host) -> Result<()> {
    let mac = other.mac("eth0")?;
    for address in [format!("10.0.0.{number}"), format!("fd00::{number}")] {
        host.ip(&[
            "neigh",
            "replace",
            &address,
            "lladdr",
            &mac,
            "dev",
            "eth0",
            "nud",
            "permanent",
        ])?;
    }
    Ok(())
}

fn through(tags: &[(u16, u16)]) -> Result<()> {
    let scene = Scene::tc()?;
    let Lan { peer, home, c, .. } = &scene.lan;
    let nginx = Nginx::start(c, &["10.0.0.3:8080", "[fd00::3]:8080"])?;
    let _v4 = Echo::udp(c, "10.0.0.3:7000", b'c')?;
    let _v6 = Echo::udp(c, "[fd00::3]:7000", b'c')?;
    let page = "behind a tag\n".repeat(100_000);
    nginx.page("page", &page)?;
    scene.add_both("web", "tcp", 80, 8080)?;
    scene.add_both("echo", "udp", 7, 7000)?;
    for host in [peer, c] {
        behind(host, tags)?;
        introduce(host, 2, home)?;
    }
    introduce(home, 1, peer)?;
    introduce(home, 3, c)?;
    introduce(peer, 3, c)?;
    introduce(c, 1, peer)?;
    // Tagged hosts understand each other without home.
    let curl = |url: &str| peer.run(&["curl", "--silent", "--show-error", "--max-time", "10", url]);
    ensure!(curl("http://10.0.0.3:8080/page")? == page);
    // Home's own kernel does not hear them, so what arrives went another way.
    ensure!(peer.try_run(&["ping", "-c", "1", "-W", "1", "10.0.0.2"])?.code != 0);

    for (from, home) in [("10.0.0.1:0", "10.0.0.2"), ("[fd00::1]:0", "[fd00::2]")] {
        let got = curl(&format!("http://{home}/page"))?;
        ensure!(got == page, "the page came changed: {} bytes", got.len());

        let socket = echo::udp(peer, from)?;
        socket.connect(format!("{home}:7"))?;
        for size in [1, 1472, 5000] {
            let data = vec![b'v'; size];
            socket.send(&data)?;
            let mut answer = vec![0; 65_536];
            let length =
                soon(&format!("{size} bytes come back"), || socket.recv(&mut answer).ok())?;
            ensure!(
                answer[..length] == [b"c", &data[..]].concat(),
                "{size} bytes came back changed"
            );
        }
    }
    Ok(())
}

#[test]
fn one_tag() -> Result<()> {
    through(&[(CUSTOMER, 5)])
}

#[test]
fn two_tags() -> Result<()> {
    through(&[(CUSTOMER, 5), (PROVIDER, 6)])
}
