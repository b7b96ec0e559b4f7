//! What is left of a move once it is decided: delivering what was held, and
//! keeping where the process is. What fails is tried again every second, and at
//! the next start.

use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::kept;
use crate::{
    daemon::Daemon,
    dataplane::{Change, Group, Phase},
    error::Error,
    migrate::{
        machine::MoveState,
        record::{Id, Moment, Outcome, Record},
    },
};

impl Daemon {
    /// Moves whose time is up are aborted, and what is left of decided ones is done.
    pub(in crate::daemon) fn follow_moves(&mut self) {
        self.moves.recovering = false;
        let open = self.moves.book.ledger().open();
        let due = open.map(|there| {
            let waited = self.moves.since.get(&there.id).map(Instant::elapsed);
            (there.id, there.state.is_decided(), waited.and_then(|waited| there.overdue(waited)))
        });
        for (id, decided, overdue) in due.collect::<Vec<_>>() {
            if self.moves.awaited.contains_key(&id) {
                self.look_after_awaited(id);
            } else if decided {
                self.resume(id);
            } else if let Some(why) = overdue {
                self.give_up(id, &why);
            }
        }
        self.moves.book.tidy();
    }

    /// Aborts all moves that are not decided, delivers for those that are, and begins no more:
    /// the daemon stops, and nobody else would deliver what is held.
    pub fn give_up_moves(&mut self) {
        self.moves.stopping = true;
        for id in self.moves.awaited.keys().copied().collect::<Vec<_>>() {
            self.await_no_more(id);
        }
        let open = self.moves.book.ledger().open().filter(|there| !there.state.is_decided());
        for id in open.map(|there| there.id).collect::<Vec<_>>() {
            self.give_up(id, "redirectd was stopped");
        }
    }

    fn give_up(&mut self, id: Id, why: &str) {
        warn!(id, why, "move given up");
        if let Err(error) = self.abort_move(id, why) {
            error!(id, error = error.one_line(), "it cannot be aborted");
        }
    }

    /// Delivers what `group` holds for the move `id`, which is decided in the
    /// kernel too; that took `flip`, if it is known.
    pub(super) fn deliver(&mut self, id: Id, group: Group, flip: Option<Duration>) {
        match self.dataplane.group_replay(group) {
            Ok(replayed) => {
                let flip_us = flip.map(|flip| u64::try_from(flip.as_micros()).unwrap_or(u64::MAX));
                self.delivered(id, Outcome { flip_us, ..replayed.into() });
            }
            Err(error) => {
                error!(
                    id,
                    error = error.one_line(),
                    "what was held is not delivered; trying again"
                );
            }
        }
    }

    fn delivered(&mut self, id: Id, outcome: Outcome) {
        self.moves.groups.remove(&id);
        self.moves.since.remove(&id);
        self.moves.leaders.remove(&id);
        self.moves.delivered.insert(id, (Moment::now(), outcome));
    }

    /// Ends the moves that are decided and delivered.
    pub fn settle_moves(&mut self) {
        let delivered: Vec<Id> = self.moves.delivered.keys().copied().collect();
        for id in delivered {
            self.settle(id);
        }
    }

    /// Ends the move `id`, if all has been delivered.
    pub(super) fn settle(&mut self, id: Id) {
        let Some((at, outcome)) = self.moves.delivered.get(&id).cloned() else { return };
        if !self.unmake(id) {
            return;
        }
        let done = self.keep(id).and_then(|()| {
            self.moves.book.write(Record::Settled { id, at, outcome: outcome.clone() })
        });
        if let Err(error) = done {
            error!(id, error = error.one_line(), "the move is not put on record; trying again");
            return;
        }
        self.moves.delivered.remove(&id);
        if let Ok(there) = self.moves.book.ledger().get(id) {
            self.moves.totals.count(there);
        }
        let Outcome { held, overflow, lost, .. } = outcome;
        let (packets, overflow) = (held.packets, overflow.packets);
        info!(id, held = packets, overflow, lost, "move over");
    }

    /// Has the store keep what the move `id` changed.
    fn keep(&mut self, id: Id) -> Result<(), Error> {
        let there = self.moves.book.ledger().get(id)?;
        if there.state != MoveState::Committed {
            return Ok(());
        }
        let changes = kept(there);
        if changes.is_empty() {
            return Ok(());
        }
        self.store.stage(&changes, self.desired.api())?;
        self.store.commit()
    }

    /// Does what is left of the move `id`, which is decided.
    pub(super) fn resume(&mut self, id: Id) {
        if let Some(group) = self.moves.groups.get(&id).copied() {
            match self.decide(id, group) {
                Ok(true) => self.deliver(id, group, None),
                Ok(false) => self.delivered(id, Outcome::default()),
                Err(error) => {
                    error!(
                        id,
                        error = error.one_line(),
                        "the kernel does not follow; trying again"
                    );
                    return;
                }
            }
        } else if !self.moves.delivered.contains_key(&id) {
            self.delivered(id, Outcome::default());
        }
        self.settle(id);
        self.tell_move(id);
    }

    /// Has the kernel decide as the journal says; false if it has no such group any
    /// more.
    fn decide(&mut self, id: Id, group: Group) -> Result<bool, Error> {
        let groups = self.dataplane.groups()?;
        let Some(there) = groups.iter().find(|there| there.group == group) else {
            return Ok(false);
        };
        let decided = self.moves.book.ledger().get(id)?;
        match (decided.state, there.phase) {
            (MoveState::Committed, Phase::Begun | Phase::Parked) => {
                let shifts = decided.plan.shifts.iter();
                let change = |(from, to)| Change::Update { from, to };
                let changes: Vec<Change> =
                    shifts.map(|s| change((s.from.clone(), s.to.clone()))).collect();
                self.dataplane.group_commit(group)?;
                self.tell(&changes);
            }
            (_, Phase::Begun | Phase::Parked) => self.dataplane.group_abort(group)?,
            (_, Phase::Committed | Phase::Aborted) => {}
        }
        Ok(true)
    }

    /// Takes back a group of the kernel that belongs to no move.
    pub(super) fn dissolve(&mut self, group: Group, phase: Phase) {
        let undecided = matches!(phase, Phase::Begun | Phase::Parked);
        let aborted = if undecided { self.dataplane.group_abort(group) } else { Ok(()) };
        match aborted.and_then(|()| self.dataplane.group_replay(group)) {
            Ok(replayed) => {
                debug!(group, packets = replayed.held.traffic.packets, "group dissolved");
            }
            Err(error) => error!(group, error = error.one_line(), "a group cannot be dissolved"),
        }
    }
}
