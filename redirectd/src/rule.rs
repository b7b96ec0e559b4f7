//! A validated redirect, and the set of them that is in force together.
//!
//! This is the only place that decides whether a redirect makes sense; whoever
//! reads rules (YAML, the command line, the API) ends here. Nothing does I/O.

mod conflict;
mod flaw;
mod ports;
#[cfg(test)]
pub(crate) mod properties;
mod set;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub(crate) use self::flaw::{address_flaw, name_flaw};
pub use self::{
    conflict::{Conflict, Contradiction, conflicts},
    flaw::{Field, Flaw},
    ports::PortRange,
    set::RedirectSet,
};
use crate::error::{Error, Kind};

/// What is written in place of a host for a process that is at home.
pub const AT_HOME: &str = "home";

/// A transport protocol that can be redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

/// How packets reach the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// DNAT and SNAT at home; nothing is needed on the host.
    #[default]
    Nat,
}

/// What happens to open connections when a redirect changes its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flows {
    /// Open connections stay where they are; only new ones go to the new target.
    #[default]
    NewOnly,
    /// Open connections are taken along: the process behind them has moved.
    Follow,
}

/// One redirect: home endpoints, the target, and for whom.
///
/// The fields are open so that readers of rules can fill them;
/// [`Redirect::validate`] says whether they make sense, and [`RedirectSet`]
/// holds none that does not. The JSON form has the fields' names, ports as a
/// string (`"80"`, `"8000-8099"`), and leaves out an absent `host` and empty
/// `peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Unique among all redirects; letters, digits, `.`, `_`, `-`, the first a
    /// letter or digit; 1 to 63 bytes.
    pub name: String,
    /// At least one; sorted, no doubles.
    pub protocols: Vec<Protocol>,
    /// The home address that peers send to.
    pub home: IpAddr,
    /// The home ports.
    pub ports: PortRange,
    /// The host's address; of the same family as `home`. If it is `home` itself, with
    /// the same ports, the process is at home, and may move from there.
    pub target: IpAddr,
    /// The port at the target that `ports.first()` maps to; the rest follow in order.
    pub target_port: u16,
    /// The name by which the rule file or the user gave the host, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Peers this redirect is for; empty means all. Of the same family as `home`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<IpNet>,
    /// How packets reach the host.
    #[serde(default)]
    pub mode: Mode,
    /// What a change of target does to open connections.
    #[serde(default)]
    pub flows: Flows,
}

impl Redirect {
    /// Whether the redirect makes sense by itself.
    ///
    /// # Errors
    /// The first flaw, of kind [`Kind::Usage`].
    pub fn validate(&self) -> Result<(), Error> {
        match self.flaws().into_iter().next() {
            None => Ok(()),
            Some(flaw) => Err(flaw.into_error(&self.name)),
        }
    }

    /// Whether it leads to home itself: the process is at home, and its packets
    /// are the kernel's own.
    #[must_use]
    pub fn is_at_home(&self) -> bool {
        self.target == self.home && self.target_port == self.ports.first()
    }

    /// Whether it is for what `peer` sends to `home`.
    #[must_use]
    pub fn catches(&self, protocol: Protocol, peer: IpAddr, home: (IpAddr, u16)) -> bool {
        (self.home == home.0 && self.ports.contains(home.1))
            && self.protocols.contains(&protocol)
            && (self.peers.is_empty() || self.peers.iter().any(|net| net.contains(&peer)))
    }

    /// The last port at the target, or `None` if it would lie beyond 65535.
    #[must_use]
    pub fn last_target_port(&self) -> Option<u16> {
        self.target_port.checked_add(self.ports.last() - self.ports.first())
    }

    /// The ports at the target, or `None` if they would not all lie in 1 to 65535.
    #[must_use]
    pub fn target_ports(&self) -> Option<PortRange> {
        PortRange::new(self.target_port, self.last_target_port()?).ok()
    }

    /// The protocols as people write them: `tcp`, `tcp,udp`.
    #[must_use]
    pub fn protocol_list(&self) -> String {
        self.protocols.iter().map(Protocol::to_string).collect::<Vec<_>>().join(",")
    }

    /// The home endpoint as people write it: `192.0.2.1:80`,
    /// `[2001:db8::1]:8000-8099`.
    #[must_use]
    pub fn home_endpoint(&self) -> String {
        endpoint(self.home, self.ports)
    }

    /// The target endpoint as people write it, with the host's name if it was
    /// given by one: `c (192.0.2.3:8080)`; [`AT_HOME`] if the process is there.
    #[must_use]
    pub fn target_endpoint(&self) -> String {
        if self.is_at_home() {
            return AT_HOME.to_owned();
        }
        let address = match self.target_ports() {
            Some(ports) => endpoint(self.target, ports),
            None => endpoint(self.target, self.target_port),
        };
        match &self.host {
            Some(host) => format!("{host} ({address})"),
            None => address,
        }
    }

    /// Whether replies to home's translated ports could be taken for new
    /// connections of this redirect: whether its home ports overlap the ports
    /// that home uses towards hosts.
    ///
    /// # Errors
    /// They do; of kind [`Kind::Conflict`].
    pub fn keeps_off(&self, snat_ports: PortRange) -> Result<(), Error> {
        if !self.ports.overlaps(snat_ports) {
            return Ok(());
        }
        Err(Error::new(
            Kind::Conflict,
            format!(
                "redirect `{}`: the home ports {} overlap snat_ports {snat_ports}, which home itself \
                 uses towards hosts: a reply could be mistaken for a new connection",
                self.name, self.ports
            ),
        )
        .cure("choose home ports outside snat_ports, or move snat_ports"))
    }
}

/// An address with ports, IPv6 in brackets.
fn endpoint(address: IpAddr, ports: impl fmt::Display) -> String {
    match address {
        IpAddr::V4(v4) => format!("{v4}:{ports}"),
        IpAddr::V6(v6) => format!("[{v6}]:{ports}"),
    }
}

/// The family's name, for messages.
pub(crate) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// `tcp 192.0.2.1:80 -> c (192.0.2.3:8080) for 198.51.100.0/24`
impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocols = self.protocol_list();
        write!(f, "{protocols} {} -> {}", self.home_endpoint(), self.target_endpoint())?;
        for (n, peers) in self.peers.iter().enumerate() {
            f.write_str(if n == 0 { " for " } else { ", " })?;
            write!(f, "{peers}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(unknown("protocol", text).cure("write `tcp` or `udp`")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nat => "nat",
        })
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "nat" => Ok(Self::Nat),
            _ => Err(unknown("mode", text).cure("write `nat`, the only mode there is")),
        }
    }
}

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewOnly => "new-only",
            Self::Follow => "follow",
        })
    }
}

impl FromStr for Flows {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "new-only" => Ok(Self::NewOnly),
            "follow" => Ok(Self::Follow),
            _ => Err(unknown("choice for flows", text).cure(
                "write `new-only` (open connections stay) or `follow` (they are taken along)",
            )),
        }
    }
}

fn unknown(what: &str, text: &str) -> Error {
    Error::new(Kind::Usage, format!("`{text}` is not a {what}"))
}
