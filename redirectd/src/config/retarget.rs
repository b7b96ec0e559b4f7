//! The same redirect with another target: what a move makes of it.

use std::net::IpAddr;

use super::{
    endpoint::{self, HostName},
    hosts::Hosts,
    spec,
    text::Spec,
};
use crate::{error::Error, rule::Redirect};

/// `redirect` with the target `to`, which is written `HOST` or `HOST:PORT`;
/// without a port, that of the target it has.
///
/// # Errors
/// `to` makes no sense, or does not suit the redirect.
pub fn retarget(redirect: &Redirect, to: &str, hosts: &Hosts) -> Result<Redirect, Error> {
    let spec = Spec {
        protocol: redirect.protocols.iter().map(ToString::to_string).collect(),
        home: redirect.home_endpoint(),
        to: with_ports(redirect, to),
        peers: redirect.peers.iter().map(ToString::to_string).collect(),
        mode: Some(redirect.mode.to_string()),
        flows: Some(redirect.flows.to_string()),
    };
    let mut redirects = spec::redirects_from(&redirect.name, &spec, hosts, &[])?;
    // A spec with a home address means exactly one.
    Ok(redirects.pop().unwrap_or_else(|| redirect.clone()))
}

/// `to`, with the port of the redirect's target if it gives none; at home, a
/// process has the home ports.
fn with_ports(redirect: &Redirect, to: &str) -> String {
    let port = redirect.target_port;
    match endpoint::target(to) {
        Ok(target) if target.ports.is_none() => match target.host {
            HostName::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            HostName::Address(address) => format!("{address}:{port}"),
            HostName::Name(name) => format!("{name}:{port}"),
            HostName::Home => to.to_owned(),
        },
        // What is wrong with it is said where it is read.
        _ => to.to_owned(),
    }
}
