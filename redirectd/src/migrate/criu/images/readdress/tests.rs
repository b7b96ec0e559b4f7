//! What happens to sockets of each kind, and that all else stays.

use proptest::prelude::*;

use super::*;
use crate::migrate::criu::images::sockets::{Family, words};

const HOME: &str = "10.0.0.2";
const C: &str = "10.0.0.3";

/// The fields of a socket that have no part in a move, one of them unknown.
const REST: [(u32, u64); 6] = [(1, 7), (2, 4711), (4, 1), (9, 2), (10, 128), (77, 5)];

/// A file with an internet socket, as CRIU writes it, between two other files.
fn image(sockets: &[Socket]) -> Vec<u8> {
    let regular = b"\x08\x01\x10\x01\x1a\x02hi".to_vec();
    let mut records = vec![regular.clone()];
    for socket in sockets {
        let mut file = Vec::new();
        wire::put_number(&mut file, 1, 4);
        wire::put_number(&mut file, 2, 7);
        wire::put_bytes(&mut file, INET_SOCKET, &message(socket));
        records.push(file);
    }
    records.push(regular);
    Image::Files.image(records)
}

fn message(socket: &Socket) -> Vec<u8> {
    let mut message = Vec::new();
    let family = match socket.family {
        Family::V4 => 2,
        Family::V6 => 10,
    };
    let state = if socket.listens { 10 } else { 1 };
    let unspecified = || SocketAddr::new("0.0.0.0".parse().unwrap(), 0);
    let remote = socket.remote.unwrap_or_else(unspecified);
    let numbers = [(3, family), (5, socket.protocol.into()), (6, state)];
    let ports = [(LOCAL_PORT, socket.local.port()), (REMOTE_PORT, remote.port())];
    let ports = ports.map(|(field, port)| (field, port.into()));
    for (field, number) in REST.into_iter().chain(numbers).chain(ports) {
        wire::put_number(&mut message, field, number);
    }
    for (field, endpoint) in [(LOCAL_ADDRESS, socket.local), (REMOTE_ADDRESS, remote)] {
        for word in words(endpoint.ip(), socket.family).unwrap() {
            wire::put_number(&mut message, field, word.into());
        }
    }
    wire::put_bytes(&mut message, 14, b"options");
    message
}

fn at(endpoint: &str) -> SocketAddr {
    endpoint.parse().unwrap()
}

fn listener(family: Family, local: &str) -> Socket {
    Socket { protocol: 6, family, local: at(local), remote: None, listens: true }
}

fn connected(protocol: u8, family: Family, local: &str, remote: &str) -> Socket {
    Socket { protocol, family, local: at(local), remote: Some(at(remote)), listens: false }
}

fn addresses(pairs: &[(&str, &str)]) -> BTreeMap<IpAddr, IpAddr> {
    pairs.iter().map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap())).collect()
}

/// From home to c, with these connections.
fn to_c(connections: &[(Socket, Socket)]) -> Relocation {
    let connections = connections
        .iter()
        .map(|(from, to)| (from.connection().unwrap(), to.connection().unwrap()))
        .collect();
    Relocation { addresses: addresses(&[(HOME, C), ("fd00::2", "fd00::3")]), connections }
}

/// What one socket becomes.
fn becomes(socket: Socket, relocation: &Relocation) -> Result<Socket, Refusal> {
    let edited = readdress(&image(&[socket]), relocation)?;
    Ok(sockets::sockets(&edited).unwrap()[0])
}

#[test]
fn an_image_of_criu_is_read_as_it_is_written() {
    // The words of 10.0.0.2 and of ::ffff:10.0.0.2, as CRIU 4.2 has them.
    assert_eq!(words(HOME.parse().unwrap(), Family::V4).unwrap(), [0x0200_000a]);
    assert_eq!(words(HOME.parse().unwrap(), Family::V6).unwrap(), [0, 0, 0xffff_0000, 0x0200_000a]);
}

#[test]
fn connections_get_both_names_from_the_flows_in_each_form() {
    let forms = [
        (6, Family::V4, ["10.0.0.2:80", "192.0.2.9:4000", "10.0.0.3:8080", "10.0.0.2:20000"]),
        (6, Family::V6, ["10.0.0.2:80", "192.0.2.9:4000", "10.0.0.3:8080", "10.0.0.2:20000"]),
        (6, Family::V6, ["[fd00::2]:80", "[fd00::9]:4000", "[fd00::3]:80", "[fd00::2]:4000"]),
        (17, Family::V4, ["10.0.0.2:53", "192.0.2.9:4000", "10.0.0.3:53", "10.0.0.2:4000"]),
    ];
    for (protocol, family, [local, remote, new_local, new_remote]) in forms {
        let from = connected(protocol, family, local, remote);
        let to = connected(protocol, family, new_local, new_remote);
        assert_eq!(becomes(from, &to_c(&[(from, to)])).unwrap(), to);
        // And home again.
        let back = Relocation {
            addresses: addresses(&[(C, HOME), ("fd00::3", "fd00::2")]),
            connections: [(to.connection().unwrap(), from.connection().unwrap())].into(),
        };
        let there = readdress(&image(&[from]), &to_c(&[(from, to)])).unwrap();
        assert_eq!(readdress(&there, &back).unwrap(), image(&[from]));
    }
}

