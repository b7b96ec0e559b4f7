//! Targets that are named by neither an address nor a host of the configuration.
//! Files may not have them, for what they mean would change by itself; `redirect
//! add` asks the resolver once.

use std::net::IpAddr;

use super::{
    endpoint::{self, HostName},
    hosts::{Host, Hosts},
    text::Spec,
};

/// The name of the target of `spec` if only a resolver can know it; none also if
/// the target makes no sense, which [`super::redirects_from`] will say.
#[must_use]
pub fn unresolved_host<'a>(spec: &'a Spec, hosts: &Hosts) -> Option<&'a str> {
    match endpoint::target(&spec.to).ok()?.host {
        HostName::Name(name) if hosts.get(name).is_none() => Some(name),
        _ => None,
    }
}

impl Hosts {
    /// These hosts and one more, with the first of its `addresses` of each family
    /// that packets can be sent to; none added if there is no such address.
    #[must_use]
    pub fn with_resolved(&self, name: &str, addresses: &[IpAddr]) -> Self {
        let mut hosts = self.clone();
        let mut chosen: Vec<IpAddr> = Vec::new();
        for &address in addresses {
            let first = chosen.iter().all(|there| there.is_ipv4() != address.is_ipv4());
            if first && Host::new(&[address]).is_ok() {
                chosen.push(address);
            }
        }
        if let Ok(host) = Host::new(&chosen) {
            hosts.insert(name, host);
        }
        hosts
    }
}
