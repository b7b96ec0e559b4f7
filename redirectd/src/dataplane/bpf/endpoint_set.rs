//! The set of endpoints worth a look-up, with a count of who holds each bit.

use std::collections::HashMap;

use redirectd_ebpf::{
    abi::{Flow, FlowKey, flow_flags},
    endpoint_set::{Place, WORDS},
    wire::proto,
};

use super::{
    batch,
    family::{MapAddr, words},
    flows::unreadable,
    maps::{FlowTable, Maps, failed},
};
use crate::{
    error::Error,
    rule::{PortRange, Protocol, Redirect},
};

/// The set as the kernel has it, and how many hold each bit. The endpoints of
/// flows that were there at the start are held for as long as the daemon runs.
pub(super) struct EndpointSet {
    words: Vec<u64>,
    held: HashMap<Place, u32>,
}

impl Default for EndpointSet {
    fn default() -> Self {
        Self { words: vec![0; WORDS as usize], held: HashMap::new() }
    }
}

impl EndpointSet {
    /// Makes the kernel's set what the flows there are and `redirects` need. No
    /// bit that they need is off meanwhile.
    pub(super) fn rebuild<'r>(
        maps: &mut Maps,
        redirects: impl Iterator<Item = &'r Redirect>,
    ) -> Result<Self, Error> {
        let mut set = Self::default();
        set.note_flows(&maps.v4.flows)?;
        set.note_flows(&maps.v6.flows)?;
        set.note_flows(&maps.v4.half_open)?;
        set.note_flows(&maps.v6.half_open)?;
        for redirect in redirects {
            for place in places_of(redirect) {
                set.note(place);
            }
        }
        for (index, word) in set.words.iter().enumerate() {
            write(maps, index as u32, *word)?;
        }
        Ok(set)
    }

    fn note_flows<A: MapAddr>(&mut self, table: &FlowTable<A>) -> Result<(), Error> {
        batch::each::<FlowKey<A>, Flow<A>>(&table.data, |key, flow| {
            let tuple = key.tuple;
            let (address, port) = if flow.flags & flow_flags::TO_HOST != 0 {
                (tuple.destination, tuple.destination_port)
            } else {
                (tuple.source, tuple.source_port)
            };
            let place = Place::of(address, port, key.protocol);
            // Once is enough, and there may be a million of them.
            if self.words[place.word() as usize] & place.bit() == 0 {
                self.note(place);
            }
        })
        .map_err(|error| unreadable("FLOWS", &error))
    }

    /// Holds a bit; returns whether it was off.
    fn note(&mut self, place: Place) -> bool {
        let word = &mut self.words[place.word() as usize];
        let was_off = *word & place.bit() == 0;
        *word |= place.bit();
        *self.held.entry(place).or_default() += 1;
        was_off
    }

    /// Holds all endpoints of `redirect`.
    pub(super) fn hold(&mut self, maps: &mut Maps, redirect: &Redirect) -> Result<(), Error> {
        for place in places_of(redirect) {
            if self.note(place) {
                self.write_back(maps, place)?;
            }
        }
        Ok(())
    }

    /// Lets them go.
    pub(super) fn release(&mut self, maps: &mut Maps, redirect: &Redirect) -> Result<(), Error> {
        for place in places_of(redirect) {
            let Some(count) = self.held.get_mut(&place) else { continue };
            *count -= 1;
            if *count == 0 {
                self.held.remove(&place);
                self.words[place.word() as usize] &= !place.bit();
                self.write_back(maps, place)?;
            }
        }
        Ok(())
    }

    fn write_back(&self, maps: &mut Maps, place: Place) -> Result<(), Error> {
        write(maps, place.word(), self.words[place.word() as usize])
    }
}

/// The places of its home endpoints and its target's.
fn places_of(redirect: &Redirect) -> impl Iterator<Item = Place> {
    let (home, target) = (words(redirect.home), words(redirect.target));
    let at_home = each(redirect.ports).map(move |port| (home, port));
    let at_host = redirect.target_ports().into_iter().flat_map(each);
    let all: Vec<_> = at_home.chain(at_host.map(move |port| (target, port))).collect();
    redirect.protocols.clone().into_iter().flat_map(move |protocol| {
        let number = match protocol {
            Protocol::Tcp => proto::TCP,
            Protocol::Udp => proto::UDP,
        };
        let place = move |(address, port): ([u32; 4], u16)| {
            Place::of(address, port.to_be(), u32::from(number))
        };
        all.clone().into_iter().map(place)
    })
}

/// Each port of a range.
pub(super) fn each(range: PortRange) -> impl Iterator<Item = u16> {
    range.first()..=range.last()
}

fn write(maps: &mut Maps, index: u32, word: u64) -> Result<(), Error> {
    maps.endpoint_set.set(index, word, 0).map_err(|error| failed("write", "ENDPOINT_SET", &error))
}
