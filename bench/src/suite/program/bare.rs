//! The flows of the bare redirect.

use anyhow::{Result, ensure};
use nix::net::if_::if_nametoindex;
use redirectd_bench_bpf::{BareFlow, BareKey, Template, places};

use crate::stream::HOST_PORT;
use crate::topology::{HOME, HOST, HOST0_MAC, OUT0, OUT0_MAC};

/// Where the source address is in a frame of IPv4, and where the transport's
/// protocol is.
const SOURCE: usize = 26;
const PROTOCOL: usize = 23;

/// Each flow of `template`, as redirectd would translate it. Call it in home's
/// namespace.
///
/// # Errors
/// The packets are none that the bare redirect can translate.
pub(super) fn flows(template: &Template) -> Result<Vec<(BareKey, BareFlow)>> {
    ensure!(template.kind == places::TCP4, "the bare redirect is for TCP over IPv4");
    let interface = if_nametoindex(OUT0)?;
    let mut flows = Vec::new();
    for target in 0..template.targets {
        for flow in 0..template.per_target {
            flows.push(one(template, target as u16, flow as u16, interface));
        }
    }
    Ok(flows)
}

fn one(template: &Template, target: u16, flow: u16, interface: u32) -> (BareKey, BareFlow) {
    let mut source = [0; 4];
    source.copy_from_slice(&template.frame[SOURCE..SOURCE + 4]);
    source[2..].copy_from_slice(&(template.peer as u16 + target).to_be_bytes());
    let peer_port = template.peer_port as u16 + flow;
    let key = BareKey {
        source: u32::from_ne_bytes(source),
        destination: as_it_lies(HOME.octets()),
        ports: ports(peer_port, template.home_port as u16 + target),
        protocol: template.frame[PROTOCOL].into(),
    };
    let mut macs = [0; 6];
    for (word, bytes) in macs.iter_mut().zip([HOST0_MAC, OUT0_MAC].concat().chunks(2)) {
        *word = u16::from_ne_bytes([bytes[0], bytes[1]]);
    }
    let to = BareFlow {
        source: as_it_lies(HOME.octets()),
        destination: as_it_lies(HOST.octets()),
        ports: ports(peer_port, HOST_PORT + target),
        interface,
        macs,
    };
    (key, to)
}

/// A word as it lies in a packet.
fn as_it_lies(octets: [u8; 4]) -> u32 {
    u32::from_ne_bytes(octets)
}

fn ports(source: u16, destination: u16) -> u32 {
    let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
    as_it_lies([a, b, c, d])
}
