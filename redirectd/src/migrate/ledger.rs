//! All moves there are, and what past ones left behind: nothing but the journal's
//! records, read in order. Pure.

mod entry;

use std::collections::{BTreeMap, VecDeque};

pub use self::entry::{FORGOTTEN, Move};
use super::{
    away::{Away, Lock},
    carried::Carried,
    machine::{MoveState, Owner},
    record::{Id, Moment, Outcome, Plan, Record},
};
use crate::{
    desired::Placement,
    error::{Error, Kind},
};

/// So many moves that are over are remembered.
pub const REMEMBERED: usize = 100;

/// All moves, and the placements that past ones left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    open: BTreeMap<Id, Move>,
    /// Those that are over, the last one at the end.
    past: VecDeque<Move>,
    placements: BTreeMap<String, Placement>,
    /// Those that past moves brought elsewhere.
    away: BTreeMap<i32, Away>,
    locked: BTreeMap<i32, Lock>,
    last: Id,
}

impl Ledger {
    /// The ledger after `records`.
    ///
    /// # Errors
    /// By position: a record that cannot follow those before it.
    pub fn read(records: &[Record]) -> Result<Self, (usize, String)> {
        let mut ledger = Self::default();
        for (n, record) in records.iter().enumerate() {
            ledger.apply(record.clone()).map_err(|why| (n, why))?;
        }
        Ok(ledger)
    }

    /// The number of the next move.
    #[must_use]
    pub fn next_id(&self) -> Id {
        self.last.saturating_add(1)
    }

    /// The move of that number.
    ///
    /// # Errors
    /// There is none, or it is so long over that it is forgotten.
    pub fn get(&self, id: Id) -> Result<&Move, Error> {
        let past = || self.past.iter().find(|there| there.id == id);
        self.open.get(&id).or_else(past).ok_or_else(|| {
            let what = match id {
                id if id > 0 && id <= self.last => {
                    format!("move {id} is over and forgotten; {REMEMBERED} are remembered")
                }
                _ => format!("there is no move {id}"),
            };
            Error::new(Kind::NotFound, what).cure("`redirect move list` names those there are")
        })
    }

    /// The moves that are not over, the first one first.
    pub fn open(&self) -> impl Iterator<Item = &Move> {
        self.open.values()
    }

    /// All moves, the first one first.
    pub fn all(&self) -> impl Iterator<Item = &Move> {
        let mut all: Vec<&Move> = self.past.iter().chain(self.open.values()).collect();
        all.sort_by_key(|there| there.id);
        all.into_iter()
    }

    /// The move that has the redirect `name` in its hands.
    #[must_use]
    pub fn moving(&self, name: &str) -> Option<&Move> {
        self.open.values().find(|there| there.moves(name))
    }

    /// Where the processes behind redirects of files are, by the redirects' names.
    #[must_use]
    pub fn placements(&self) -> &BTreeMap<String, Placement> {
        &self.placements
    }

    /// The processes that left home, by their numbers.
    #[must_use]
    pub fn away(&self) -> BTreeMap<i32, Away> {
        let mut away = self.away.clone();
        for there in self.open().filter(|there| there.owner() == Owner::New) {
            follow(&mut away, there);
        }
        away
    }

    /// The processes that are not to move, by their numbers.
    #[must_use]
    pub fn locked(&self) -> &BTreeMap<i32, Lock> {
        &self.locked
    }

