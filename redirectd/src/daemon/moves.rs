//! The moves of processes, as engines ask for them. What may follow what, and
//! why in this order, is told in [`crate::migrate`].

mod awaited;
mod begin;
mod finish;
mod following;
mod made;
mod recover;
mod totals;
mod views;

use std::{collections::BTreeMap, time::Instant};

use tracing::{error, info, warn};

use self::{awaited::Awaited, following::Following};
pub use self::{begin::read_id, totals::MoveTotals};
use super::Daemon;
use crate::{
    api::{
        events::Happening,
        moves::{MoveView, ReturnReport, ReturnRequest},
    },
    dataplane::{Change, Connection, Group},
    desired::{Desired, Shifted},
    error::{Error, Kind},
    migrate::{
        book::Book,
        leader::Leader,
        ledger::Move,
        machine::{Call, Next},
        record::{Id, Moment, Outcome, Record, Shift},
    },
};

/// What the daemon has of moves.
pub(super) struct Moves {
    /// All of them, on disk and in memory.
    pub(super) book: Book,
    /// The kernel's groups of those that are not over.
    groups: BTreeMap<Id, Group>,
    /// Since when those that are not decided are in their states, by a clock that
    /// nobody sets.
    pub(super) since: BTreeMap<Id, Instant>,
    /// Who leads those that do not outlive that one undecided.
    pub(super) leaders: BTreeMap<Id, Leader>,
    /// Those that are committed, with packets held until their processes stand.
    awaited: BTreeMap<Id, Awaited>,
    /// Those whose processes run, and whose memory follows.
    following: BTreeMap<Id, Following>,
    /// What was delivered of moves that still have something else to do.
    delivered: BTreeMap<Id, (Moment, Outcome)>,
    totals: MoveTotals,
    /// The kernel may not have all redirects that are desired yet.
    recovering: bool,
    /// No more begin.
    stopping: bool,
}

impl Moves {
    pub(super) fn new(book: Book) -> Self {
        Self {
            book,
            groups: BTreeMap::new(),
            since: BTreeMap::new(),
            leaders: BTreeMap::new(),
            awaited: BTreeMap::new(),
            following: BTreeMap::new(),
            delivered: BTreeMap::new(),
            totals: MoveTotals::default(),
            recovering: true,
            stopping: false,
        }
    }

    /// The kernel's group of a move.
    fn group(&self, id: Id) -> Result<Group, Error> {
        self.groups.get(&id).copied().ok_or_else(|| {
            Error::new(Kind::Failed, format!("the kernel knows nothing of move {id} any more"))
                .cure(format!("`redirect move abort {id}`, and begin another"))
        })
    }
}

/// When what was held for a process is delivered to its new host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliver {
    /// With the commit.
    AtOnce,
    /// When whoever puts the process down there says so.
    WhenTold,
}

impl Daemon {
    /// The process of the move `id` is frozen: from now on its packets are held.
    /// Again, for one that is parked already, does nothing.
    ///
    /// # Errors
    /// It is out of order. Or it cannot be done; the move is aborted then, and the
    /// process goes on where it is.
    pub fn park_move(&mut self, id: Id) -> Result<MoveView, Error> {
        if self.next(id, Call::Park)? == Next::Stay {
            return self.show_move(id);
        }
        let group = self.moves.group(id)?;
        self.moves.book.write(Record::Parked { id, at: Moment::now() })?;
        if let Err(error) = self.dataplane.group_park(group) {
            let what = format!("packets cannot be held: {}", error.what);
            self.abort_move(id, &what)?;
            return Err(Error { what: format!("move {id} is aborted: {what}"), ..error });
        }
        self.moves.since.insert(id, Instant::now());
        self.tell_move(id);
        self.show_move(id)
    }

