//! Moves that are committed, and for whose processes packets are still held: whoever puts
//! such a process down tells when it stands. Until then its copy can be lost, and what has
//! come to that with it; what is held cannot.

use std::time::{Duration, Instant};

use tracing::warn;

use super::Moves;
use crate::{
    daemon::Daemon,
    error::{Error, Kind},
    migrate::{machine::MoveState, record::Id},
};

/// Of one that is committed.
pub(super) struct Awaited {
    since: Instant,
    /// How long the flip took.
    flip: Duration,
}

impl Moves {
    /// The move `id` is committed, which took `flip`; its process is waited for.
    pub(super) fn await_process(&mut self, id: Id, flip: Duration) {
        self.awaited.insert(id, Awaited { since: Instant::now(), flip });
    }
}

impl Daemon {
    /// The process of the move `id`, which is committed, stands at the new host, or never
    /// will: what was held is delivered. Whether that had not been done yet; if so, no
    /// packet has come to the new host before.
    ///
    /// # Errors
    /// There is no such move, or it is not committed.
    pub fn deliver_move(&mut self, id: Id) -> Result<bool, Error> {
        let state = self.moves.book.ledger().get(id)?.state;
        if state != MoveState::Committed {
            let what = format!("cannot deliver what move {id} holds: it is {state}");
            return Err(Error::new(Kind::Conflict, what).cure("commit it, or abort it"));
        }
        let first = self.await_no_more(id);
        if first {
            self.tell_move(id);
        }
        Ok(first)
    }

    /// Delivers what is held for the process of the move `id`, if that is waited for.
    pub(super) fn await_no_more(&mut self, id: Id) -> bool {
        let Some(Awaited { flip, .. }) = self.moves.awaited.remove(&id) else { return false };
        if let Some(group) = self.moves.groups.get(&id).copied() {
            self.deliver(id, group, Some(flip));
        }
        true
    }

    /// Gives the process of the move `id` up if it does not come any more.
    pub(super) fn look_after_awaited(&mut self, id: Id) {
        if self.is_late(id) {
            warn!(id, "nobody says that the process stands where it has gone; delivering there");
            self.await_no_more(id);
            self.settle(id);
            self.tell_move(id);
        }
    }

    /// Whether the process of the move `id` has been waited for long enough. It lives by its
    /// leader only if its memory follows.
    fn is_late(&self, id: Id) -> bool {
        let (Some(awaited), Ok(there)) =
            (self.moves.awaited.get(&id), self.moves.book.ledger().get(id))
        else {
            return false;
        };
        let following = self.moves.following.get(&id);
        let alone = following.is_some_and(|following| following.is_over());
        alone || awaited.since.elapsed() >= Duration::from_millis(there.plan.timeout_ms)
    }
}
