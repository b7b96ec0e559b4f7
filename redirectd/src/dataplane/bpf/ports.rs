//! The set of ports worth a second look-up, with a count of who holds each.

use std::collections::HashMap;

use redirectd_ebpf::abi::PORT_SET_WORDS;

use super::maps::{Maps, failed};
use crate::{
    error::Error,
    rule::{PortRange, Protocol, Redirect},
};

/// Ports and how many redirects have them.
#[derive(Default)]
pub(super) struct Ports {
    held: HashMap<(Protocol, u16), u32>,
}

impl Ports {
    /// Clears the kernel's set, which is then rebuilt port by port. Until it is,
    /// established flows go on; only openings wait.
    pub(super) fn rebuild<'r>(
        maps: &mut Maps,
        redirects: impl Iterator<Item = &'r Redirect>,
    ) -> Result<Self, Error> {
        let mut words = vec![0u64; 2 * PORT_SET_WORDS as usize];
        let mut ports = Self::default();
        for redirect in redirects {
            for (protocol, port) in ports_of(redirect) {
                *ports.held.entry((protocol, port)).or_default() += 1;
                let (index, bit) = place(protocol, port);
                words[index as usize] |= bit;
            }
        }
        for (index, word) in words.iter().enumerate() {
            write(maps, index as u32, *word)?;
        }
        Ok(ports)
    }

    /// Holds all ports of `redirect`.
    pub(super) fn hold(&mut self, maps: &mut Maps, redirect: &Redirect) -> Result<(), Error> {
        for (protocol, port) in ports_of(redirect) {
            let count = self.held.entry((protocol, port)).or_default();
            *count += 1;
            if *count == 1 {
                set(maps, protocol, port, true)?;
            }
        }
        Ok(())
    }

    /// Lets them go.
    pub(super) fn release(&mut self, maps: &mut Maps, redirect: &Redirect) -> Result<(), Error> {
        for key in ports_of(redirect) {
            let Some(count) = self.held.get_mut(&key) else { continue };
            *count -= 1;
            if *count == 0 {
                self.held.remove(&key);
                set(maps, key.0, key.1, false)?;
            }
        }
        Ok(())
    }
}

/// Home ports and target ports.
fn ports_of(redirect: &Redirect) -> impl Iterator<Item = (Protocol, u16)> {
    let home = each(redirect.ports);
    let target = redirect.target_ports().into_iter().flat_map(each);
    let all: Vec<u16> = home.chain(target).collect();
    let protocols = redirect.protocols.clone();
    protocols
        .into_iter()
        .flat_map(move |protocol| all.clone().into_iter().map(move |port| (protocol, port)))
}

/// Each port of a range.
pub(super) fn each(range: PortRange) -> impl Iterator<Item = u16> {
    range.first()..=range.last()
}

fn place(protocol: Protocol, port: u16) -> (u32, u64) {
    let base = match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => PORT_SET_WORDS,
    };
    (base + u32::from(port >> 6), 1 << (port & 63))
}

fn set(maps: &mut Maps, protocol: Protocol, port: u16, on: bool) -> Result<(), Error> {
    let (index, bit) = place(protocol, port);
    let word = maps.port_set.get(&index, 0).map_err(|error| failed("read", "PORT_SET", &error))?;
    write(maps, index, if on { word | bit } else { word & !bit })
}

fn write(maps: &mut Maps, index: u32, word: u64) -> Result<(), Error> {
    maps.port_set.set(index, word, 0).map_err(|error| failed("write", "PORT_SET", &error))
}
