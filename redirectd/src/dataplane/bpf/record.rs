//! A redirect as it is kept in the kernel, and back.

use redirectd_ebpf::abi::{Location, NAME_BYTES, Record};

use super::family::{ip, words};
use crate::rule::{Flows, Mode, PortRange, Protocol, Redirect};

const TCP: u8 = 1;
const UDP: u8 = 2;
const FOLLOW: u8 = 1;
const SOME_PEERS: u8 = 2;

/// What is kept of `redirect` besides its location and peers.
pub(super) fn encode(redirect: &Redirect) -> Record {
    let bit = |protocol: &Protocol| match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    let follow = if redirect.flows == Flows::Follow { FOLLOW } else { 0 };
    let peers = if redirect.peers.is_empty() { 0 } else { SOME_PEERS };
    Record {
        name: encode_name(&redirect.name),
        host: encode_name(redirect.host.as_deref().unwrap_or_default()),
        home: words(redirect.home),
        first_port: redirect.ports.first(),
        last_port: redirect.ports.last(),
        version: if redirect.home.is_ipv4() { 4 } else { 6 },
        protocols: redirect.protocols.iter().map(bit).fold(0, |all, bit| all | bit),
        flags: follow | peers,
        mode: match redirect.mode {
            Mode::Nat => 0,
        },
    }
}

/// Whether the recorded redirect is for some peers only.
pub(super) fn is_for_some_peers(record: &Record) -> bool {
    record.flags & SOME_PEERS != 0
}

/// The redirect of `record` at `location`, without its peers; nothing if the
/// record makes no sense.
pub(super) fn decode(record: &Record, location: &Location) -> Option<Redirect> {
    let protocols = [(TCP, Protocol::Tcp), (UDP, Protocol::Udp)]
        .into_iter()
        .filter(|(bit, _)| record.protocols & bit != 0)
        .map(|(_, protocol)| protocol)
        .collect();
    let host = decode_name(&record.host)?;
    Some(Redirect {
        name: decode_name(&record.name)?,
        protocols,
        home: ip(record.home, record.version),
        ports: PortRange::new(record.first_port, record.last_port).ok()?,
        target: ip(location.address, record.version),
        target_port: location.port,
        host: (!host.is_empty()).then_some(host),
        peers: Vec::new(),
        mode: Mode::Nat,
        flows: if record.flags & FOLLOW != 0 { Flows::Follow } else { Flows::NewOnly },
    })
}

/// The length and the name; a name that is too long is cut, which validation
/// rules out for redirects.
fn encode_name(name: &str) -> [u8; NAME_BYTES + 1] {
    let mut field = [0; NAME_BYTES + 1];
    let mut end = name.len().min(NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    field[0] = end as u8;
    field[1..=end].copy_from_slice(&name.as_bytes()[..end]);
    field
}

fn decode_name(field: &[u8; NAME_BYTES + 1]) -> Option<String> {
    let bytes = field.get(1..=usize::from(field[0]))?;
    Some(std::str::from_utf8(bytes).ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_survives() {
        let redirect = Redirect {
            name: "n".repeat(NAME_BYTES),
            protocols: vec![Protocol::Tcp, Protocol::Udp],
            home: "2001:db8::1".parse().unwrap(),
            ports: PortRange::new(8000, 8099).unwrap(),
            target: "2001:db8::3".parse().unwrap(),
            target_port: 9000,
            host: Some("c".into()),
            peers: Vec::new(),
            mode: Mode::Nat,
            flows: Flows::Follow,
        };
        let location = Location {
            address: words(redirect.target),
            port: redirect.target_port,
            home_port: 8000,
            follow_from: 1,
        };
        assert_eq!(decode(&encode(&redirect), &location), Some(redirect));
    }

    #[test]
    fn a_name_with_a_wrong_length_is_no_name() {
        let mut field = encode_name("web");
        field[0] = 200;
        assert_eq!(decode_name(&field), None);
    }
}
