//! Slots: which redirect has which, and changes of them that are all or nothing.
//!
//! A change is made of steps; each leaves behind how to take it back. The order
//! of the steps is such that a packet at any moment meets the old state or the
//! new one, and that [`Slots::adopt`] can finish a change that a dying daemon
//! has left half done: the record says which redirects there are, the slot's
//! word what they do, the location where they lead.

mod adopt;
mod moving;
mod step;
mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use redirectd_ebpf::abi::{SlotWord, slot_state};

use self::{
    step::Undo,
    stored::{read_location, write_location},
};
use super::{
    counters,
    endpoint_set::EndpointSet,
    entries::{self, Entries},
    follow,
    maps::Maps,
    record,
};
use crate::{
    dataplane::{Change, Installed, Removal, Slot, State},
    error::{Error, Kind},
    rule::{Flows, Redirect},
};

/// A redirect in its slot.
#[derive(Debug, Clone)]
struct Occupant {
    redirect: Redirect,
    word: SlotWord,
}

/// All slots.
pub(super) struct Slots {
    taken: BTreeMap<Slot, Occupant>,
    by_name: HashMap<String, Slot>,
    /// Slots whose redirect was cut; they are free once no flow names them.
    doomed: BTreeSet<Slot>,
    free: Vec<Slot>,
    /// What each free slot's word was, so that generations go on.
    words: HashMap<Slot, SlotWord>,
    entries: Entries,
    endpoints: EndpointSet,
    undo: Vec<Undo>,
}

impl Slots {
    /// All redirects, those that drain included.
    pub(super) fn installed(&self) -> Vec<Installed> {
        let state = |word: SlotWord| match word.state() {
            slot_state::DRAINING => State::Draining,
            _ => State::Active,
        };
        self.taken
            .iter()
            .map(|(slot, occupant)| Installed {
                slot: *slot,
                redirect: occupant.redirect.clone(),
                state: state(occupant.word),
            })
            .collect()
    }

    /// How many slots are in use.
    pub(super) fn used(&self) -> u64 {
        (self.taken.len() + self.doomed.len()) as u64
    }

    /// Slots whose flows are to be removed.
    pub(super) fn doomed(&self) -> &BTreeSet<Slot> {
        &self.doomed
    }

    /// Carries out all changes or none.
    pub(super) fn apply(&mut self, maps: &mut Maps, changes: &[Change]) -> Result<(), Error> {
        self.undo.clear();
        for change in changes {
            let result = match change {
                Change::Add(redirect) => self.add(maps, redirect),
                Change::Update { from, to } => self.update(maps, from, to),
                Change::Remove { redirect, removal } => self.remove(maps, &redirect.name, *removal),
            };
            if let Err(error) = result {
                return Err(self.take_back(maps, error));
            }
        }
        self.undo.clear();
        Ok(())
    }

    fn add(&mut self, maps: &mut Maps, redirect: &Redirect) -> Result<(), Error> {
        let slot = self.next_free()?;
        let old = self.words.get(&slot).copied().unwrap_or_default();
        let word = SlotWord::new(old.generation().wrapping_add(1).max(1), slot_state::ACTIVE);
        self.undo.push(Undo::Occupant(slot, None));
        self.taken.insert(slot, Occupant { redirect: redirect.clone(), word });
        self.by_name.insert(redirect.name.clone(), slot);
        counters::clear_slot(maps, slot)?;
        write_location(maps, slot, word, redirect, word.generation())?;
        self.write_word(maps, slot, old, word)?;
        self.write_record(maps, slot, None, Some(record::encode(redirect)))?;
        self.endpoints.hold(maps, redirect)?;
        self.claim(maps, redirect, slot)
    }

    fn remove(&mut self, maps: &mut Maps, name: &str, removal: Removal) -> Result<(), Error> {
        let (slot, occupant) = self.find_still(name)?;
        for (key, whom) in entries::claims(&occupant.redirect) {
            self.set_entry(maps, key, whom, 0)?;
        }
        let state = match removal {
            Removal::Drain => slot_state::DRAINING,
            Removal::Cut => slot_state::NONE,
        };
        let word = SlotWord::new(occupant.word.generation(), state);
        self.write_word(maps, slot, occupant.word, word)?;
        self.undo.push(Undo::Occupant(slot, Some(occupant.clone())));
        self.by_name.remove(name);
        if removal == Removal::Drain {
            self.taken.insert(slot, Occupant { word, ..occupant });
            return Ok(());
        }
        self.taken.remove(&slot);
        self.words.insert(slot, word);
        self.doomed.insert(slot);
        let record = record::encode(&occupant.redirect);
        self.write_record(maps, slot, Some(record), None)?;
        self.release(maps, &occupant.redirect)
    }

