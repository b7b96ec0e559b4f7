//! Targets that are named by neither an address nor a host of the configuration.
//! Files may not have them, for what they mean would change by itself; `redirect
//! add` asks the resolver once.

use std::net::IpAddr;

use super::{
    endpoint::{self, HostName},
    hosts::{Host, Hosts},
    text::Spec,
};
use crate::error::{Error, Kind};

/// The name of the target of `spec` if only a resolver can know it; none also if
/// the target makes no sense, which [`super::redirects_from`] will say.
#[must_use]
pub fn unresolved_host<'a>(spec: &'a Spec, hosts: &Hosts) -> Option<&'a str> {
    unresolved_target(&spec.to, hosts)
}

/// The same of a target that stands alone.
#[must_use]
pub fn unresolved_target<'a>(to: &'a str, hosts: &Hosts) -> Option<&'a str> {
    match endpoint::target(to).ok()?.host {
        HostName::Name(name) if hosts.get(name).is_none() => Some(name),
        _ => None,
    }
}

impl Hosts {
    /// These hosts and one more: `name`, which the resolver says has `addresses`.
    /// It gets the first of each family that packets can be sent to.
    ///
    /// # Errors
    /// There is no such address.
    pub fn with_resolved(&self, name: &str, addresses: &[IpAddr]) -> Result<Self, Error> {
        let mut chosen: Vec<IpAddr> = Vec::new();
        let mut flaw = None;
        for &address in addresses {
            match Host::new(&[address]) {
                Ok(_) if chosen.iter().any(|there| there.is_ipv4() == address.is_ipv4()) => {}
                Ok(_) => chosen.push(address),
                Err(why) => flaw = flaw.or(why),
            }
        }
        let Ok(host) = Host::new(&chosen) else {
            let what = format!(
                "the resolver has no address of the target `{name}` that packets \
                                can be sent to"
            );
            return Err(match flaw {
                Some((_, flaw)) => Error::new(Kind::Failed, format!("{what}: {}", flaw.what)),
                None => Error::new(Kind::Failed, what),
            }
            .cure("write its address, or name it under `hosts`"));
        };
        let mut hosts = self.clone();
        hosts.insert(name, host);
        Ok(hosts)
    }
}
