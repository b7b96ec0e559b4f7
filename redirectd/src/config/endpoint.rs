//! Endpoints as people write them: `80`, `192.0.2.1:80`, `[2001:db8::1]:80`,
//! `c:8080`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::report::shown;
use crate::rule::{AT_HOME, PortRange};

/// What is wrong with an endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The part of the text that is wrong.
    pub(super) token: String,
    /// What is wrong with it.
    pub(super) what: String,
    /// What would be right.
    pub(super) cure: String,
}

fn wrong<T>(token: &str, what: impl Into<String>, cure: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { token: token.to_owned(), what: what.into(), cure: cure.into() })
}

/// A home endpoint: ports, and the address if one is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HomeEndpoint {
    pub(super) address: Option<IpAddr>,
    pub(super) ports: PortRange,
}

/// A target endpoint: the host, and its ports if they are given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TargetEndpoint<'a> {
    pub(super) host: HostName<'a>,
    pub(super) ports: Option<PortRange>,
}

/// How a host is named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HostName<'a> {
    /// By a name of the configuration.
    Name(&'a str),
    /// By its address.
    Address(IpAddr),
    /// It is the home node itself.
    Home,
}

/// Reads `80`, `8000-8099`, `192.0.2.1:80`, `[2001:db8::1]:8000-8099`.
pub(super) fn home(text: &str) -> Result<HomeEndpoint, Wrong> {
    if text.is_empty() {
        return wrong("", "no home endpoint is given", "write `home: 80` or `home: 192.0.2.1:80`");
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return Ok(HomeEndpoint { address: None, ports: ports(text)? });
    }
    let (host, ports) = split(text)?;
    let HostName::Address(address) = host else {
        return wrong(
            text,
            format!("`{}` is not a home endpoint", shown(text)),
            "write ports such as 80 or 8000-8099, or an address of this machine with ports: \
             192.0.2.1:80 or \"[2001:db8::1]:80\"",
        );
    };
    match ports {
        Some(ports) => Ok(HomeEndpoint { address: Some(address), ports }),
        None => wrong(
            text,
            format!("the home endpoint `{text}` has no port"),
            format!("write {text}:80, or a range such as {text}:8000-8099"),
        ),
    }
}

/// Reads `c`, `c:8080`, `192.0.2.3:8080`, `[2001:db8::3]:8080-8099`.
pub(super) fn target(text: &str) -> Result<TargetEndpoint<'_>, Wrong> {
    if text.is_empty() {
        return wrong("", "no target is given", "write `to: HOST` or `to: HOST:PORT`");
    }
    if let Ok(ports) = text.parse::<PortRange>() {
        return wrong(
            text,
            format!("`{text}` names no host, only ports"),
            format!("write HOST:{}", ports.first()),
        );
    }
    let (host, ports) = split(text)?;
    Ok(TargetEndpoint { host, ports })
}

/// Whether `text` is a target with a port of its own.
#[must_use]
pub fn names_ports(text: &str) -> bool {
    target(text).is_ok_and(|target| target.ports.is_some())
}

/// Takes `HOST:PORTS`, `ADDRESS:PORTS` or `[ADDRESS]:PORTS` apart; the ports may
/// be missing.
fn split(text: &str) -> Result<(HostName<'_>, Option<PortRange>), Wrong> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((address, rest)) => (HostName::Address(v6(address)?), rest),
            None => return wrong(text, format!("`{}` lacks a `]`", shown(text)), BRACKETS),
        },
        None => {
            let colon = text.find(':').unwrap_or(text.len());
            let (host, rest) = text.split_at(colon);
            if rest.matches(':').count() > 1 {
                return Err(bare_v6(text));
            }
            (named(host)?, rest)
        }
    };
    match rest.strip_prefix(':') {
        Some(digits) => Ok((host, Some(ports(digits)?))),
        None if rest.is_empty() => Ok((host, None)),
        None => wrong(rest, format!("`{}` follows the address", shown(rest)), BRACKETS),
    }
}

const BRACKETS: &str = "write IPv6 endpoints as \"[2001:db8::1]:80\"";

/// An IPv6 address without brackets: the last group could be the port.
fn bare_v6(text: &str) -> Wrong {
    let split = text.rsplit_once(':').and_then(|(address, digits)| {
        Some((address.parse::<Ipv6Addr>().ok()?, digits.parse::<PortRange>().ok()?))
    });
    let whole = text.parse::<Ipv6Addr>();
    let cure = match (split, whole) {
        (Some((address, ports)), Ok(whole)) => {
            format!("write \"[{address}]:{ports}\", or \"[{whole}]\" if all of it is the address")
        }
        (Some((address, ports)), Err(_)) => format!("write \"[{address}]:{ports}\""),
        (None, Ok(whole)) => format!("write \"[{whole}]\", with a port \"[{whole}]:80\""),
        (None, Err(_)) => BRACKETS.to_owned(),
    };
    let what = format!(
        "`{}` has several colons; without brackets nobody knows which one the port follows",
        shown(text)
    );
    Wrong { token: text.to_owned(), what, cure }
}

fn v6(text: &str) -> Result<IpAddr, Wrong> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(IpAddr::V6(address));
    }
    let cure = match text.parse::<Ipv4Addr>() {
        Ok(address) => format!("write {address} without brackets"),
        Err(_) => BRACKETS.to_owned(),
    };
    wrong(text, format!("`{}` is not an IPv6 address", shown(text)), cure)
}

/// A host's name, or an IPv4 address.
fn named(text: &str) -> Result<HostName<'_>, Wrong> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(HostName::Address(IpAddr::V4(address)));
    }
    if text.is_empty() {
        return wrong(":", "no host stands before the `:`", "write HOST:PORT");
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return wrong(
            text,
            format!("`{text}` is not an IPv4 address"),
            "write four numbers from 0 to 255 without leading zeros, such as 192.0.2.1",
        );
    }
    if text == AT_HOME {
        return Ok(HostName::Home);
    }
    Ok(HostName::Name(text))
}

fn ports(text: &str) -> Result<PortRange, Wrong> {
    text.parse::<PortRange>().map_err(|error| Wrong {
        token: text.to_owned(),
        what: error.what,
        cure: error.cure.unwrap_or_default(),
    })
}