#[test]
fn between_hosts_connections_keep_home_as_their_peer() {
    let from = connected(6, Family::V6, "10.0.0.3:80", "10.0.0.2:4000");
    let own = connected(6, Family::V4, "127.0.0.1:80", "127.0.0.1:4000");
    let relocation = Relocation::between_hosts(addresses(&[(C, "10.0.0.4")]), &[from, own, from]);
    let to = connected(6, Family::V6, "10.0.0.4:80", "10.0.0.2:4000");
    assert_eq!(becomes(from, &relocation).unwrap(), to);
    assert_eq!(becomes(own, &relocation).unwrap(), own);
}

#[test]
fn listeners_at_an_address_get_the_new_places_and_wildcards_stay() {
    let relocation = to_c(&[]);
    let moved = becomes(listener(Family::V4, "10.0.0.2:80"), &relocation).unwrap();
    assert_eq!(moved, listener(Family::V4, "10.0.0.3:80"));
    let mapped = becomes(listener(Family::V6, "10.0.0.2:80"), &relocation).unwrap();
    assert_eq!(mapped, listener(Family::V6, "10.0.0.3:80"));
    let udp = Socket { protocol: 17, listens: false, ..listener(Family::V6, "[fd00::2]:53") };
    assert_eq!(becomes(udp, &relocation).unwrap().local, at("[fd00::3]:53"));
    for (family, local) in
        [(Family::V4, "0.0.0.0:80"), (Family::V6, "[::]:80"), (Family::V4, "127.0.0.1:80")]
    {
        let image = image(&[listener(family, local)]);
        assert_eq!(readdress(&image, &relocation).unwrap(), image, "{local}");
    }
}

#[test]
fn a_connection_without_a_flow_is_refused_by_name() {
    let lost = connected(6, Family::V4, "10.0.0.2:80", "192.0.2.9:4000");
    let refusal = becomes(lost, &to_c(&[])).unwrap_err();
    assert_eq!(refusal, Refusal::Unknown(lost.connection().unwrap()));
    let told = refusal.to_string();
    assert!(told.contains("TCP connection 10.0.0.2:80 – 192.0.2.9:4000"), "{told}");
}

#[test]
fn a_name_of_the_other_family_is_refused() {
    let four = connected(6, Family::V6, "10.0.0.2:80", "192.0.2.9:4000");
    let six = connected(6, Family::V6, "[fd00::3]:80", "[fd00::2]:4000");
    let refusal = becomes(four, &to_c(&[(four, six)])).unwrap_err();
    assert_eq!(refusal, Refusal::Family { from: four.local, to: six.local });
}

prop_compose! {
    fn any_socket()(
        protocol in prop::sample::select(vec![6, 17]),
        family in prop::sample::select(vec![Family::V4, Family::V6]),
        v4: bool,
        ips in (any::<[u8; 16]>(), any::<[u8; 16]>()),
        ports in (any::<u16>(), any::<u16>()),
        listens: bool,
    ) -> Socket {
        let ip = |octets: [u8; 16]| -> IpAddr {
            match (family, v4) {
                (Family::V6, false) => std::net::Ipv6Addr::from(octets).to_canonical(),
                _ => <[u8; 4]>::try_from(&octets[..4]).unwrap().into(),
            }
        };
        Socket {
            protocol,
            family,
            local: SocketAddr::new(ip(ips.0), ports.0),
            remote: (ports.1 != 0).then(|| SocketAddr::new(ip(ips.1), ports.1)),
            listens,
        }
    }
}

proptest! {
    #[test]
    fn sockets_are_read_as_they_are_and_stay_without_a_reason(
        sockets in prop::collection::vec(any_socket(), 0..5),
    ) {
        let image = image(&sockets);
        prop_assert_eq!(sockets::sockets(&image).unwrap(), sockets);
        prop_assert_eq!(readdress(&image, &Relocation::default()).unwrap(), image);
    }

    #[test]
    fn there_and_back_is_the_same_to_the_byte(socket in any_socket(), other: [u8; 4]) {
        let (image, local) = (image(&[socket]), socket.local.ip());
        let away = if local.is_ipv4() { IpAddr::from(other) } else { "fd00::1".parse().unwrap() };
        let there: BTreeMap<_, _> = [(local, away)].into();
        let back: BTreeMap<_, _> = [(away, local)].into();
        let moved = readdress(&image, &Relocation::between_hosts(there, &[socket])).unwrap();
        let sockets = sockets::sockets(&moved).unwrap();
        prop_assert_eq!(sockets[0].local.ip(), away);
        let again = readdress(&moved, &Relocation::between_hosts(back, &sockets)).unwrap();
        prop_assert_eq!(again, image);
    }

    #[test]
    fn any_bytes_are_edited_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
        let relocation = to_c(&[]);
        let _ = readdress(&bytes, &relocation);
        let _ = readdress(&Image::Files.image([&bytes]), &relocation);
        let mut file = Vec::new();
        wire::put_bytes(&mut file, INET_SOCKET, &bytes);
        let _ = readdress(&Image::Files.image([&file]), &relocation);
    }

    #[test]
    fn a_damaged_image_is_edited_or_refused(
        socket in any_socket(), place: prop::sample::Index, byte: u8,
    ) {
        let mut image = image(&[socket]);
        let place = place.index(image.len());
        image[place] = byte;
        let _ = readdress(&image, &to_c(&[]));
    }
}
