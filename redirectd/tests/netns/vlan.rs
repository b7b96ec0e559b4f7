//! Peer and host behind VLAN tags, and home's interface on the trunk, with its
//! address on a VLAN interface: redirectd sees the frames with their tags when
//! it is attached to the trunk, and without when it is attached to the VLAN.

use anyhow::{Result, ensure};
use xtask::lab::{Lab, Nginx, Plug, Tag};

use crate::{
    echo::{self, Echo},
    scene,
};

fn through(tags: &[Tag], attached: &str) -> Result<()> {
    let lab = Lab::new()?;
    let switch = lab.switch("switch")?;
    let [peer, home, c] = [lab.host("peer")?, lab.host("home")?, lab.host("c")?];
    for (host, number) in [(&peer, 1), (&c, 3)] {
        let plug = Plug::new("eth0")
            .addr(&format!("10.0.0.{number}/24"))
            .addr(&format!("fd00::{number}/64"));
        host.plug(&switch, plug)?;
        host.tag_all("eth0", tags)?;
    }
    home.plug(&switch, Plug::new("eth0"))?;
    home.vlan("eth0", "vlan", tags)?;
    home.address("vlan", "10.0.0.2/24")?;
    home.address("vlan", "fd00::2/64")?;

    let nginx = Nginx::start(&c, &["10.0.0.3:8080", "[fd00::3]:8080"])?;
    let _v4 = Echo::udp(&c, "10.0.0.3:7000", b'c')?;
    let _v6 = Echo::udp(&c, "[fd00::3]:7000", b'c')?;
    let page = "behind a tag\n".repeat(100_000);
    nginx.page("page", &page)?;
    let daemon = scene::start(&home, &format!("interfaces: {{ {attached}: {{ attach: tc }} }}"))?;
    scene::add_both(&daemon, "web", "tcp", 80, 8080)?;
    scene::add_both(&daemon, "echo", "udp", 7, 7000)?;
    for (from, home) in [("10.0.0.1:0", "10.0.0.2"), ("[fd00::1]:0", "[fd00::2]")] {
        // What is home's own finds its way, tagged.
        peer.run(&["ping", "-c", "1", "-W", "1", home.trim_matches(['[', ']'])])?;

        let url = format!("http://{home}/page");
        let got = peer.run(&["curl", "--silent", "--show-error", "--max-time", "10", &url])?;
        ensure!(got == page, "the page came changed: {} bytes", got.len());

        let socket = echo::udp(&peer, from)?;
        socket.connect(format!("{home}:7"))?;
        for size in [1, 1472, 5000] {
            echo::there_and_back(&socket, &vec![b'v'; size])?;
        }
    }
    Ok(())
}

const ONE: &[Tag] = &[Tag::customer(5)];
const TWO: &[Tag] = &[Tag::customer(5), Tag::provider(6)];

#[test]
fn one_tag_on_the_trunk() -> Result<()> {
    through(ONE, "eth0")
}

#[test]
fn two_tags_on_the_trunk() -> Result<()> {
    through(TWO, "eth0")
}

#[test]
fn one_tag_taken_off_before() -> Result<()> {
    through(ONE, "vlan")
}

#[test]
fn two_tags_taken_off_before() -> Result<()> {
    through(TWO, "vlan")
}
