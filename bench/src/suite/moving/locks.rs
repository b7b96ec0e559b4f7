//! Two ways to keep packets from a process that is frozen: redirectd holds them,
//! CRIU's network lock drops them.

use std::net::{SocketAddr, SocketAddrV4, TcpStream};

use anyhow::{Context, Result, bail};
use redirectd::api::moves::{BeginRequest, ConnectionView, MoveView, ReturnReport, ReturnRequest};
use redirectd::rule::Protocol;

use super::{frozen::Lock, tcp::Taken};
use crate::{
    command::run,
    daemon::Daemon,
    lan::{HOME, HOST, Lan},
    netns::Netns,
};

/// Held by redirectd, and delivered at the host, to which the process moves.
pub(super) struct Held<'a> {
    daemon: &'a Daemon,
    host: &'a Netns,
    peer: SocketAddrV4,
    port: u16,
    id: u32,
}

impl<'a> Held<'a> {
    /// The name of the redirect to the server.
    pub(super) const REDIRECT: &'static str = "server";

    /// Begins a move of the server at `port`, which is at home and has a connection
    /// from `peer`.
    ///
    /// # Errors
    /// The daemon refuses.
    pub(super) fn begin(
        daemon: &'a Daemon,
        lan: &'a Lan,
        peer: SocketAddrV4,
        port: u16,
    ) -> Result<Self> {
        let request = BeginRequest::new(vec![Self::REDIRECT.to_owned()], HOST.to_string());
        let begun: MoveView = daemon.post("/v1/moves", &request)?;
        Ok(Self { daemon, host: &lan.host, peer, port, id: begun.id })
    }

    fn step(&self, step: &str) -> Result<()> {
        let path = format!("/v1/moves/{}/{step}", self.id);
        self.daemon.post(&path, &()).map(|_: MoveView| ())
    }
}

impl Lock for Held<'_> {
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.step("park")
    }

    fn revive(&mut self, taken: &Taken) -> Result<TcpStream> {
        let connection = ConnectionView {
            protocol: Protocol::Tcp,
            peer: self.peer.into(),
            home: (HOME, self.port).into(),
            host: None,
            snat_port: 0,
        };
        let request = ReturnRequest { connections: vec![connection] };
        let path = format!("/v1/moves/{}/return", self.id);
        let report: ReturnReport = self.daemon.post(&path, &request)?;
        let connection = report.connections.first().context("one connection is one")?;
        let Some(SocketAddr::V4(own)) = connection.host else { bail!("the host has no IPv4") };
        taken.put_down(self.host, own, SocketAddrV4::new(HOME, connection.snat_port))
    }

    fn open(&mut self) -> Result<()> {
        self.step("commit")
    }
}

/// Dropped by nftables at home, as CRIU does; the process is revived where it was.
pub(super) struct Dropped<'a> {
    home: &'a Netns,
    own: SocketAddrV4,
    peer: SocketAddrV4,
}

/// The table of the lock.
const TABLE: &str = "bench-lock";

impl<'a> Dropped<'a> {
    /// For the connection of the server at `port` of home to `peer`.
    pub(super) fn new(home: &'a Netns, peer: SocketAddrV4, port: u16) -> Self {
        Self { home, own: SocketAddrV4::new(HOME, port), peer }
    }
}

impl Lock for Dropped<'_> {
    // Before it stops: else what comes while `nft` starts would be in the socket's
    // queue, which the process takes along.
    fn prepare(&mut self) -> Result<()> {
        let rules = rules(self.own, self.peer);
        run(self.home.command("nft").args(["-f", "-"]), &rules).map(drop)
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    fn revive(&mut self, taken: &Taken) -> Result<TcpStream> {
        taken.put_down(self.home, self.own, self.peer)
    }

    fn open(&mut self) -> Result<()> {
        self.home.run("nft", &format!("delete table ip {TABLE}")).map(drop)
    }
}

/// What CRIU's `--network-lock nftables` has in force for what comes in by one
/// connection. What goes out passes: an answer that is given while the lock closes
/// would be lost for good, as nobody has it in a queue.
fn rules(own: SocketAddrV4, peer: SocketAddrV4) -> String {
    format!(
        "table ip {TABLE} {{
           chain input {{
             type filter hook input priority filter;
             ip saddr {} tcp sport {} ip daddr {} tcp dport {} drop
           }}
         }}\n",
        peer.ip(),
        peer.port(),
        own.ip(),
        own.port()
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_lock_is_for_one_connection() {
        let own = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 7000);
        let peer = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 2), 40_000);
        let rule = "ip saddr 198.18.0.2 tcp sport 40000 ip daddr 198.18.0.1 tcp dport 7000 drop";
        assert!(rules(own, peer).contains(rule), "{}", rules(own, peer));
    }
}
