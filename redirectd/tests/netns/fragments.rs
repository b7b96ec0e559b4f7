//! Fragments in an order no IP stack sends them in.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use xtask::lab::soon;

use crate::{
    echo::{self, Echo},
    raw::{RawSender, fragments, udp},
    scene::Scene,
};

/// Sends the fragments of some datagrams in the order `order` gives, and
/// expects each datagram back whole.
///
/// `order` names fragments as (datagram, fragment).
fn arrive_whole(home: &str, peer: &str, order: &[(usize, usize)]) -> Result<()> {
    let scene = Scene::tc()?;
    let _v4 = Echo::udp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    let _v6 = Echo::udp(&scene.lan.c, "[fd00::3]:7000", b'c')?;
    scene.add_both("echo", "udp", 7, 7000)?;
    let (home, peer): (SocketAddr, SocketAddr) = (home.parse()?, peer.parse()?);
    let socket = echo::udp(&scene.lan.peer, &peer.to_string())?;
    let sender = RawSender::new(&scene.lan.peer, home.ip())?;

    // 3,000 bytes and the UDP header in pieces of 1,024: three fragments.
    let datagrams: Vec<Vec<u8>> = (1..=2_u8)
        .map(|number| (0..3000_u32).map(|place| (place / 7) as u8 ^ number).collect())
        .collect();
    let pieces: Vec<Vec<Vec<u8>>> = datagrams
        .iter()
        .zip(100_u16..)
        .map(|(data, id)| fragments(peer.ip(), home.ip(), id, &udp(peer, home, data)?, 1024))
        .collect::<Result<_>>()?;
    for &(datagram, fragment) in order {
        sender.send(&pieces[datagram][fragment], home.ip())?;
    }

    let sent: std::collections::BTreeSet<usize> =
        order.iter().map(|&(datagram, _)| datagram).collect();
    for _ in &sent {
        let mut answer = vec![0; 65_536];
        let (length, from) = soon("a datagram comes back", || socket.recv_from(&mut answer).ok())?;
        assert_eq!(from, home);
        let known = sent.iter().any(|&n| answer[1..length] == datagrams[n]);
        ensure!(known, "{length} bytes came back that nobody sent");
    }
    Ok(())
}

const V4: (&str, &str) = ("10.0.0.2:7", "10.0.0.1:5555");
const V6: (&str, &str) = ("[fd00::2]:7", "[fd00::1]:5555");

#[test]
fn in_order_over_ipv4() -> Result<()> {
    arrive_whole(V4.0, V4.1, &[(0, 0), (0, 1), (0, 2)])
}

#[test]
fn in_order_over_ipv6() -> Result<()> {
    arrive_whole(V6.0, V6.1, &[(0, 0), (0, 1), (0, 2)])
}

#[test]
fn last_first_over_ipv4() -> Result<()> {
    arrive_whole(V4.0, V4.1, &[(0, 2), (0, 1), (0, 0)])
}

#[test]
fn last_first_over_ipv6() -> Result<()> {
    arrive_whole(V6.0, V6.1, &[(0, 2), (0, 1), (0, 0)])
}

#[test]
fn of_two_datagrams_in_turn_over_ipv4() -> Result<()> {
    arrive_whole(V4.0, V4.1, &[(0, 0), (1, 0), (1, 2), (0, 2), (0, 1), (1, 1)])
}

#[test]
fn of_two_datagrams_in_turn_over_ipv6() -> Result<()> {
    arrive_whole(V6.0, V6.1, &[(0, 0), (1, 0), (1, 2), (0, 2), (0, 1), (1, 1)])
}
