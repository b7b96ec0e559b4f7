//! Processes that run before their memory is where they are. Nothing of this is written
//! down: whoever brings the memory tells it anew, and it is lost with that one.

use tracing::{error, warn};

use crate::{
    api::{
        moves::{BeginRequest, MoveView},
        processes::Dependent,
    },
    daemon::Daemon,
    error::{Error, Kind},
    migrate::{
        handover::Follows,
        leader::Leader,
        ledger::Move,
        machine::MoveState,
        memory::Way,
        record::{Id, Record},
    },
};

/// Memory that follows.
pub(super) struct Following {
    /// Who brings it, if it can be watched.
    leader: Option<Leader>,
    now: Follows,
}

impl Following {
    /// It has ended with who brings it.
    pub(super) fn is_over(&self) -> bool {
        self.leader.as_ref().is_some_and(Leader::has_ended)
    }
}

impl Daemon {
    /// The move `id`, which is committed now, has brought a process whose memory follows,
    /// if so.
    pub(super) fn memory_follows(&mut self, id: Id) {
        let Ok(there) = self.moves.book.ledger().get(id) else { return };
        if there.plan.memory.as_ref().is_some_and(|memory| memory.way == Way::Lazy) {
            let leader = self.moves.leaders.remove(&id);
            self.moves.following.insert(id, Following { leader, now: Follows::default() });
        }
    }

    /// Notes how far the memory is that follows by the move `id`, as its `leader` tells.
    ///
    /// # Errors
    /// There is no such move, or no memory follows by it (any more).
    pub fn follow_move(
        &mut self,
        id: Id,
        now: Follows,
        leader: Option<Leader>,
    ) -> Result<MoveView, Error> {
        let there = self.moves.book.ledger().get(id)?;
        let lazily = there.plan.memory.as_ref().is_some_and(|memory| memory.way == Way::Lazy);
        if !lazily || there.state != MoveState::Committed || there.carried.is_some() {
            let what = format!("no memory follows by move {id}");
            return Err(Error::new(Kind::Conflict, what)
                .cure("tell it from the commit on, and until you report how it went"));
        }
        self.moves.following.insert(id, Following { leader, now });
        self.show_move(id)
    }

    /// No more memory follows by the move `id`, which has been reported.
    pub(super) fn memory_is_over(&mut self, id: Id) {
        self.moves.following.remove(&id);
        let Ok(there) = self.moves.book.ledger().get(id) else { return };
        let followed = there.carried.as_ref().and_then(|carried| carried.followed.as_ref());
        let (Some(process), true) =
            (&there.plan.process, followed.is_some_and(|followed| followed.lost.is_some()))
        else {
            return;
        };
        let pid = process.pid;
        warn!(id, pid, "a process has ended: not all of its memory came after it");
        // Else it would be away as soon as the move is over.
        self.settle(id);
        let away = self.moves.book.ledger().away().remove(&pid);
        if away.is_some_and(|away| away.by == id)
            && let Err(error) = self.moves.book.write(Record::Ended { pid })
        {
            error!(id, error = error.one_line(), "a process that has ended is not forgotten");
        }
    }

    /// How far the memory is that follows by the move `id`, if any does.
    pub(super) fn follows(&self, id: Id) -> Option<Follows> {
        let following = self.moves.following.get(&id)?;
        (!following.is_over()).then_some(following.now)
    }

    /// The processes whose memory is not all where they are.
    #[must_use]
    pub fn dependent(&self) -> Vec<Dependent> {
        let following = self.moves.following.keys();
        following.filter_map(|&id| Dependent::of(&self.show_move(id).ok()?)).collect()
    }

    /// Refuses a move of a process whose memory is not all where it is.
    pub(super) fn must_be_whole(&self, request: &BeginRequest) -> Result<(), Error> {
        let pid = request.process.as_ref().map(|process| process.pid);
        let of = |there: &Move| {
            let same = there.plan.process.as_ref().map(|process| process.pid) == pid;
            let by = |name: &String| {
                self.desired.named(name).any(|redirect| {
                    there.plan.shifts.iter().any(|shift| shift.name() == redirect.name)
                })
            };
            (same && pid.is_some()) || request.redirects.iter().any(by)
        };
        for &id in self.moves.following.keys() {
            let there = self.moves.book.ledger().get(id)?;
            if self.follows(id).is_some() && of(there) {
                return Err(match self.dependent().into_iter().find(|one| one.r#move == id) {
                    Some(dependent) => dependent.refusal(),
                    None => {
                        Error::new(Kind::Conflict, format!("memory follows by move {id} still"))
                    }
                });
            }
        }
        Ok(())
    }
}
