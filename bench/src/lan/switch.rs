//! The switch: a bridge in a namespace of its own.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    programs::{Xdp, xdp::XdpMode},
};

use super::{INTERFACE, Wire, mac, placement, quiet};
use crate::{interrupt, netns::Netns, traffic::OBJECT};

const BRIDGE: &str = "switch";
/// The program that lets everything pass.
const PASS: &str = "empty_xdp";
/// How long a wire may take until it passes packets.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether it does.
const MOMENT: Duration = Duration::from_millis(2);

/// A switch whose ports are called as what is plugged into them.
pub(super) struct Switch {
    // Detached before the namespace goes.
    passes: Vec<Ebpf>,
    netns: Netns,
}

impl Switch {
    /// Without ports.
    pub(super) fn new() -> Result<Self> {
        let netns = Netns::new("switch")?;
        quiet(&netns)?;
        let bridge = format!("link add {BRIDGE} type bridge mcast_snooping 0 forward_delay 0");
        netns.run("ip", &bridge)?;
        netns.run("ip", &format!("link set {BRIDGE} up"))?;
        Ok(Self { passes: Vec::new(), netns })
    }

    /// Wires `host`, with the MAC address `address`, to the new port `port`, and waits until
    /// the wire passes packets.
    pub(super) fn plug(
        &self,
        host: &Netns,
        port: &str,
        address: [u8; 6],
        wire: &Wire,
    ) -> Result<()> {
        let address = mac(address);
        let far = format!("type veth peer name {port} netns {}", self.netns.name());
        host.run("ip", &format!("link add {INTERFACE} address {address} {far}"))?;
        self.netns.run("ip", &format!("link set {port} master {BRIDGE}"))?;
        for (netns, interface) in [(host, INTERFACE), (&self.netns, port)] {
            wire.apply(netns, interface)?;
            netns.run("ip", &format!("link set {interface} up"))?;
        }
        wait_until_up(&self.netns, port)?;
        wait_until_up(host, INTERFACE)
    }

    /// Makes threads on `processors` alone receive at `port`.
    pub(super) fn receive_on(&mut self, port: &str, processors: &[usize]) -> Result<()> {
        if self.passes.is_empty() {
            self.pass(port)?;
        }
        placement::receive_on(&self.netns, port, processors).map(drop)
    }

    /// Puts a program of XDP on `port` that lets everything pass. It gives the
    /// port NAPI: without, veth loses in silence what XDP sends at the other
    /// end of the wire. (GRO would give it too, but stalled TCP.)
    pub(super) fn pass(&mut self, port: &str) -> Result<()> {
        let bpf = self.netns.enter(|| {
            let mut bpf = Ebpf::load(OBJECT)?;
            let program: &mut Xdp =
                bpf.program_mut(PASS).with_context(|| format!("no `{PASS}`"))?.try_into()?;
            program.load()?;
            program.attach(port, XdpMode::Driver)?;
            Ok(bpf)
        });
        self.passes.push(bpf.with_context(|| format!("cannot put `{PASS}` on {port}"))?);
        Ok(())
    }
}

/// Waits until `interface` really passes packets: the kernel may take a second to notice
/// that the other end of its wire is up as well, and until then it loses what it is given.
fn wait_until_up(netns: &Netns, interface: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        interrupt::check()?;
        let said = netns.run("ip", &format!("-json -details link show dev {interface}"))?;
        let link = &serde_json::from_str::<serde_json::Value>(&said)?[0];
        let port = &link["linkinfo"]["info_slave_data"]["state"];
        if link["operstate"] == "UP" && (port.is_null() || port == "forwarding") {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{interface} of {} is not up: {said}", netns.name());
        thread::sleep(MOMENT);
    }
}
