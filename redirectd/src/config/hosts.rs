//! Hosts by name.

use std::{collections::BTreeMap, net::IpAddr};

use super::suggest;
use crate::rule::{self, Field, Flaw};

/// A host's addresses: one, or one of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Host {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

impl Host {
    /// The host with these addresses.
    ///
    /// # Errors
    /// By position in `addresses`: an address no packet can be sent to, or a
    /// second one of a family. `None` if there are no addresses.
    pub(super) fn new(addresses: &[IpAddr]) -> Result<Self, Option<(usize, Flaw)>> {
        let mut host = Self::default();
        for (n, &address) in addresses.iter().enumerate() {
            if let Some(flaw) = rule::address_flaw(Field::Target, "host", address) {
                return Err(Some((n, flaw)));
            }
            let place = if address.is_ipv4() { &mut host.v4 } else { &mut host.v6 };
            if let Some(first) = place.replace(address) {
                let family = rule::family(address);
                return Err(Some((
                    n,
                    Flaw {
                        field: Field::Target,
                        what: format!("the host has two {family} addresses: {first} and {address}"),
                        cure: "give one of each family; name a second host for the other"
                            .to_owned(),
                    },
                )));
            }
        }
        if addresses.is_empty() { Err(None) } else { Ok(host) }
    }

    /// Its address of the same family as `other`.
    #[must_use]
    pub fn beside(&self, other: IpAddr) -> Option<IpAddr> {
        if other.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.into_iter().chain(self.v6)
    }
}

/// Hosts by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts(BTreeMap<String, Host>);

impl Hosts {
    /// The host called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Host> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Host)> {
        self.0.iter().map(|(name, host)| (name.as_str(), host))
    }

    /// Adds one; returns the one of the same name that was there before.
    pub(super) fn insert(&mut self, name: &str, host: Host) -> Option<Host> {
        self.0.insert(name.to_owned(), host)
    }

    /// What to write instead of `name`, which is no host.
    pub(super) fn cure_for(&self, name: &str) -> String {
        if self.0.is_empty() {
            return "write the host's address, or name it under `hosts`".to_owned();
        }
        match suggest::nearest(name, self.0.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "name it under `hosts`, or write its address; the hosts are {}",
                suggest::list(self.0.keys().map(String::as_str))
            ),
        }
    }
}
