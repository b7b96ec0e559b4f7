//! Redirects that were made for a move go with it if it is aborted.

use tracing::warn;

use crate::{
    api::types::RemoveRequest,
    daemon::Daemon,
    dataplane::Removal,
    migrate::{ledger::Move, machine::MoveState, record::Id},
};

impl Daemon {
    /// Removes those of the move `id`, if it is aborted; false if it is too early.
    pub(super) fn unmake(&mut self, id: Id) -> bool {
        let Ok(there) = self.moves.book.ledger().get(id) else { return true };
        if there.state != MoveState::Aborted || there.plan.made.is_empty() {
            return true;
        }
        if self.moves.recovering {
            return false;
        }
        let made = there.plan.made.iter();
        let names = made.filter(|name| self.desired.named(name).next().is_some()).cloned();
        // Its packets are home's own again, and so still the process's.
        let request = RemoveRequest { names: names.collect(), removal: Removal::Cut };
        if let Err(error) = self.remove(&request) {
            // It leads to where the process is.
            warn!(id, error = error.one_line(), "a redirect made for a move stays");
        }
        true
    }

    /// Whether nothing of the move is left but its redirects.
    pub(super) fn is_undone(&self, there: &Move) -> bool {
        there.state == MoveState::Aborted && self.moves.delivered.contains_key(&there.id)
    }
}
