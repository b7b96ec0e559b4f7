//! The steps of a change, each with how to take it back.

use redirectd_ebpf::abi::{Record, SlotWord};

use super::{
    Occupant, Slots,
    stored::{read_location, set_record, set_word},
};
use crate::{
    dataplane::{
        Slot,
        bpf::{
            entries::{For, Key},
            follow,
            maps::Maps,
        },
    },
    error::Error,
    rule::Redirect,
};

/// How to take a step back. That endpoints are held is not taken back: flows
/// may have followed to the new host meanwhile, and a bit too many only costs
/// look-ups.
pub(super) enum Undo {
    Word(Slot, SlotWord),
    Following(Slot, SlotWord),
    Record(Slot, Option<Record>),
    Entry(Key, For, Slot),
    Occupant(Slot, Option<Occupant>),
    Release(Redirect),
}

impl Slots {
    pub(super) fn set_entry(
        &mut self,
        maps: &mut Maps,
        key: Key,
        whom: For,
        slot: Slot,
    ) -> Result<(), Error> {
        let old = self.entries.get(&key, whom);
        if old == slot {
            return Ok(());
        }
        self.entries.set(maps, key, whom, slot)?;
        self.undo.push(Undo::Entry(key, whom, old));
        Ok(())
    }

    pub(super) fn write_word(
        &mut self,
        maps: &mut Maps,
        slot: Slot,
        old: SlotWord,
        word: SlotWord,
    ) -> Result<(), Error> {
        set_word(maps, slot, word)?;
        self.undo.push(Undo::Word(slot, old));
        Ok(())
    }

    pub(super) fn write_record(
        &mut self,
        maps: &mut Maps,
        slot: Slot,
        old: Option<Record>,
        record: Option<Record>,
    ) -> Result<(), Error> {
        set_record(maps, slot, record)?;
        self.undo.push(Undo::Record(slot, old));
        Ok(())
    }

    pub(super) fn release(&mut self, maps: &mut Maps, redirect: &Redirect) -> Result<(), Error> {
        self.endpoints.release(maps, redirect)?;
        self.undo.push(Undo::Release(redirect.clone()));
        Ok(())
    }

    /// Takes back all steps, the last one first, and tells of those that would
    /// not be taken back.
    pub(super) fn take_back(&mut self, maps: &mut Maps, mut error: Error) -> Error {
        while let Some(step) = self.undo.pop() {
            let result = match step {
                Undo::Word(slot, word) => set_word(maps, slot, word),
                Undo::Following(slot, word) => lead_back(maps, slot, word),
                Undo::Record(slot, record) => set_record(maps, slot, record),
                Undo::Entry(key, whom, slot) => self.entries.set(maps, key, whom, slot),
                Undo::Release(redirect) => self.endpoints.hold(maps, &redirect),
                Undo::Occupant(slot, occupant) => {
                    self.reinstate(slot, occupant);
                    Ok(())
                }
            };
            if let Err(also) = result {
                error.what = format!("{}; and taking the change back: {}", error.what, also.what);
            }
        }
        error
    }

    fn reinstate(&mut self, slot: Slot, occupant: Option<Occupant>) {
        if let Some(present) = self.taken.remove(&slot)
            && self.by_name.get(&present.redirect.name) == Some(&slot)
        {
            self.by_name.remove(&present.redirect.name);
        }
        self.doomed.remove(&slot);
        match occupant {
            Some(occupant) => {
                self.by_name.insert(occupant.redirect.name.clone(), slot);
                self.taken.insert(slot, occupant);
            }
            None => self.free.push(slot),
        }
    }
}

/// Leads the flows that have followed the slot to where `word` leads.
fn lead_back(maps: &mut Maps, slot: Slot, word: SlotWord) -> Result<(), Error> {
    let location = read_location(maps, word.location(slot))?;
    follow::bring_along(maps, slot, word.generation(), &location)
}
