//! Opens flows packet by packet through redirectd's tc program, which answers
//! with the packet that it would send.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};

use super::{
    Entry,
    frame::{ACK, Macs, SYN, Spread, Transport, frame, transport_at},
    wrapper::context,
};
use crate::{
    interrupt,
    topology::{HOST0_MAC, IN0, IN0_MAC, OUT0, OUT0_MAC, PEER0_MAC},
};

/// `TC_ACT_REDIRECT`.
const REDIRECT: u32 = 7;
/// Room for what a program makes longer.
const ROOM: usize = 256;
/// Flows between two looks whether the run was interrupted.
const PORTION: u32 = 1_000;

/// From the peer to home.
pub(super) const FROM_PEER: Macs = [IN0_MAC, PEER0_MAC];
/// From the host to home.
const FROM_HOST: Macs = [OUT0_MAC, HOST0_MAC];

/// The tc program, with what it is told about each interface.
pub(super) struct Opening {
    program: SchedClassifier,
    at_in: Vec<u8>,
    at_out: Vec<u8>,
}

impl Opening {
    /// Call it in home's namespace, as all of the following.
    ///
    /// # Errors
    /// It is not home's namespace.
    pub(super) fn new(program: SchedClassifier) -> Result<Self> {
        let context = |interface| context(Entry::Tc, interface, 0);
        Ok(Self { program, at_in: context(IN0)?, at_out: context(OUT0)? })
    }

    /// Opens the flows of `spread` with TCP's handshake, from `peer` and the
    /// addresses and ports after it, to `home` and the ports after it, which
    /// are really `host` and the ports after it.
    ///
    /// # Errors
    /// A packet is not translated.
    pub(super) fn tcp(
        &self,
        peer: SocketAddr,
        home: SocketAddr,
        host: SocketAddr,
        spread: Spread,
    ) -> Result<()> {
        for target in 0..spread.targets {
            for flow in 0..spread.per_target {
                if flow % PORTION == 0 {
                    interrupt::check()?;
                }
                let peer = SocketAddr::new(after(peer.ip(), target), peer.port() + flow as u16);
                let home = SocketAddr::new(home.ip(), home.port() + target as u16);
                let host = SocketAddr::new(host.ip(), host.port() + target as u16);
                self.handshake(peer, home, host)
                    .with_context(|| format!("opening {peer} to {home}"))?;
            }
        }
        Ok(())
    }

    fn handshake(&self, peer: SocketAddr, home: SocketAddr, host: SocketAddr) -> Result<()> {
        let segment =
            |flags, sequence, acknowledgement| Transport::Tcp { flags, sequence, acknowledgement };
        let asked = self.peer_sends(&frame(FROM_PEER, peer, home, segment(SYN, 100, 0)))?;
        let answer = segment(SYN | ACK, 500, 101);
        self.host_sends(&frame(FROM_HOST, host, home_towards_host(&asked, home), answer))?;
        self.peer_sends(&frame(FROM_PEER, peer, home, segment(ACK, 101, 501))).map(drop)
    }

    /// Opens one flow of UDP: question, answer, question.
    ///
    /// # Errors
    /// A packet is not translated.
    pub(super) fn udp(&self, peer: SocketAddr, home: SocketAddr, host: SocketAddr) -> Result<()> {
        let question = frame(FROM_PEER, peer, home, Transport::Udp);
        let asked = self.peer_sends(&question)?;
        let home_there = home_towards_host(&asked, home);
        self.host_sends(&frame(FROM_HOST, host, home_there, Transport::Udp))?;
        self.peer_sends(&question).map(drop)
    }

    fn peer_sends(&self, packet: &[u8]) -> Result<Vec<u8>> {
        self.run(packet, &self.at_in)
    }

    fn host_sends(&self, packet: &[u8]) -> Result<Vec<u8>> {
        self.run(packet, &self.at_out)
    }

    /// The packet as it is sent on.
    fn run(&self, packet: &[u8], context: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; packet.len() + ROOM];
        let ran = self.program.test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ctx_in: Some(context),
            ..TestRunOptions::default()
        })?;
        if ran.return_value != REDIRECT {
            bail!("redirectd does not send the packet on: verdict {}", ran.return_value);
        }
        ensure!(ran.data_size_out as usize >= packet.len(), "redirectd has cut the packet");
        Ok(out)
    }
}

/// Home's endpoint in a packet that was translated towards the host.
fn home_towards_host(packet: &[u8], home: SocketAddr) -> SocketAddr {
    let at = transport_at(home.ip());
    SocketAddr::new(home.ip(), u16::from_be_bytes([packet[at], packet[at + 1]]))
}

/// The address `n` after `first`.
fn after(first: IpAddr, n: u32) -> IpAddr {
    match first {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() + n).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() + u128::from(n)).into()),
    }
}
