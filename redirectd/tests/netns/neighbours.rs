//! Home follows its neighbours and routes as they change.

use anyhow::{Result, ensure};
use xtask::lab::{Host, Lab, Plug, Switch, soon};

use crate::{
    echo::{self, Echo},
    numbered::{Numbered, Pace, Report},
    scene::{self, Scene},
};

const PER_SECOND: u32 = 200;
/// A MAC address of local administration that no interface here has.
const OTHER_MAC: &str = "02:00:5e:00:53:01";

/// Whoever was away is reached again within a second, which is told by what was
/// sent: while the machine stands still, nothing is.
fn assert_soon_back(report: &Report) -> Result<()> {
    let (lost, most) = (report.longest_loss(), PER_SECOND as usize);
    ensure!(lost < most, "{lost} of {most} a second were lost in succession");
    ensure!(report.doubled().is_empty(), "answers came twice");
    Ok(())
}

/// The host's interface changes its MAC address, and says so as a host does
/// that takes an address over.
fn new_mac(peer: &str, home: &str, host: &str) -> Result<()> {
    let scene = Scene::alone()?;
    let c = &scene.lan.c;
    c.sysctl("net/ipv4/conf/eth0/arp_notify", "1")?;
    c.sysctl("net/ipv6/conf/eth0/ndisc_notify", "1")?;
    let (at_home, target) = (format!("{home}:7"), format!("{host}:7000"));
    let _echo = Echo::udp(c, &target, b'c')?;
    scene.add(&["echo", &at_home, "--to", &target, "--protocol", "udp"])?;
    let stream = Numbered::start(&scene.lan.peer, &format!("{peer}:0"), &at_home, PER_SECOND)?;
    stream.hear_more(100)?;
    c.ip(&["link", "set", "eth0", "address", OTHER_MAC])?;
    stream.hear_more(100)?;
    assert_soon_back(&stream.finish_with_loss())
}

#[test]
fn new_mac_over_ipv4() -> Result<()> {
    new_mac("10.0.0.1", "10.0.0.2", "10.0.0.3")
}

#[test]
fn new_mac_over_ipv6() -> Result<()> {
    new_mac("[fd00::1]", "[fd00::2]", "[fd00::3]")
}

/// As above, with a host that only listens, as a log server does: none of its
/// answers tells home of the new address.
fn new_mac_of_a_listener([peer, home, host]: [&str; 3]) -> Result<()> {
    let scene = Scene::alone()?;
    let c = &scene.lan.c;
    c.sysctl("net/ipv4/conf/eth0/arp_notify", "1")?;
    c.sysctl("net/ipv6/conf/eth0/ndisc_notify", "1")?;
    let (at_home, target) = (format!("{home}:7"), format!("{host}:7000"));
    let listener = echo::udp(c, &target)?;
    scene.add(&["log", &at_home, "--to", &target, "--protocol", "udp"])?;
    let speaker = echo::udp(&scene.lan.peer, &format!("{peer}:0"))?;
    speaker.connect(&at_home)?;
    let (mut number, mut pace) = (0_u64, Pace::new(PER_SECOND));
    let mut say = || -> Result<()> {
        number += 1;
        pace.wait();
        Ok(speaker.send(&number.to_be_bytes()).map(drop)?)
    };
    let heard = || listener.recv(&mut [0; 8]).is_ok();
    for _ in 0..100 {
        say()?;
        soon("the host hears it", || heard().then_some(()))?;
    }
    listener.set_nonblocking(true)?;
    c.ip(&["link", "set", "eth0", "address", OTHER_MAC])?;
    // Heard again for good, not once more from a queue.
    let (mut said, mut in_succession) = (0, 0);
    while in_succession < 20 {
        ensure!(said < PER_SECOND, "{said} were said, and the host does not hear them all");
        say()?;
        said += 1;
        in_succession = if heard() { in_succession + 1 } else { 0 };
    }
    Ok(())
}

#[test]
fn new_mac_of_a_listener_over_ipv4() -> Result<()> {
    new_mac_of_a_listener(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
}

#[test]
fn new_mac_of_a_listener_over_ipv6() -> Result<()> {
    new_mac_of_a_listener(["[fd00::1]", "[fd00::2]", "[fd00::3]"])
}

/// The host is behind two routers, and home's route changes from one to the
/// other while the first stops forwarding.
#[test]
fn new_route() -> Result<()> {
    let lab = Lab::alone()?;
    let (near, far) = (lab.switch("near")?, lab.switch("far")?);
    let [peer, home, host] = [lab.host("peer")?, lab.host("home")?, lab.host("host")?];
    let [r1, r2] = [lab.host("r1")?, lab.host("r2")?];
    let plug = |host: &Host, interface: &str, switch: &Switch, address: &str| {
        host.plug(switch, Plug::new(interface).addr(address))
    };
    plug(&peer, "eth0", &near, "10.0.0.1/24")?;
    plug(&home, "eth0", &near, "10.0.0.2/24")?;
    plug(&r1, "eth0", &near, "10.0.0.11/24")?;
    plug(&r2, "eth0", &near, "10.0.0.12/24")?;
    plug(&r1, "eth1", &far, "10.1.0.11/24")?;
    plug(&r2, "eth1", &far, "10.1.0.12/24")?;
    plug(&host, "eth0", &far, "10.1.0.3/24")?;
    r1.forward()?;
    r2.forward()?;
    home.route("10.1.0.0/24", "10.0.0.11")?;
    host.route("default", "10.1.0.12")?;

    let daemon = scene::start(&home, "interfaces: { eth0: { attach: tc } }")?;
    let _echo = Echo::udp(&host, "10.1.0.3:7000", b'c')?;
    daemon.redirect(&[
        "add",
        "echo",
        "10.0.0.2:7",
        "--to",
        "10.1.0.3:7000",
        "--protocol",
        "udp",
    ])?;
    let stream = Numbered::start(&peer, "10.0.0.1:0", "10.0.0.2:7", PER_SECOND)?;
    stream.hear_more(100)?;
    home.ip(&["route", "replace", "10.1.0.0/24", "via", "10.0.0.12"])?;
    r1.sysctl("net/ipv4/ip_forward", "0")?;
    stream.hear_more(100)?;
    assert_soon_back(&stream.finish_with_loss())
}
