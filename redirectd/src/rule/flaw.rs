//! What can be wrong with one redirect, field by field.

use std::net::{IpAddr, Ipv4Addr};

use super::{Redirect, family};
use crate::error::{Error, Kind};

/// The part of a redirect that is wrong, so that a reader of rules can show the
/// place it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// `name`
    Name,
    /// `protocols`
    Protocols,
    /// `home` and `ports`
    Home,
    /// `target` and `target_port`
    Target,
    /// `peers`, by position
    Peers(usize),
}

/// One thing that is wrong with a redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub field: Field,
    /// What; a clause without a full stop that does not name the redirect.
    pub what: String,
    /// What would be right.
    pub cure: String,
}

impl Flaw {
    fn new(field: Field, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { field, what: what.into(), cure: cure.into() }
    }

    /// The flaw of the redirect called `name` as an error.
    #[must_use]
    pub fn into_error(self, name: &str) -> Error {
        let what = match self.field {
            // The name may be anything here, control characters included.
            Field::Name => self.what,
            _ => format!("redirect `{name}`: {}", self.what),
        };
        Error::new(Kind::Usage, what).cure(self.cure)
    }
}

/// The longest name of a redirect or host, in bytes: a DNS label's (RFC 1035,
/// section 2.3.4), so that names fit wherever such labels do.
pub(crate) const MAX_NAME: usize = 63;

impl Redirect {
    /// Everything that is wrong with the redirect by itself; empty if nothing is.
    #[must_use]
    pub fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        flaws.extend(name_flaw("redirect", &self.name));
        flaws.extend(self.protocol_flaw());
        flaws.extend(address_flaw(Field::Home, "home", self.home));
        flaws.extend(self.target_flaw());
        for (n, peers) in self.peers.iter().enumerate() {
            flaws.extend(self.peer_flaw(n, *peers));
        }
        flaws
    }

    fn protocol_flaw(&self) -> Option<Flaw> {
        let sorted = self.protocols.windows(2).all(|pair| pair[0] < pair[1]);
        if self.protocols.is_empty() {
            let cure = "name `tcp`, `udp` or both";
            return Some(Flaw::new(Field::Protocols, "no protocol is given", cure));
        }
        (!sorted).then(|| {
            Flaw::new(
                Field::Protocols,
                "the protocols are not in order, or one is given twice",
                "name each once, `tcp` before `udp`",
            )
        })
    }

    fn target_flaw(&self) -> Option<Flaw> {
        let flaw = |what: String, cure: String| Some(Flaw::new(Field::Target, what, cure));
        if let Some(wrong) = address_flaw(Field::Target, "target", self.target) {
            return Some(wrong);
        }
        if self.home.is_ipv4() != self.target.is_ipv4() {
            return flaw(
                format!(
                    "the home address {} is {}, but the target {} is {}: mode nat does not \
                     translate between families",
                    self.home,
                    family(self.home),
                    self.target,
                    family(self.target)
                ),
                format!("give the host's {} address", family(self.home)),
            );
        }
        if self.home == self.target && !self.is_at_home() {
            return flaw(
                format!("the target {} is the home address itself, with another port", self.target),
                "name another machine, or `home` for a process that is at home and may move"
                    .to_owned(),
            );
        }
        if self.target_ports().is_none() {
            return flaw(
                format!(
                    "{} ports from target port {} on do not fit in 1 to 65535",
                    self.ports.len(),
                    self.target_port
                ),
                // No underflow: a range has at most 65535 ports.
                format!("start between 1 and {}", 65535 - (self.ports.len() - 1)),
            );
        }
        None
    }

    fn peer_flaw(&self, n: usize, peers: ipnet::IpNet) -> Option<Flaw> {
        let flaw = |what: String, cure: String| Some(Flaw::new(Field::Peers(n), what, cure));
        if peers.addr().is_ipv4() != self.home.is_ipv4() {
            return flaw(
                format!(
                    "the peers {peers} are {}, but the home address {} is {}",
                    family(peers.addr()),
                    self.home,
                    family(self.home)
                ),
                format!("give {} prefixes only", family(self.home)),
            );
        }
        if peers.trunc() != peers {
            return flaw(
                format!("the peers {peers} have bits set beyond the prefix"),
                format!(
                    "write {}, or {}/{} for one peer",
                    peers.trunc(),
                    peers.addr(),
                    peers.max_prefix_len()
                ),
            );
        }
        if self.peers[..n].contains(&peers) {
            return flaw(format!("the peers {peers} are given twice"), "name them once".to_owned());
        }
        None
    }
}

/// What is wrong with a name of a redirect or host (`whose`).
pub(crate) fn name_flaw(whose: &str, name: &str) -> Option<Flaw> {
    let cure = "use 1 to 63 letters, digits, `.`, `_`, `-`, the first a letter or digit";
    let what = if name.is_empty() {
        format!("the {whose} has no name")
    } else if name.len() > MAX_NAME {
        let shown: String = name.chars().take(20).collect();
        format!("the {whose} name `{}…` has {} bytes", shown.escape_debug(), name.len())
    } else if let Some(c) = name.chars().find(|c| !is_name_char(*c)) {
        format!("the {whose} name `{}` contains {c:?}", name.escape_debug())
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        format!("the {whose} name `{name}` starts with `{}`", &name[..1])
    } else {
        return None;
    };
    Some(Flaw::new(Field::Name, what, cure))
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// What keeps `address` from being a home or target address (`whose`).
pub(crate) fn address_flaw(field: Field, whose: &str, address: IpAddr) -> Option<Flaw> {
    let (why, cure) = if address.is_unspecified() {
        ("unspecified: no packet is sent to it", "name the address that peers or home use")
    } else if address.is_loopback() {
        ("a loopback address: it never leaves the machine", "name an address of an interface")
    } else if address.is_multicast() {
        ("a multicast address: a flow has one peer and one host", "name a unicast address")
    } else {
        match address {
            IpAddr::V4(v4) if v4 == Ipv4Addr::BROADCAST => (
                "the broadcast address: a flow has one peer and one host",
                "name a unicast address",
            ),
            IpAddr::V4(v4) if v4.octets()[0] == 0 => (
                "of the network 0.0.0.0/8, which is never a destination (RFC 1122, section 3.2.1.3)",
                "name a unicast address",
            ),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => (
                "link-local: it means another machine on each link, and a redirect names no link",
                "name a global or unique local address",
            ),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => (
                "an IPv4-mapped address: on the wire it is IPv4 (RFC 4038, section 4.2)",
                "write the IPv4 address",
            ),
            _ => return None,
        }
    };
    Some(Flaw::new(field, format!("the {whose} address {address} is {why}"), cure))
}
