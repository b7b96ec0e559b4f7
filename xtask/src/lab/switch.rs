//! A switch: a bridge in a namespace of its own.

use std::sync::{Arc, Mutex};

use anyhow::Result;

use super::{Host, Inner, Program, ProgramType, host::ip};

/// The bridge's name in its namespace.
const BRIDGE: &str = "switch";

/// A switch of a lab. All its links have the same MTU.
#[derive(Debug)]
pub struct Switch {
    inside: Host,
    mtu: u32,
    ports: Mutex<u32>,
}

impl Switch {
    pub(super) fn new(lab: &Arc<Inner>, name: &str, mtu: u32) -> Result<Self> {
        let inside = Host::new(lab, name)?;
        // A switch has no addresses of its own and says nothing.
        inside.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        inside.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        // Without snooping, neighbour discovery needs no querier.
        let bridge = ["link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0"];
        inside.ip(&[&bridge[..], &["forward_delay", "0"]].concat())?;
        inside.ip(&["link", "set", BRIDGE, "up"])?;
        Ok(Self { inside, mtu, ports: Mutex::new(0) })
    }

    /// The switch as a host, for programs that listen to its ports. The port of
    /// the N-th plug is called `portN`, from 1.
    #[must_use]
    pub fn inside(&self) -> &Host {
        &self.inside
    }

    /// Makes the cable between `host`'s `interface` and a new port; both ends
    /// are still down.
    pub(super) fn new_port(&self, host: &Host, interface: &str) -> Result<String> {
        let port = {
            let mut ports = self.ports.lock().unwrap_or_else(|poison| poison.into_inner());
            *ports += 1;
            format!("port{ports}")
        };
        let mtu = self.mtu.to_string();
        let near = ["link", "add", "name", interface, "mtu", &mtu, "netns", host.netns()];
        let far = ["type", "veth", "peer", "name", &port, "mtu", &mtu];
        ip(&[&near[..], &far[..], &["netns", self.inside.netns()]].concat())?;
        self.inside.ip(&["link", "set", &port, "master", BRIDGE])?;
        Ok(port)
    }

    /// Takes a port into service.
    pub(super) fn port_up(&self, port: &str) -> Result<()> {
        self.inside.ip(&["link", "set", port, "up"])?;
        self.inside.wait_until_up(port)
    }

    /// Makes a port take what an XDP program at the other end of its cable
    /// sends: veth loses that silently unless this end has a program too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take_from_xdp(&self, port: &str) -> Result<()> {
        self.inside.attach_xdp(port, &Program::pass(ProgramType::Xdp)?)
    }
}