    /// The new host is about to have the connections of `request`: its packets may
    /// pass to the peers from now on.
    ///
    /// # Errors
    /// It is out of order, a connection is not of this move, or the kernel refuses.
    /// The move is as it was.
    pub fn return_move(&mut self, id: Id, request: &ReturnRequest) -> Result<ReturnReport, Error> {
        self.next(id, Call::Return)?;
        let group = self.moves.group(id)?;
        let there = self.moves.book.ledger().get(id)?;
        let wanted = request.connections.iter().map(|one| begin::connection(there, one));
        let wanted = wanted.collect::<Result<Vec<Connection>, Error>>()?;
        let prepared = self.dataplane.group_return(group, &wanted)?;
        if let Err(error) = self.moves.book.write(Record::Returned { id, at: Moment::now() }) {
            // Nothing hangs on this record but what is shown.
            warn!(id, error = error.one_line(), "the way back is there, but not written down");
        }
        Ok(ReturnReport { connections: prepared.into_iter().map(Into::into).collect() })
    }

    /// The process of the move `id` is the new host's. When this returns, that is
    /// so for good, and what was held has been delivered there, or will be: at once, or
    /// by [`Daemon::deliver_move`]. What is left, [`Daemon::settle_moves`] does: the
    /// process need not wait for it.
    ///
    /// # Errors
    /// It is out of order, or cannot be done: the move is parked as before.
    pub fn commit_move(&mut self, id: Id, deliver: Deliver) -> Result<MoveView, Error> {
        if self.next(id, Call::Commit)? == Next::Stay {
            return self.show_move(id);
        }
        let begin = Instant::now();
        let group = self.moves.group(id)?;
        let (changes, undo) = self.stage_commit(id)?;
        let written = self.moves.book.write(Record::Committed { id, at: Moment::now() });
        if let Err(error) = written {
            self.unstage(undo);
            return Err(error);
        }
        let flipped = match deliver {
            Deliver::AtOnce => self.dataplane.group_commit(group),
            Deliver::WhenTold => self.dataplane.group_commit_held(group),
        };
        if let Err(error) = flipped {
            return self.withdraw(id, undo, error);
        }
        let flip = begin.elapsed();
        info!(id, ?flip, "move committed");
        self.memory_follows(id);
        match deliver {
            Deliver::AtOnce => self.deliver(id, group, Some(flip)),
            Deliver::WhenTold => self.moves.await_process(id, flip),
        }
        self.tell(&changes);
        self.tell_move(id);
        self.show_move(id)
    }

    /// The process of the move `id` stays where it was, for the reason `why`; what
    /// was held is delivered to it. Again, for one that is aborted already, does
    /// nothing.
    ///
    /// # Errors
    /// It is committed. Or it can neither be written down, nor is it known whether
    /// an earlier commit was: the move is parked as before.
    pub fn abort_move(&mut self, id: Id, why: &str) -> Result<MoveView, Error> {
        if self.next(id, Call::Abort)? == Next::Stay {
            return self.show_move(id);
        }
        let group = self.moves.groups.get(&id).copied();
        self.moves.book.note(Record::Aborted { id, at: Moment::now(), why: why.to_owned() })?;
        info!(id, why, "move aborted");
        if let Some(group) = group {
            match self.dataplane.group_abort(group) {
                Ok(()) => self.deliver(id, group, None),
                Err(error) => {
                    error!(id, error = error.one_line(), "packets are still held; trying again");
                }
            }
        }
        self.settle(id);
        self.tell_move(id);
        self.show_move(id)
    }

    /// What `call` leads to in the move `id`.
    fn next(&self, id: Id, call: Call) -> Result<Next, Error> {
        self.moves.book.ledger().get(id)?.after(call)
    }

    /// The commit of the move `id` on paper; whether the disk would take it is tried.
    fn stage_commit(&mut self, id: Id) -> Result<(Vec<Change>, Shifted), Error> {
        let there = self.moves.book.ledger().get(id)?.clone();
        let undo = self.desired.shift(&there.plan.shifts, id)?;
        if let Err(error) = self.store.stage(&kept(&there), self.desired.api()) {
            self.desired.unshift(undo);
            return Err(error);
        }
        let changes = there.plan.shifts.iter();
        let changes = changes.map(|s| Change::Update { from: s.from.clone(), to: s.to.clone() });
        Ok((changes.collect(), undo))
    }

