//! The traffic of a scenario: which flows there are.

use redirectd_bench_bpf::{Expect, IP_LENGTH, Stream, TTL, UDP_LENGTH, halves};

use crate::topology::{HOME, HOST, IN0_MAC, PEER, PEER0_MAC, PEERS};

/// First home port; the redirect under test has [`PORTS`] of them.
pub(crate) const HOME_PORT: u16 = 9000;
/// First port at the host that they are redirected to.
pub(crate) const HOST_PORT: u16 = 8000;
/// Ports of the redirect. One host endpoint can have 64,512 flows from one home
/// address (a source port each), so that many flows need several.
pub(crate) const PORTS: u16 = PEERS as u16;
/// First source port at the peers.
const PEER_PORT: u16 = 10_000;
/// Source ports at each peer, at most.
const PER_PEER: u32 = 50_000;
/// Ports in use where there is more than one flow, if so many suffice.
const USUAL_TARGETS: u32 = 4;

/// The most flows a stream can have.
pub(crate) const MAX_FLOWS: u32 = PORTS as u32 * PER_PEER;

/// `flows` flows, hit in turn: a single one, or a number that can be split
/// evenly among four target ports or a few more, with at most 50,000 each.
///
/// # Panics
/// With another number of flows, or more than [`MAX_FLOWS`].
pub(crate) fn stream(flows: u32) -> Stream {
    assert!(flows > 0 && flows <= MAX_FLOWS, "{flows} flows, at most {MAX_FLOWS} are possible");
    let targets = targets(flows).unwrap_or_else(|| panic!("{flows} flows cannot be split evenly"));
    let home = u32::from(HOME);
    Stream {
        peer: PEER.into(),
        home,
        targets,
        per_target: flows / targets,
        ip_sum: ip_sum(home),
        udp_sum: udp_sum(home),
        peer_port: PEER_PORT,
        home_port: HOME_PORT,
        home_mac: IN0_MAC,
        peer_mac: PEER0_MAC,
    }
}

/// The least number of target ports that `flows` can be split among evenly.
fn targets(flows: u32) -> Option<u32> {
    if flows == 1 {
        return Some(1);
    }
    let fits = |targets: &u32| flows.is_multiple_of(*targets) && flows / targets <= PER_PEER;
    (USUAL_TARGETS..=PORTS.into()).find(fits)
}

/// In which order flows are hit. Both go through all of them before any comes
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turns {
    /// One after the other: for establishing them.
    InOrder,
    /// Far apart: for measuring. In the order of their making, a flow's
    /// neighbour in memory would often be next, and its cache line there before
    /// it is asked for; traffic is not like that.
    FarApart,
}

impl Turns {
    /// The step from one flow of a target to the next.
    pub(crate) fn stride(self, stream: &Stream) -> u32 {
        let flows = stream.per_target;
        match self {
            Self::InOrder => u32::from(flows > 1),
            Self::FarApart => stride(flows),
        }
    }
}

/// A step with which all of `flows` have their turn before any comes again, and
/// neighbours are far apart in time.
pub(crate) fn stride(flows: u32) -> u32 {
    // The golden section's steps spread best.
    let golden = (f64::from(flows) * 0.618) as u32;
    (golden..flows).find(|&step| gcd(step, flows) == 1).unwrap_or(0)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The stream as it arrives at home.
pub(crate) fn at_home() -> Expect {
    Expect { addr: HOME.into(), first: HOME_PORT, last: HOME_PORT + PORTS - 1 }
}

/// The stream as it arrives at the host; at the peer, its answers come from
/// [`at_home`].
pub(crate) fn at_host() -> Expect {
    Expect { addr: HOST.into(), first: HOST_PORT, last: HOST_PORT + PORTS - 1 }
}

/// Version and header length, total length, flags, TTL and protocol, destination.
fn ip_sum(home: u32) -> u32 {
    0x4500 + u32::from(IP_LENGTH) + 0x4000 + u32::from(u16::from_be_bytes([TTL, 17])) + halves(home)
}

/// Pseudo header (destination, protocol, length) and length; the payload is zero.
fn udp_sum(home: u32) -> u32 {
    halves(home) + 17 + 2 * u32::from(UDP_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redirectd_bench_bpf::fold;

    #[test]
    fn flows_are_split_evenly() {
        for (flows, targets, per_target) in
            [(1_000, 4, 250), (32_768, 4, 8_192), (100_000, 4, 25_000), (1_000_000, 20, 50_000)]
        {
            let stream = stream(flows);
            assert_eq!((stream.targets, stream.per_target), (targets, per_target));
            assert!(u32::from(stream.peer_port) + stream.per_target <= 65_536);
        }
    }

    #[test]
    fn every_flow_has_its_turn_before_any_comes_again() {
        for flows in [1, 1_000, 32_768, 100_000, 1_000_000] {
            let stream = stream(flows);
            for turns in [Turns::InOrder, Turns::FarApart] {
                let stride = turns.stride(&stream);
                let step = |flow: &u32| Some((flow + stride) % stream.per_target);
                let once = std::iter::successors(Some(0), step).take(stream.per_target as usize);
                let mut hit: Vec<u32> = once.collect();
                hit.sort_unstable();
                assert!(hit.into_iter().eq(0..stream.per_target), "{flows} {turns:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "cannot be split")]
    fn a_number_that_cannot_be_split_is_refused() {
        stream(23);
    }

    #[test]
    fn the_ip_sum_is_that_of_the_header() {
        // The header the generator writes for the first flow, checksum field zero.
        let mut header = vec![0x45, 0, 0, 46, 0, 0, 0x40, 0, TTL, 17, 0, 0];
        header.extend(PEER.octets());
        header.extend(HOME.octets());
        let words = header.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
        assert_eq!(fold(words.sum()), fold(ip_sum(HOME.into()) + halves(PEER.into())));
    }
}
