//! Home endpoints in the kernel: which slot a new flow gets, for whom.
//!
//! A mirror of the maps spares reading them back: this process is their only
//! writer.

use std::{
    collections::{HashMap, hash_map},
    net::IpAddr,
};

use ipnet::IpNet;
use redirectd_ebpf::abi::{Endpoint, Entry};

use super::{
    endpoint_set::each,
    family::MapAddr,
    maps::{FamilyMaps, Maps, failed, peer_key},
};
use crate::{
    dataplane::Slot,
    error::Error,
    rule::{Protocol, Redirect},
};

/// One home endpoint.
pub(super) type Key = (IpAddr, u16, Protocol);

/// What is in the maps for one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mirror {
    /// The slot for any peer, 0 for none.
    slot: Slot,
    /// Slots for some peers.
    prefixes: Vec<(IpNet, Slot)>,
}

/// All endpoints that are redirected.
#[derive(Default)]
pub(super) struct Entries {
    mirror: HashMap<Key, Mirror>,
}

/// For whom an endpoint is redirected: any peer, or those in a prefix.
pub(super) type For = Option<IpNet>;

/// Everything `redirect` claims: each endpoint, and for whom.
pub(super) fn claims(redirect: &Redirect) -> Vec<(Key, For)> {
    let mut claims = Vec::new();
    for protocol in &redirect.protocols {
        for port in each(redirect.ports) {
            let key = (redirect.home, port, *protocol);
            if redirect.peers.is_empty() {
                claims.push((key, None));
            }
            claims.extend(redirect.peers.iter().map(|peer| (key, Some(*peer))));
        }
    }
    claims
}

impl Entries {
    /// Who has this endpoint; 0 for nobody.
    pub(super) fn get(&self, key: &Key, whom: For) -> Slot {
        let Some(mirror) = self.mirror.get(key) else { return 0 };
        match whom {
            None => mirror.slot,
            Some(prefix) => {
                mirror.prefixes.iter().find(|(net, _)| *net == prefix).map_or(0, |(_, slot)| *slot)
            }
        }
    }

    /// Gives the endpoint to `slot`, or to nobody with 0.
    pub(super) fn set(
        &mut self,
        maps: &mut Maps,
        key: Key,
        whom: For,
        slot: Slot,
    ) -> Result<(), Error> {
        let mut mirror = self.mirror.get(&key).cloned().unwrap_or_default();
        match whom {
            None => mirror.slot = slot,
            Some(prefix) => {
                mirror.prefixes.retain(|(net, _)| *net != prefix);
                if slot != 0 {
                    mirror.prefixes.push((prefix, slot));
                }
            }
        }
        if key.0.is_ipv4() {
            write(&mut maps.v4, key, whom, slot, &mirror)?;
        } else {
            write(&mut maps.v6, key, whom, slot, &mirror)?;
        }
        if mirror == Mirror::default() {
            self.mirror.remove(&key);
        } else {
            self.mirror.insert(key, mirror);
        }
        Ok(())
    }

    /// Reads the maps.
    pub(super) fn adopt(maps: &Maps) -> Result<Self, Error> {
        let mut entries = Self::default();
        entries.read(&maps.v4)?;
        entries.read(&maps.v6)?;
        Ok(entries)
    }

    /// Everything that is claimed by anybody.
    pub(super) fn all(&self) -> Vec<(Key, For, Slot)> {
        let mut all = Vec::new();
        for (key, mirror) in &self.mirror {
            if mirror.slot != 0 {
                all.push((*key, None, mirror.slot));
            }
            all.extend(mirror.prefixes.iter().map(|(net, slot)| (*key, Some(*net), *slot)));
        }
        all
    }

    fn read<A: MapAddr>(&mut self, maps: &FamilyMaps<A>) -> Result<(), Error> {
        for item in maps.redirects.iter() {
            let (endpoint, entry) = item.map_err(|error| failed("read", "REDIRECTS", &error))?;
            self.at(&endpoint).slot = entry.slot;
        }
        for item in maps.peers.iter() {
            let (key, slot) = item.map_err(|error| failed("read", "PEERS", &error))?;
            let bits = key.prefix_len().saturating_sub(8 * size_of::<Endpoint<A>>() as u32);
            let data = key.data();
            if let Ok(net) = IpNet::new(data.peer.to_ip(), bits as u8) {
                self.at(&data.endpoint).prefixes.push((net, slot));
            }
        }
        Ok(())
    }

    fn at<A: MapAddr>(&mut self, endpoint: &Endpoint<A>) -> &mut Mirror {
        let protocol = if endpoint.protocol == 17 { Protocol::Udp } else { Protocol::Tcp };
        let key = (endpoint.address.to_ip(), u16::from_be(endpoint.port), protocol);
        match self.mirror.entry(key) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(entry) => entry.insert(Mirror::default()),
        }
    }
}

/// IP protocol number.
pub(super) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// Brings the maps to what `mirror` says of one endpoint. The prefix goes in
/// before the entry that makes the programs look for it, and out after it.
fn write<A: MapAddr>(
    maps: &mut FamilyMaps<A>,
    (home, port, protocol): Key,
    whom: For,
    slot: Slot,
    mirror: &Mirror,
) -> Result<(), Error> {
    let Some(address) = A::from_ip(home) else { return Ok(()) };
    let endpoint = Endpoint { address, port: port.to_be(), protocol: number(protocol), zero: 0 };
    let prefix =
        whom.and_then(|net| Some(peer_key(endpoint, A::from_ip(net.network())?, net.prefix_len())));
    if let Some(prefix) = &prefix
        && slot != 0
    {
        maps.peers.insert(prefix, slot, 0).map_err(|error| failed("write", "PEERS", &error))?;
    }
    let entry = Entry { slot: mirror.slot, peers: u32::from(!mirror.prefixes.is_empty()) };
    if entry == Entry::default() {
        ignore_absent(maps.redirects.remove(&endpoint))
            .map_err(|error| failed("write", "REDIRECTS", &error))?;
    } else {
        maps.redirects
            .insert(endpoint, entry, 0)
            .map_err(|error| failed("write", "REDIRECTS", &error))?;
    }
    if let Some(prefix) = &prefix
        && slot == 0
    {
        ignore_absent(maps.peers.remove(prefix))
            .map_err(|error| failed("write", "PEERS", &error))?;
    }
    Ok(())
}

/// Removing what is not there is no failure.
pub(super) fn ignore_absent(
    result: Result<(), aya::maps::MapError>,
) -> Result<(), aya::maps::MapError> {
    match result {
        Err(aya::maps::MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        Err(aya::maps::MapError::KeyNotFound) => Ok(()),
        other => other,
    }
}
