//! The daemon dies under traffic, and nobody notices.

use anyhow::{Context as _, Result, ensure};
use xtask::lab::Lab;

use crate::{echo::Echo, numbered::Numbered, scene::Scene};

/// A cable's queue for XDP holds 256 packets, which at this rate is a quarter of
/// a second of a busy machine.
const PER_SECOND: u32 = 1000;

/// Numbered datagrams pass while the daemon is there, while it is gone, and
/// while it starts again; none is lost, none comes twice.
fn no_packet_is_lost(attach: &str, [peer, home, host]: [&str; 3]) -> Result<()> {
    let mut scene = Scene::in_lab(Lab::alone()?, attach)?;
    let (at_home, target) = (format!("{home}:7"), format!("{host}:7000"));
    let _echo = Echo::udp(&scene.lan.c, &target, b'c')?;
    scene.add(&["echo", &at_home, "--to", &target, "--protocol", "udp"])?;
    let stream = Numbered::start(&scene.lan.peer, &format!("{peer}:5000"), &at_home, PER_SECOND)?;
    stream.send_more(500)?;
    let before = scene.flows()?;
    scene.daemon.sigkill()?;
    stream.send_more(1000)?;
    scene.daemon.start_again()?;
    stream.send_more(1000)?;
    let after = scene.flows()?;
    let report = stream.finish();
    report.assert_complete();

    // The flow is the same one, counted on through it all.
    ensure!(before.len() == 1 && after.len() == 1, "{before:#?}\n{after:#?}");
    for same in ["redirect", "protocol", "peer", "home", "host", "snat_port"] {
        ensure!(before[0][same] == after[0][same], "{before:#?}\n{after:#?}");
    }
    ensure!(before[0]["peer"] == format!("{peer}:5000"), "{before:#?}");
    let counters = scene.counters("echo")?;
    ensure!(counters["flows_opened"] == 1, "{counters:#}");
    for direction in ["to_host", "to_peer"] {
        ensure!(counters[direction]["packets"] == report.sent, "{counters:#} for {}", report.sent);
    }
    Ok(())
}

const V4: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const V6: [&str; 3] = ["[fd00::1]", "[fd00::2]", "[fd00::3]"];

#[test]
fn no_packet_is_lost_over_ipv4_by_tc() -> Result<()> {
    no_packet_is_lost("tc", V4)
}

#[test]
fn no_packet_is_lost_over_ipv6_by_tc() -> Result<()> {
    no_packet_is_lost("tc", V6)
}

#[test]
fn no_packet_is_lost_over_ipv4_by_xdp() -> Result<()> {
    no_packet_is_lost("xdp", V4)
}

#[test]
fn no_packet_is_lost_over_ipv6_by_xdp() -> Result<()> {
    no_packet_is_lost("xdp", V6)
}

/// What came by the command line is there again, and what is there can be
/// changed and removed.
#[test]
fn redirects_are_adopted() -> Result<()> {
    let mut scene = Scene::tc()?;
    scene.add_both("web", "tcp", 80, 8080)?;
    let list = |scene: &Scene| -> Result<Vec<String>> {
        let list = scene.daemon.json(&["list"])?;
        let redirects = list["redirects"].as_array().context("a list has redirects")?;
        redirects
            .iter()
            .filter(|redirect| redirect["state"] == "active")
            .map(|redirect| {
                Ok(redirect["name"].as_str().context("a redirect has a name")?.to_owned())
            })
            .collect()
    };
    assert_eq!(list(&scene)?, ["web-4", "web-6"]);
    scene.daemon.sigkill()?;
    scene.daemon.start_again()?;
    assert_eq!(list(&scene)?, ["web-4", "web-6"]);
    scene.daemon.redirect(&["remove", "web-4"])?;
    assert_eq!(list(&scene)?, ["web-6"]);
    scene.add(&["web-4", "10.0.0.2:80", "--to", "10.0.0.4:8080", "--no-check"])?;
    scene.daemon.sigkill()?;
    scene.daemon.start_again()?;
    assert_eq!(list(&scene)?, ["web-4", "web-6"]);
    Ok(())
}
