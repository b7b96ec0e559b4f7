//! `redirect add --pid`: the peers of a real process at home come to another
//! machine.

use anyhow::{Result, ensure};
use xtask::lab::{Host, Lab, Process, soon};

use crate::{
    echo::{self, Echo, ask},
    scene::Scene,
};

const TABLES: &str = "tables: { redirects: 64, flows: 8192, half_open: 2048 }
hosts: { c: [10.0.0.3, 'fd00::3'] }";

/// A server with a child for each protocol; it answers as [`Echo`] does, and
/// calls itself `h`.
const SERVER: &str = "
import os, socket, threading
tcp = socket.create_server(('::', 7), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.bind(('::', 7))
def serve(connection):
    while data := connection.recv(4096):
        connection.sendall(b'h' + data)
if os.fork() == 0:
    tcp.close()
    print('udp', flush=True)
    while True:
        data, peer = udp.recvfrom(4096)
        udp.sendto(b'h' + data, peer)
udp.close()
print('tcp', flush=True)
while True:
    threading.Thread(target=serve, args=(tcp.accept()[0],), daemon=True).start()
";

fn server(home: &Host) -> Result<Process> {
    let mut server = home.start(&["python3", "-c", SERVER])?;
    server.ready_when("both listen", |log| log.contains("tcp") && log.contains("udp"))?;
    Ok(server)
}

/// Who answers a peer at port 7 of `home` by TCP and UDP.
fn answers(peer: &Host, home: &str) -> Result<[char; 2]> {
    let at = format!("{home}:7");
    let mut connection = echo::connect(peer, &at)?;
    let own = if home.starts_with('[') { "[fd00::1]:0" } else { "10.0.0.1:0" };
    let socket = echo::udp(peer, own)?;
    socket.connect(&at)?;
    socket.send(b"who")?;
    let mut answer = [0; 16];
    let length = soon("an answer comes", || socket.recv(&mut answer).ok())?;
    ensure!(&answer[1..length] == b"who", "the answer is another's");
    Ok([ask(&mut connection, b"who")?, char::from(answer[0])])
}

#[test]
fn peers_of_all_its_sockets_come_to_the_host() -> Result<()> {
    let scene = Scene::configured(Lab::new()?, TABLES)?;
    let (peer, c) = (&scene.lan.peer, &scene.lan.c);
    let server = server(&scene.lan.home)?;
    let _there = [
        Echo::tcp(c, "10.0.0.3:7", b'c')?,
        Echo::tcp(c, "[fd00::3]:7", b'c')?,
        Echo::udp(c, "10.0.0.3:7", b'c')?,
        Echo::udp(c, "[fd00::3]:7", b'c')?,
    ];
    for home in ["10.0.0.2", "[fd00::2]"] {
        assert_eq!(answers(peer, home)?, ['h', 'h'], "at home");
    }
    scene.add(&["moved", "--pid", &server.pid().to_string(), "--to", "c"])?;
    for home in ["10.0.0.2", "[fd00::2]"] {
        assert_eq!(answers(peer, home)?, ['c', 'c'], "at the host");
    }
    scene.daemon.redirect(&["remove", "moved-7", "moved-7-udp"])?;
    for home in ["10.0.0.2", "[fd00::2]"] {
        assert_eq!(answers(peer, home)?, ['h', 'h'], "at home again");
    }
    Ok(())
}

#[test]
fn a_port_of_one_family_is_redirected_for_that_family() -> Result<()> {
    let scene = Scene::configured(Lab::new()?, TABLES)?;
    let (peer, home, c) = (&scene.lan.peer, &scene.lan.home, &scene.lan.c);
    let v4 = "import socket, time; s = socket.create_server(('0.0.0.0', 7)); print('listens', \
              flush=True); time.sleep(600)";
    let mut v4 = home.start(&["python3", "-c", v4])?;
    v4.wait_for_log("listens")?;
    let _v6 = Echo::tcp(home, "[fd00::2]:7", b'h')?;
    let _there = [Echo::tcp(c, "10.0.0.3:7", b'c')?, Echo::tcp(c, "[fd00::3]:7", b'c')?];
    scene.add(&["--pid", &v4.pid().to_string(), "--to", "c"])?;
    assert_eq!(ask(&mut echo::connect(peer, "10.0.0.2:7")?, b"who")?, 'c');
    assert_eq!(ask(&mut echo::connect(peer, "[fd00::2]:7")?, b"who")?, 'h');
    Ok(())
}
