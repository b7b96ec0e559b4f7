//! What an earlier daemon has left: which redirects there are, and their entries
//! made what they say.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redirectd_ebpf::abi::slot_state;

use super::{Occupant, Slots, moving, stored::read_location};
use crate::{
    dataplane::{
        Slot,
        bpf::{
            endpoint_set::EndpointSet,
            entries::{self, Entries},
            maps::{Maps, failed},
            record,
        },
    },
    error::Error,
};

impl Slots {
    /// Reads what is pinned and finishes what was left half done.
    pub(in crate::dataplane::bpf) fn adopt(maps: &mut Maps) -> Result<Self, Error> {
        let mut slots = Self {
            taken: BTreeMap::new(),
            by_name: HashMap::new(),
            doomed: BTreeSet::new(),
            free: Vec::new(),
            words: HashMap::new(),
            entries: Entries::adopt(maps)?,
            endpoints: EndpointSet::default(),
            undo: Vec::new(),
        };
        slots.read(maps)?;
        slots.endpoints =
            EndpointSet::rebuild(maps, slots.taken.values().map(|taken| &taken.redirect))?;
        slots.mend(maps)?;
        Ok(slots)
    }

    fn read(&mut self, maps: &Maps) -> Result<(), Error> {
        let mut records = HashMap::new();
        for item in maps.records.iter() {
            let (slot, record) = item.map_err(|error| failed("read", "RECORDS", &error))?;
            records.insert(slot, record);
        }
        let mut peers: HashMap<Slot, Vec<ipnet::IpNet>> = HashMap::new();
        for (_, whom, slot) in self.entries.all() {
            if let Some(net) = whom {
                let nets = peers.entry(slot).or_default();
                if !nets.contains(&net) {
                    nets.push(net);
                }
            }
        }
        for slot in (1..maps.slots.len()).rev() {
            let word = maps.slots.get(&slot, 0).map_err(|error| failed("read", "SLOTS", &error))?;
            let redirect = match records.get(&slot) {
                Some(record) if word.state() != slot_state::NONE => {
                    let counts = moving::effective(maps, word)?;
                    let location = read_location(maps, counts.location(slot))?;
                    record::decode(record, &location).map(|mut redirect| {
                        if record::is_for_some_peers(record) {
                            redirect.peers = peers.remove(&slot).unwrap_or_default();
                            redirect.peers.sort();
                        }
                        redirect
                    })
                }
                _ => None,
            };
            match redirect {
                Some(redirect) => {
                    if word.state() == slot_state::ACTIVE {
                        self.by_name.insert(redirect.name.clone(), slot);
                    }
                    self.taken.insert(slot, Occupant { redirect, word });
                }
                // Flows may still name it: the next sweep tells.
                None if word.generation() != 0 => {
                    self.words.insert(slot, word);
                    self.doomed.insert(slot);
                }
                None => self.free.push(slot),
            }
        }
        Ok(())
    }

    /// Makes the entries what the redirects say.
    fn mend(&mut self, maps: &mut Maps) -> Result<(), Error> {
        let mut wanted = HashMap::new();
        for (slot, occupant) in &self.taken {
            if occupant.word.state() == slot_state::ACTIVE {
                for (key, whom) in entries::claims(&occupant.redirect) {
                    wanted.insert((key, whom), *slot);
                }
            }
        }
        for (key, whom, slot) in self.entries.all() {
            if wanted.get(&(key, whom)) != Some(&slot) {
                self.entries.set(maps, key, whom, 0)?;
            }
        }
        for ((key, whom), slot) in wanted {
            if self.entries.get(&key, whom) != slot {
                self.entries.set(maps, key, whom, slot)?;
            }
        }
        Ok(())
    }
}
