//! The ways from the peer to a server on the host: what TCP suites compare.

pub(crate) mod bounce;
mod deputy;
mod direct;
mod netfilter;
mod redirectd;
mod relay;

use std::{
    any::Any,
    net::{Ipv4Addr, SocketAddrV4},
};

use anyhow::Result;

use crate::lan::{HOME, Lan, Wire};

/// A way for connections from the peer to a server on the host.
pub(crate) trait Route: Sync {
    /// Its name in reports, which is also the one to choose it by.
    fn name(&self) -> &'static str;

    /// Why it cannot be set up on this machine, if so.
    fn unavailable(&self) -> Option<String> {
        None
    }

    /// Why it cannot work with links like `wire`, if so.
    fn unfit(&self, _wire: &Wire) -> Option<String> {
        None
    }

    /// Sets it up in `lan`, which no other route uses, for servers on `ports`,
    /// the same at home as on the host. What is returned takes it away when
    /// dropped, and must be dropped before `lan`.
    ///
    /// # Errors
    /// It cannot be set up here.
    fn set_up(&self, lan: &Lan, ports: &[u16]) -> Result<Box<dyn Any>>;

    /// Where the peer connects to.
    fn target(&self) -> Ipv4Addr {
        HOME
    }

    /// How a server runs.
    fn server(&self) -> Server {
        Server::Plain
    }
}

/// How a server on the host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// With sockets of its own, bound to every address of the host.
    Plain,
    /// With a deputy at home that holds its sockets, see [`deputy_of`].
    Deputy,
}

/// Where the deputy of the server on `port` waits for it.
pub(crate) fn deputy_of(port: u16) -> SocketAddrV4 {
    deputy::of_server(port)
}

/// Every route to a server that runs as [`Server::Plain`], in the order of
/// reports.
pub(crate) fn all() -> Vec<Box<dyn Route>> {
    vec![
        Box::new(direct::Direct),
        Box::new(bounce::Bounce::Tc),
        Box::new(bounce::Bounce::Xdp),
        Box::new(redirectd::Redirectd::Tc),
        Box::new(redirectd::Redirectd::Xdp),
        Box::new(netfilter::Iptables),
        Box::new(netfilter::Nftables),
        Box::new(relay::Haproxy),
        Box::new(relay::Socat),
    ]
}

/// The routes of the papers to a server with a deputy, in the order of reports.
pub(crate) fn deputies() -> Vec<Box<dyn Route>> {
    vec![Box::new(deputy::Deputies::Plain), Box::new(deputy::Deputies::Gather)]
}

/// Why a program of XDP cannot work with links like `wire`, if so.
fn unfit_for_xdp(wire: &Wire) -> Option<String> {
    const NOT_FRAMES: &str = "XDP is for frames as a card delivers them; these are not yet cut \
                              into frames and summed";
    if wire.offloads {
        return Some(NOT_FRAMES.into());
    }
    (!wire.xdp).then(|| "the switch does not take what XDP sends".into())
}

#[cfg(test)]
pub(crate) mod tests;
