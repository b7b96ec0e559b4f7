//! Where changes are watched: the lab with a second host, a stream of packets
//! from the peer to one home port, and someone at each place they can end.
//!
//! ```text
//!                                   ══ host0 ── host    witness
//! peer ── peer0 ══ in0 ── home ── out0
//! stream                  home's    out1
//!                         process   ══ other0 ── other  witness
//! ```

use std::{
    net::{Ipv4Addr, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use redirectd_bench_bpf::{Expect, Seen};

use crate::{
    daemon::{Daemon, Settings, rules},
    netns::Netns,
    probe::{Probe, Sent, Witness},
    scenario::Scenario,
    stream::HOST_PORT,
    topology::{HOME, HOST, HOST0, IN0, IN0_MAC, Lab, OUT0, PEER, PEER0, neighbour, wire},
    traffic::{Role, Sink},
};

/// The home port that is redirected; no other redirect has it.
pub(super) const PORT: u16 = 7777;
/// The other host's address.
pub(super) const OTHER: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 2);
/// The peer's port.
const PEER_PORT: u16 = 7000;

/// Home's interface towards the other host, and its address there.
const OUT1: &str = "out1";
const OUT1_MAC: [u8; 6] = [0x02, 0, 0, 0, 2, 0x01];
const HOME_OUT1: &str = "198.19.1.1/24";
/// The other host's interface.
const OTHER0: &str = "other0";
const OTHER0_MAC: [u8; 6] = [0x02, 0, 0, 0, 2, 0x02];

/// Room for what comes to home's process between two looks: seconds of the stream.
const ROOM: usize = 64 << 20;

/// Dropped in the order of its fields: the namespaces go last.
pub(super) struct Field {
    /// The daemon, with the redirects of the scenario.
    pub(super) daemon: Daemon,
    /// At the host where the process goes first.
    pub(super) host: Witness,
    /// At the one where it goes then.
    pub(super) other: Witness,
    process: UdpSocket,
    answers: Sink,
    lab: Lab,
    _other: Netns,
}

impl Field {
    /// Makes one, with the redirects of `scenario` in force.
    ///
    /// # Errors
    /// A tool fails, or the daemon does not start.
    pub(super) fn new(scenario: &Scenario) -> Result<Self> {
        let lab = Lab::new()?;
        let other = Netns::new("other")?;
        address(&lab, &other)?;
        let interfaces = &[IN0, OUT0, OUT1];
        let daemon =
            Daemon::with(&lab.home, &Settings { interfaces, ..Settings::of("tc", scenario) })?;
        daemon.apply(&daemon.rule_file("rules.yaml", &rules(scenario))?)?;
        let expect =
            |addr: Ipv4Addr| Expect { addr: addr.into(), first: HOST_PORT, last: HOST_PORT };
        let home = Expect { addr: HOME.into(), first: PORT, last: PORT };
        Ok(Self {
            daemon,
            host: Witness::attach(&lab.host, HOST0, &expect(HOST))?,
            other: Witness::attach(&other, OTHER0, &expect(OTHER))?,
            process: process(&lab.home)?,
            answers: Sink::attach(&lab.peer, PEER0, Role::Returns, &home)?,
            lab,
            _other: other,
        })
    }

    /// Starts the stream, made by `processor`.
    ///
    /// # Errors
    /// Those of [`Probe::start`].
    pub(super) fn probe(&self, processor: usize) -> Result<Probe> {
        Probe::start(&self.lab.peer, processor, (PEER, PEER_PORT), (HOME, PORT))
    }

    /// How many packets have come to home's process since it was last asked.
    ///
    /// # Errors
    /// Its socket fails.
    pub(super) fn at_home(&self) -> Result<u64> {
        let mut packets = 0;
        loop {
            match self.process.recv(&mut [0; 64]) {
                Ok(_) => packets += 1,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(packets),
                Err(error) => return Err(error).context("home's process cannot receive"),
            }
        }
    }

    /// How many packets have come to the hosts so far.
    ///
    /// # Errors
    /// A witness cannot be asked.
    pub(super) fn at_hosts(&self) -> Result<u64> {
        Ok(self.host.seen()?.packets + self.other.seen()?.packets)
    }

    /// Ends the stream; everything has arrived after that.
    ///
    /// # Errors
    /// A packet could not be sent, or an answer came back wrong, or none did.
    pub(super) fn finish(&self, probe: Probe) -> Result<Sent> {
        let sent = probe.finish()?;
        let answers = self.answers.settled_counts()?;
        ensure!(answers.bad_checksum == 0, "{} answers with wrong sums", answers.bad_checksum);
        ensure!(answers.expected > 0, "no answer has come back to the peer");
        Ok(sent)
    }
}

/// Waits until no packet has come to `witness` for `quiet`, and says what it has
/// seen.
///
/// # Errors
/// It cannot be asked, or packets go on coming.
pub(super) fn silence(witness: &Witness, quiet: Duration) -> Result<Seen> {
    let mut before = witness.seen()?;
    for _ in 0..1000 {
        thread::sleep(quiet);
        let seen = witness.seen()?;
        if seen == before {
            return Ok(seen);
        }
        before = seen;
    }
    anyhow::bail!("packets still arrive where the redirect no longer leads")
}

fn address(lab: &Lab, other: &Netns) -> Result<()> {
    for which in ["all", "default"] {
        other.run("sysctl", &format!("-qw net.ipv6.conf.{which}.disable_ipv6=1"))?;
    }
    wire((&lab.home, OUT1, OUT1_MAC), (other, OTHER0, OTHER0_MAC))?;
    lab.home.run("ip", &format!("address add {HOME_OUT1} dev {OUT1}"))?;
    // Receives by NAPI, as the other two do.
    lab.home.run("ethtool", &format!("-K {OUT1} gro on"))?;
    neighbour(&lab.home, OTHER, OTHER0_MAC, OUT1)?;
    lab.peer.run("ip", &format!("address add {PEER}/24 dev {PEER0}"))?;
    // A witness sends packets back as they are: their sums must be complete.
    lab.peer.run("ethtool", &format!("-K {PEER0} tx off"))?;
    neighbour(&lab.peer, HOME, IN0_MAC, PEER0)
}

/// The process whose home port it is, before it has moved.
fn process(home: &Netns) -> Result<UdpSocket> {
    let socket = home.enter(|| {
        UdpSocket::bind((HOME, PORT)).with_context(|| format!("cannot listen at {HOME}:{PORT}"))
    })?;
    setsockopt(&socket, RcvBufForce, &ROOM).context("cannot make room for packets at home")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
