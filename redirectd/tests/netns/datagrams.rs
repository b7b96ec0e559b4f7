//! UDP datagrams of every size come and go whole, those larger than the MTU in
//! fragments.

use std::net::SocketAddr;

use anyhow::Result;
use xtask::lab::soon;

use crate::{
    echo::{self, Echo},
    scene::Scene,
};

/// Around the MTU of 1,500 bytes in both families, and up to what one datagram
/// can carry (less the name in the answer).
const SIZES: [usize; 11] = [0, 1, 512, 1451, 1452, 1453, 1472, 1473, 4000, 20_000, 65_400];

/// Data that differs at every place and for every size.
fn data(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place * 31 + place / 251 + size) as u8).collect()
}

fn sizes(attach: &str) -> Result<()> {
    let scene = Scene::attached(attach)?;
    let _v4 = Echo::udp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    let _v6 = Echo::udp(&scene.lan.c, "[fd00::3]:7000", b'c')?;
    scene.add_both("echo", "udp", 7, 7000)?;
    for (from, home) in [("10.0.0.1:0", "10.0.0.2:7"), ("[fd00::1]:0", "[fd00::2]:7")] {
        let socket = echo::udp(&scene.lan.peer, from)?;
        socket.connect(home)?;
        for size in SIZES {
            echo::there_and_back(&socket, &data(size))?;
        }
    }
    Ok(())
}

#[test]
fn of_every_size_by_tc() -> Result<()> {
    sizes("tc")
}

#[test]
fn of_every_size_by_xdp() -> Result<()> {
    sizes("xdp")
}

#[test]
fn without_a_checksum() -> Result<()> {
    let scene = Scene::tc()?;
    let _echo = Echo::udp(&scene.lan.c, "10.0.0.3:4000", b'c')?;
    scene.add(&["echo", "10.0.0.2:7", "--to", "10.0.0.3:4000", "--protocol", "udp"])?;
    let socket = echo::udp(&scene.lan.peer, "10.0.0.1:0")?;
    socket.connect("10.0.0.2:7")?;
    echo::set(&socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)?;

    // What arrives at the host is looked at on the wire.
    let mut wire = scene.lan.c.start(&[
        "tcpdump",
        "-n",
        "-vv",
        "-U",
        "-l",
        "-i",
        "eth0",
        "udp dst port 4000",
    ])?;
    wire.wait_for_log("listening on")?;
    echo::there_and_back(&socket, b"no checksum")?;
    wire.wait_for_log("[no cksum]")
}

#[test]
fn from_several_peers_ports_to_one_home_port_keep_apart() -> Result<()> {
    let scene = Scene::tc()?;
    let _echo = Echo::udp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    scene.add(&["echo", "10.0.0.2:7", "--to", "10.0.0.3:7000", "--protocol", "udp"])?;
    // d and the peer use the same source port: one of them gets another at home.
    let sockets = [
        echo::udp(&scene.lan.peer, "10.0.0.1:5000")?,
        echo::udp(&scene.lan.d, "10.0.0.4:5000")?,
        echo::udp(&scene.lan.d, "10.0.0.4:5001")?,
    ];
    let home: SocketAddr = "10.0.0.2:7".parse()?;
    for round in 0..3_u8 {
        for (socket, name) in sockets.iter().zip(0_u8..) {
            socket.send_to(&[round, name], home)?;
        }
        for (socket, name) in sockets.iter().zip(0_u8..) {
            let mut answer = [0; 64];
            let (length, from) = soon("it comes back", || socket.recv_from(&mut answer).ok())?;
            assert_eq!((&answer[..length], from), (&[b'c', round, name][..], home));
        }
    }
    Ok(())
}