    /// The records that lead to this ledger in the shortest way.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let counted = Record::Counted { last: self.last };
        let placed = self.placements.iter().map(|(name, placement)| Record::Placed {
            name: name.clone(),
            placement: Box::new(placement.clone()),
        });
        let away = self.away.values().map(|away| Record::Away(Box::new(away.clone())));
        let locked = self.locked.values().cloned().map(Record::Locked);
        let moves = self.past.iter().chain(self.open.values());
        let moves = moves.map(|there| Record::Move(Box::new(there.clone())));
        [counted].into_iter().chain(placed).chain(away).chain(locked).chain(moves).collect()
    }

    /// Takes `record` in.
    ///
    /// # Errors
    /// It cannot follow what came before; nothing is changed.
    pub fn apply(&mut self, record: Record) -> Result<(), String> {
        use MoveState::{Committed, Parked, Prepared};
        match record {
            Record::Begun { id, at, plan } => self.begin(id, at, plan)?,
            Record::Parked { id, at } => self.step(id, &[Prepared], Parked)?.parked = Some(at),
            Record::Returned { id, at } => self.returns(id, at)?,
            Record::Committed { id, at } => self.step(id, &[Parked], Committed)?.decided = Some(at),
            Record::Withdrawn { id, .. } => self.step(id, &[Committed], Parked)?.decided = None,
            Record::Aborted { id, at, why } => self.abort(id, at, why)?,
            Record::Settled { id, at, outcome } => self.settle(id, at, outcome)?,
            Record::Carried { id, carried } => self.carries(id, carried)?,
            Record::Move(all) => self.adopt(*all)?,
            Record::Placed { name, placement } => drop(self.placements.insert(name, *placement)),
            Record::Unplaced { name } => drop(self.placements.remove(&name)),
            Record::Away(away) => drop(self.away.insert(away.process.pid, *away)),
            Record::Ended { pid } => {
                self.away.remove(&pid);
                self.locked.remove(&pid);
            }
            Record::Locked(lock) => drop(self.locked.insert(lock.process.pid, lock)),
            Record::Unlocked { pid } => drop(self.locked.remove(&pid)),
            Record::Counted { last } => self.last = self.last.max(last),
        }
        Ok(())
    }

    fn begin(&mut self, id: Id, at: Moment, plan: Plan) -> Result<(), String> {
        if id <= self.last {
            return Err(format!("move {id} begins twice"));
        }
        if let Some(shift) = plan.shifts.iter().find(|s| self.moving(s.name()).is_some()) {
            return Err(format!("move {id} takes `{}`, which another move has", shift.name()));
        }
        self.last = id;
        let moves = plan.process.as_ref().and_then(|process| self.locked.get_mut(&process.pid));
        if let Some(lock) = moves {
            // Wherever it is revived, it begins anew.
            lock.started = None;
        }
        self.open.insert(id, Move::new(id, plan, at));
        Ok(())
    }

    fn returns(&mut self, id: Id, at: Moment) -> Result<(), String> {
        let there = self.open_mut(id)?;
        if there.state.is_decided() {
            return Err(format!("move {id} is {} and prepares no way back", there.state));
        }
        there.returned = Some(at);
        Ok(())
    }

    fn abort(&mut self, id: Id, at: Moment, why: String) -> Result<(), String> {
        let from = [MoveState::Prepared, MoveState::Parked];
        let there = self.step(id, &from, MoveState::Aborted)?;
        there.decided = Some(at);
        there.why = Some(why);
        Ok(())
    }

    fn carries(&mut self, id: Id, carried: Carried) -> Result<(), String> {
        let past = self.past.iter_mut().find(|there| there.id == id);
        let there = self.open.get_mut(&id).or(past);
        let there = there.filter(|there| there.state == MoveState::Committed);
        there.ok_or_else(|| format!("move {id} has carried nobody over"))?.carried = Some(carried);
        Ok(())
    }

    fn step(&mut self, id: Id, from: &[MoveState], to: MoveState) -> Result<&mut Move, String> {
        let there = self.open_mut(id)?;
        if !from.contains(&there.state) {
            return Err(format!("move {id} is {} and cannot become {to}", there.state));
        }
        there.state = to;
        Ok(there)
    }

    fn open_mut(&mut self, id: Id) -> Result<&mut Move, String> {
        self.open.get_mut(&id).ok_or_else(|| format!("there is no open move {id}"))
    }

    fn settle(&mut self, id: Id, at: Moment, outcome: Outcome) -> Result<(), String> {
        let mut over = match self.open.remove(&id) {
            Some(there) if there.state.is_decided() => there,
            Some(there) => {
                let why = format!("move {id} is {}, not decided, and cannot be over", there.state);
                self.open.insert(id, there);
                return Err(why);
            }
            None => return Err(format!("there is no open move {id}")),
        };
        over.settled = Some(at);
        over.outcome = Some(outcome);
        if over.owner() == Owner::New {
            self.keep_placements(&over);
            follow(&mut self.away, &over);
        }
        self.remember(over);
        Ok(())
    }

    /// Past moves are forgotten; where they left processes behind redirects of
    /// files is not.
    fn keep_placements(&mut self, over: &Move) {
        for shift in &over.plan.shifts {
            match shift.placement(over.id) {
                Some(placement) if placement.is_idle() => {
                    self.placements.remove(shift.name());
                }
                Some(placement) => {
                    self.placements.insert(shift.name().to_owned(), placement);
                }
                None => {}
            }
        }
    }

    fn adopt(&mut self, there: Move) -> Result<(), String> {
        if self.get(there.id).is_ok() {
            return Err(format!("move {} is there twice", there.id));
        }
        self.last = self.last.max(there.id);
        if there.is_over() {
            self.remember(there);
        } else {
            self.open.insert(there.id, there);
        }
        Ok(())
    }

    fn remember(&mut self, over: Move) {
        self.past.push_back(over);
        if self.past.len() > REMEMBERED {
            self.past.pop_front();
        }
    }
}

/// Notes where `there`, which is committed, has left its process.
fn follow(away: &mut BTreeMap<i32, Away>, there: &Move) {
    match Away::after(there) {
        Some((pid, Some(now))) => {
            away.insert(pid, now);
        }
        Some((pid, None)) => {
            away.remove(&pid);
        }
        None => {}
    }
}

#[cfg(test)]
mod tests;