    /// Changes a redirect in its slot, or, where its home endpoints change,
    /// gives it another one and lets the old one drain.
    fn update(&mut self, maps: &mut Maps, from: &Redirect, to: &Redirect) -> Result<(), Error> {
        let same_home =
            from.home == to.home && from.ports == to.ports && from.protocols == to.protocols;
        if !same_home {
            self.remove(maps, &from.name, Removal::Drain)?;
            return self.add(maps, to);
        }
        let (slot, occupant) = self.find_still(&from.name)?;
        let moved = from.target != to.target || from.target_port != to.target_port;
        self.endpoints.hold(maps, to)?;
        let word = if moved { self.flip(maps, slot, &occupant, to)? } else { occupant.word };
        let (old, new) = (record::encode(&occupant.redirect), record::encode(to));
        self.write_record(maps, slot, Some(old), Some(new))?;
        let (before, after) = (entries::claims(&occupant.redirect), entries::claims(to));
        for (key, whom) in &after {
            self.set_entry(maps, *key, *whom, slot)?;
        }
        let kept: HashSet<_> = after.into_iter().collect();
        for (key, whom) in before {
            if !kept.contains(&(key, whom)) {
                self.set_entry(maps, key, whom, 0)?;
            }
        }
        self.undo.push(Undo::Occupant(slot, Some(occupant.clone())));
        self.taken.insert(slot, Occupant { redirect: to.clone(), word });
        // Flows may stay with the old target, and its answers may still be under
        // way: its endpoints stay held until the daemon is started anew.
        if moved { Ok(()) } else { self.release(maps, &occupant.redirect) }
    }

    /// Leads the slot to its new target: the ways back first, then one write.
    fn flip(
        &mut self,
        maps: &mut Maps,
        slot: Slot,
        occupant: &Occupant,
        to: &Redirect,
    ) -> Result<SlotWord, Error> {
        let old = occupant.word;
        let word = old.next();
        let current = read_location(maps, old.location(slot))?;
        let follow_from = match to.flows {
            Flows::Follow => current.follow_from,
            Flows::NewOnly => word.generation(),
        };
        let location = write_location(maps, slot, word, to, follow_from)?;
        if to.flows == Flows::Follow {
            follow::prepare(maps, slot, word.generation(), &location)?;
        }
        if to.flows == Flows::Follow {
            // Taken back after the word is: some flows will have followed by then.
            self.undo.push(Undo::Following(slot, old));
        }
        self.write_word(maps, slot, old, word)?;
        if to.flows == Flows::Follow {
            // With them, flows that were opened between the first pass and the flip.
            follow::bring_along(maps, slot, word.generation(), &location)?;
        }
        Ok(word)
    }

    /// Frees the slots that no flow names any more: those that were cut, and
    /// those that have drained.
    pub(super) fn free(&mut self, maps: &mut Maps, in_use: &HashSet<Slot>) -> Result<(), Error> {
        let freed: Vec<Slot> =
            self.doomed.iter().copied().filter(|slot| !in_use.contains(slot)).collect();
        for slot in freed {
            self.doomed.remove(&slot);
            self.free.push(slot);
        }
        let drained: Vec<Slot> = self
            .taken
            .iter()
            .filter(|(slot, taken)| {
                taken.word.state() == slot_state::DRAINING && !in_use.contains(slot)
            })
            .map(|(slot, _)| *slot)
            .collect();
        for slot in drained {
            let Some(occupant) = self.taken.remove(&slot) else { continue };
            let word = SlotWord::new(occupant.word.generation(), slot_state::NONE);
            self.write_word(maps, slot, occupant.word, word)?;
            let record = record::encode(&occupant.redirect);
            self.write_record(maps, slot, Some(record), None)?;
            self.release(maps, &occupant.redirect)?;
            self.words.insert(slot, word);
            self.doomed.insert(slot);
        }
        self.undo.clear();
        Ok(())
    }

    /// As [`Slots::find`], for a redirect that does not move.
    fn find_still(&self, name: &str) -> Result<(Slot, Occupant), Error> {
        let (slot, occupant) = self.find(name)?;
        Self::keep_still(&occupant)?;
        Ok((slot, occupant))
    }

    fn find(&self, name: &str) -> Result<(Slot, Occupant), Error> {
        let slot = self.by_name.get(name).copied();
        let occupant = slot.and_then(|slot| Some((slot, self.taken.get(&slot)?.clone())));
        occupant.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("the kernel has no redirect named `{name}`"))
        })
    }

    fn next_free(&mut self) -> Result<Slot, Error> {
        self.free.pop().ok_or_else(|| {
            Error::new(
                Kind::Failed,
                format!("the table of redirects is full: {} are in it", self.used()),
            )
            .cure(
                "remove redirects, wait until removed ones have drained, or raise \
                 `tables: redirects:` and reinstall with `redirectd --uninstall`",
            )
        })
    }

    fn claim(&mut self, maps: &mut Maps, redirect: &Redirect, slot: Slot) -> Result<(), Error> {
        for (key, whom) in entries::claims(redirect) {
            self.set_entry(maps, key, whom, slot)?;
        }
        Ok(())
    }
}
