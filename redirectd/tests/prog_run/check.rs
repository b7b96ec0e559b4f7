//! Whether a frame is sound: what etherparse makes of it, and every checksum in
//! it summed up in full, by an addition of its own.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// The ones' complement sum of all parts together (RFC 1071), the slow way.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u64::from(*b)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The pseudo-header of IPv6 (RFC 8200, section 8.1).
pub(crate) fn pseudo6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    length: usize,
) -> Vec<u8> {
    let length = (length as u32).to_be_bytes();
    [&source.octets()[..], &destination.octets(), &length, &[0, 0, 0, protocol]].concat()
}

fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = (length as u16).to_be_bytes();
            [&source.octets()[..], &destination.octets(), &[0, protocol], &length].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            pseudo6(source, destination, protocol, length)
        }
        _ => unreachable!("both are of one packet"),
    }
}

/// Panics if anything in `frame` is not as its headers say.
pub(crate) fn assert_sound(frame: &[u8], what: &str) {
    let faults = faults(frame);
    assert!(faults.is_empty(), "{what}: {}\n{}", faults.join(", "), describe(frame));
}

/// What is wrong with `frame`.
pub(crate) fn faults(frame: &[u8]) -> Vec<String> {
    match LaxSlicedPacket::from_ethernet(frame) {
        Ok(packet) => faults_of(&packet, Quoted::No),
        Err(error) => vec![error.to_string()],
    }
}

/// Whether a packet is quoted in an ICMP error, which may cut it short.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoted {
    No,
    Yes,
}

fn faults_of(packet: &LaxSlicedPacket<'_>, quoted: Quoted) -> Vec<String> {
    let mut faults = Vec::new();
    if quoted == Quoted::No
        && let Some((error, layer)) = &packet.stop_err
    {
        // Without the place in the frame, which tags change.
        let error = error.to_string();
        let what = error.split_once(" ('").map_or(error.as_str(), |(what, _)| what);
        faults.push(format!("{layer}: {what}"));
    }
    let Some((source, destination)) = addresses(packet, &mut faults) else { return faults };
    let Some(payload) = packet.ip_payload() else { return faults };
    if payload.fragmented || payload.incomplete {
        if payload.incomplete && quoted == Quoted::No {
            faults.push("shorter than its IP header says".to_owned());
        }
        return faults;
    }
    let bytes = payload.payload;
    let pseudo = pseudo(source, destination, payload.ip_number.0, bytes.len());
    match &packet.transport {
        Some(TransportSlice::Tcp(_)) if sum(&[&pseudo, bytes]) != 0xffff => {
            faults.push("the TCP checksum is wrong".to_owned());
        }
        Some(TransportSlice::Udp(udp)) => {
            if udp.checksum() == 0 {
                if source.is_ipv6() {
                    faults.push("UDP over IPv6 without a checksum".to_owned());
                }
            } else if sum(&[&pseudo, bytes]) != 0xffff {
                faults.push("the UDP checksum is wrong".to_owned());
            }
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            if sum(&[bytes]) != 0xffff {
                faults.push("the ICMP checksum is wrong".to_owned());
            }
            if matches!(icmp.type_u8(), 3 | 11 | 12) {
                faults.extend(faults_of_quote(&bytes[8..]));
            }
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            if sum(&[&pseudo, bytes]) != 0xffff {
                faults.push("the ICMPv6 checksum is wrong".to_owned());
            }
            if matches!(icmp.type_u8(), 1..=4) {
                faults.extend(faults_of_quote(&bytes[8..]));
            }
        }
        _ => {}
    }
    faults
}

/// The addresses; notes whether the IPv4 header's checksum is wrong.
fn addresses(packet: &LaxSlicedPacket<'_>, faults: &mut Vec<String>) -> Option<(IpAddr, IpAddr)> {
    match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            if sum(&[ip.header().slice()]) != 0xffff {
                faults.push("the IPv4 header's checksum is wrong".to_owned());
            }
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        LaxNetSlice::Arp(_) => None,
    }
}

fn faults_of_quote(quote: &[u8]) -> Vec<String> {
    let faults = match LaxSlicedPacket::from_ip(quote) {
        Ok(packet) => faults_of(&packet, Quoted::Yes),
        Err(error) => vec![error.to_string()],
    };
    faults.into_iter().map(|fault| format!("in the quote, {fault}")).collect()
}

/// A frame for people: in bytes, and as etherparse reads it.
pub(crate) fn describe(frame: &[u8]) -> String {
    let lines = frame.chunks(16).enumerate().map(|(line, bytes)| {
        let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("  {:04x}  {}\n", line * 16, bytes.join(" "))
    });
    lines.collect()
}
