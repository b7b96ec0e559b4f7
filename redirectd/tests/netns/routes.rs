//! Home with several interfaces, and packets that go one way and come back
//! another.

use anyhow::{Result, ensure};
use xtask::lab::{Daemon, Host, Lab, Nginx, Plug, Switch};

use crate::scene;

/// Peer and home have two networks in common, home and the host two others:
///
/// ```text
///        ┌─A─┐        ┌─C─┐
///   peer │   │ home   │   │ host
///        └─B─┘        └─D─┘
/// ```
///
/// Home's address is that of `eth0`, on A; its interfaces are eth0 on A, eth1 on
/// B, eth2 on C and eth3 on D.
struct Rectangle {
    peer: Host,
    home: Host,
    host: Host,
    switches: [Switch; 4],
}

impl Rectangle {
    /// Network A is 10.0.0.0/24 and fd00::/64, B 10.1.0.0/24 and fd01::/64, …
    fn new(lab: &Lab) -> Result<Self> {
        let switches = [lab.switch("A")?, lab.switch("B")?, lab.switch("C")?, lab.switch("D")?];
        let [peer, home, host] = [lab.host("peer")?, lab.host("home")?, lab.host("host")?];
        for (network, switch) in switches.iter().enumerate() {
            let plug = |host: &Host, interface: usize, number: u8| {
                let plug = Plug::new(&format!("eth{interface}"))
                    .addr(&format!("10.{network}.0.{number}/24"))
                    .addr(&format!("fd0{network}::{number}/64"));
                host.plug(switch, plug)
            };
            plug(&home, network, 2)?;
            if network < 2 { plug(&peer, network, 1)? } else { plug(&host, network - 2, 3)? }
        }
        for host in [&peer, &home, &host] {
            // Coming back another way is what this is about.
            host.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        }
        Ok(Self { peer, home, host, switches })
    }

    /// redirectd on all interfaces of home, with a page on the host.
    fn serve(&self) -> Result<(Daemon, Nginx)> {
        let nginx = Nginx::start(&self.host, &["10.2.0.3:8080", "[fd02::3]:8080"])?;
        nginx.page("page", &page())?;
        let interfaces: Vec<String> = (0..4).map(|n| format!("eth{n}: {{ attach: tc }}")).collect();
        let daemon =
            scene::start(&self.home, &format!("interfaces: {{ {} }}", interfaces.join(", ")))?;
        daemon.redirect(&["add", "web-4", "10.0.0.2:80", "--to", "10.2.0.3:8080"])?;
        daemon.redirect(&["add", "web-6", "[fd00::2]:80", "--to", "[fd02::3]:8080"])?;
        Ok((daemon, nginx))
    }

    fn fetch(&self) -> Result<()> {
        for home in ["10.0.0.2", "[fd00::2]"] {
            let url = format!("http://{home}/page");
            let curl = ["curl", "--silent", "--show-error", "--max-time", "10", &url];
            let got = self.peer.run(&curl)?;
            ensure!(got == page(), "the page came changed: {} bytes", got.len());
        }
        Ok(())
    }

    /// Packets that home has received and sent on an interface.
    fn packets(&self, interface: &str) -> Result<(u64, u64)> {
        let line = self.home.run(&["ip", "-json", "-stats", "link", "show", "dev", interface])?;
        let stats: serde_json::Value = serde_json::from_str(&line)?;
        let packets = |direction: &str| stats[0]["stats64"][direction]["packets"].as_u64();
        let both = packets("rx").zip(packets("tx"));
        both.ok_or_else(|| anyhow::anyhow!("no counters in {line}"))
    }
}

fn page() -> String {
    "round and round\n".repeat(200_000)
}

/// In on one interface of home, out on another.
#[test]
fn between_two_interfaces() -> Result<()> {
    let lab = Lab::new()?;
    let net = Rectangle::new(&lab)?;
    ensure!(net.switches.len() == 4);
    net.host.route("10.0.0.0/24", "10.2.0.2")?;
    net.host.route("fd00::/64", "fd02::2")?;
    let _running = net.serve()?;
    net.fetch()?;
    ensure!(net.packets("eth3")?.1 < 30, "packets went by D, where nobody sent them");
    Ok(())
}

/// To the host by C and back by D; to home by A and back to the peer by B.
#[test]
fn back_another_way() -> Result<()> {
    let lab = Lab::new()?;
    let net = Rectangle::new(&lab)?;
    net.host.route("10.0.0.2/32", "10.3.0.2")?;
    net.host.route("fd00::2/128", "fd03::2")?;
    // The peer's own address is on neither network, so that home may choose.
    for address in ["10.9.0.1/32", "fd09::1/128"] {
        net.peer.address("lo", address)?;
    }
    net.home.route("10.9.0.1/32", "10.1.0.1")?;
    net.home.route("fd09::1/128", "fd01::1")?;
    net.peer.ip(&["route", "add", "10.0.0.2/32", "dev", "eth0", "src", "10.9.0.1"])?;
    net.peer.ip(&["-6", "route", "add", "fd00::2/128", "dev", "eth0", "src", "fd09::1"])?;
    let _running = net.serve()?;
    net.fetch()?;
    // The pages are 6.4 MB; GSO packets hold up to 64 KB of them.
    let many = 2 * page().len() as u64 / 65_536;
    let (c, d, b) = (net.packets("eth2")?, net.packets("eth3")?, net.packets("eth1")?);
    ensure!(d.0 > many, "the pages did not come in by D: {d:?}");
    ensure!(b.1 > many, "the pages did not go out by B: {b:?}");
    ensure!(c.0 < 30, "the host sent by C: {c:?}");
    Ok(())
}