    fn unstage(&mut self, undo: Shifted) {
        self.store.discard();
        self.desired.unshift(undo);
    }

    /// The kernel has refused the flip, for which `error` is the reason. Nobody was
    /// told of the commit, so it may be taken back; but only on the disk.
    fn withdraw(&mut self, id: Id, undo: Shifted, error: Error) -> Result<MoveView, Error> {
        match self.moves.book.write(Record::Withdrawn { id, at: Moment::now() }) {
            Ok(()) => {
                self.unstage(undo);
                let what = format!("move {id} is not committed: {}", error.what);
                let cure = "it is parked as before: commit it again, or abort it";
                Err(Error { what, ..error }.cure(cure))
            }
            Err(disk) => {
                error!(
                    id,
                    error = error.one_line(),
                    disk = disk.one_line(),
                    "the commit is on the disk and not in the kernel; trying again every second"
                );
                self.tell_move(id);
                self.show_move(id)
            }
        }
    }

    /// Refuses `changes` of redirects that are being moved.
    pub(super) fn keep_still(&self, changes: &[Change]) -> Result<(), Error> {
        let names = changes.iter().map(|change| match change {
            Change::Add(redirect) | Change::Remove { redirect, .. } => &redirect.name,
            Change::Update { from, .. } => &from.name,
        });
        for name in names {
            if let Some(there) = self.moves.book.ledger().moving(name)
                && !self.is_undone(there)
            {
                return Err(being_moved(name, there));
            }
        }
        Ok(())
    }

    /// Refuses files that say something else of redirects that are being moved.
    pub(crate) fn keep_written(&self, next: &Desired) -> Result<(), Error> {
        for there in self.moves.book.ledger().open() {
            for name in there.plan.shifts.iter().map(Shift::name) {
                if next.written(name) != self.desired.written(name) {
                    return Err(being_moved(name, there));
                }
            }
        }
        Ok(())
    }

    /// Strikes out where moves have left processes, as far as the files have spoken
    /// since.
    pub(crate) fn forget_placements(&mut self) {
        let kept = self.desired.placements();
        let all = self.moves.book.ledger().placements();
        let gone: Vec<_> = all.keys().filter(|name| !kept.contains_key(*name)).cloned().collect();
        for name in gone {
            info!(redirect = name, "leads where the configuration file says again");
            if let Err(error) = self.moves.book.write(Record::Unplaced { name }) {
                warn!(error = error.one_line(), "that is not put on record");
            }
        }
    }

    /// Tells who listens how far a move is.
    fn tell_move(&self, id: Id) {
        if let Ok(view) = self.show_move(id) {
            self.events.publish(Happening::Move { moved: Box::new(view.in_short()) });
        }
    }
}

/// What the store has to keep of a move that is committed: the redirects that
/// came through the API. Where those of files lead is in the journal of moves.
fn kept(there: &Move) -> Vec<Change> {
    let shifts = there.plan.shifts.iter().filter(|shift| shift.written.is_none());
    shifts.map(|s| Change::Update { from: s.from.clone(), to: s.to.clone() }).collect()
}

/// A redirect is in the hands of a move.
fn being_moved(name: &str, there: &Move) -> Error {
    let (id, state) = (there.id, there.state);
    let what = format!("redirect `{name}` is in move {id}, which is {state}");
    let cure = match state.is_decided() {
        false => format!(
            "wait until it is committed, or `redirect move abort {id}`; `redirect move show {id}` \
             says more"
        ),
        true => "it is being finished; repeat in a second".to_owned(),
    };
    Error::new(Kind::Conflict, what).cure(cure)
}
