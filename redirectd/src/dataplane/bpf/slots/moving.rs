//! Slots of redirects that move together: staged, in the group, settled.

use std::collections::BTreeSet;

use redirectd_ebpf::abi::SlotWord;

use super::{
    Occupant, Slots,
    stored::{read_location, set_record, set_word, write_location},
};
use crate::{
    dataplane::{
        Group, Relocation, Slot,
        bpf::{
            follow::{self, Leads},
            groups::{self, Member},
            maps::Maps,
            record,
        },
    },
    error::{Error, Kind},
    rule::Redirect,
};

impl Slots {
    /// Stages where the redirects will lead, and puts their slots in `group`,
    /// whose gate is open; all of them, or none.
    pub(in crate::dataplane::bpf) fn enlist(
        &mut self,
        maps: &mut Maps,
        group: Group,
        relocation: &Relocation,
    ) -> Result<Vec<Member>, Error> {
        let mut members = Vec::new();
        let mut leads = Leads::new();
        let mut seen = BTreeSet::new();
        for (from, to) in &relocation.redirects {
            let (slot, occupant) = self.find_still(&from.name)?;
            if occupant.redirect != *from || !seen.insert(slot) {
                let what = format!("redirect `{}` is not installed as told", from.name);
                return Err(Error::new(Kind::Conflict, what));
            }
            let next = occupant.word.next();
            let current = read_location(maps, occupant.word.location(slot))?;
            // A bit too many only costs look-ups, so it is not let go again.
            self.endpoints.hold(maps, to)?;
            let location = write_location(maps, slot, next, to, current.follow_from)?;
            leads.insert(slot, (next.generation(), location));
            members.push(Member { slot, from: from.clone(), to: to.clone() });
        }
        follow::prepare_all(maps, &leads)?;
        for (done, member) in members.iter().enumerate() {
            if let Err(error) = self.put_in(maps, member.slot, group) {
                for member in &members[..done] {
                    // One that stays in an open group leads where it led.
                    let _ = self.put_in(maps, member.slot, 0);
                }
                return Err(error);
            }
        }
        Ok(members)
    }

    fn put_in(&mut self, maps: &mut Maps, slot: Slot, group: Group) -> Result<(), Error> {
        let Some(occupant) = self.taken.get_mut(&slot) else { return Ok(()) };
        let word = occupant.word.in_group(group);
        set_word(maps, slot, word)?;
        occupant.word = word;
        Ok(())
    }

    /// The word that a slot in a group will have after the flip.
    pub(in crate::dataplane::bpf) fn next_word(&self, slot: Slot) -> SlotWord {
        self.taken.get(&slot).map(|taken| taken.word.next()).unwrap_or_default()
    }

    /// Takes slots out of their group: to where it led if it has `moved`, else
    /// where they led before. Neither changes anything for packets. Returns where
    /// their flows are to be led.
    pub(in crate::dataplane::bpf) fn settle(
        &mut self,
        maps: &mut Maps,
        members: &[Member],
        moved: bool,
    ) -> Result<Leads, Error> {
        let mut leads = Leads::new();
        for Member { slot, from, to } in members {
            let Some(occupant) = self.taken.get(slot) else { continue };
            // A settled slot, if this was tried before.
            let word = match occupant.word.group() {
                0 => occupant.word,
                _ if moved => occupant.word.next().in_group(0),
                _ => occupant.word.in_group(0),
            };
            let redirect = if moved { to } else { from };
            set_word(maps, *slot, word)?;
            let settled = Occupant { redirect: redirect.clone(), word };
            self.taken.insert(*slot, settled);
            set_record(maps, *slot, Some(record::encode(redirect)))?;
            leads.insert(*slot, (word.generation(), read_location(maps, word.location(*slot))?));
        }
        Ok(leads)
    }

    /// The redirects that an earlier daemon has left in groups.
    pub(in crate::dataplane::bpf) fn in_groups(
        &self,
        maps: &Maps,
    ) -> Result<Vec<(Group, Member)>, Error> {
        let mut members = Vec::new();
        for (slot, Occupant { redirect, word }) in &self.taken {
            if word.group() == 0 {
                continue;
            }
            let led = |word: SlotWord| -> Result<Redirect, Error> {
                let location = read_location(maps, word.location(*slot))?;
                let bare = record::decode(&record::encode(redirect), &location);
                let bare = bare.unwrap_or_else(|| redirect.clone());
                let host = redirect.host.clone().filter(|_| bare.target == redirect.target);
                Ok(Redirect { peers: redirect.peers.clone(), host, ..bare })
            };
            let member = Member { slot: *slot, from: led(*word)?, to: led(word.next())? };
            members.push((word.group(), member));
        }
        Ok(members)
    }

    /// Refuses other changes of a redirect that moves.
    pub(super) fn keep_still(occupant: &Occupant) -> Result<(), Error> {
        if occupant.word.group() == 0 {
            return Ok(());
        }
        let what = format!("redirect `{}` is being moved", occupant.redirect.name);
        Err(Error::new(Kind::Conflict, what).cure("wait until the move has ended, or abort it"))
    }
}

/// What the word of a slot stands for: its group's gate decides.
pub(super) fn effective(maps: &Maps, word: SlotWord) -> Result<SlotWord, Error> {
    if word.group() == 0 {
        return Ok(word);
    }
    Ok(groups::word(maps, word.group())?.effective(word))
}
