//! What the daemon shows of moves.

use super::MoveTotals;
use crate::{
    api::moves::{MoveList, MoveView},
    daemon::Daemon,
    dataplane::Replayed,
    error::{Error, Kind},
    migrate::{
        carried::Carried,
        ledger::Move,
        machine::MoveState,
        record::{Id, Outcome, Record},
    },
    rule::Redirect,
};

impl Daemon {
    /// The move `id`, with what was held so far.
    ///
    /// # Errors
    /// There is none, or it is long over and forgotten.
    pub fn show_move(&self, id: Id) -> Result<MoveView, Error> {
        Ok(self.view(self.moves.book.ledger().get(id)?))
    }

    /// Whether the move `id` takes a process from the node called `node`, or to it: as the
    /// command does, by a host of the same name.
    ///
    /// # Errors
    /// It does not, or there is no such move.
    pub fn must_concern(&self, id: Id, node: &str) -> Result<(), Error> {
        let there = self.moves.book.ledger().get(id)?;
        let is_at = |redirect: &Redirect| redirect.host.as_deref() == Some(node);
        let mut shifts = there.plan.shifts.iter();
        if there.plan.destination == node || shifts.any(|shift| is_at(&shift.from)) {
            return Ok(());
        }
        let what = format!("move {id} is no affair of {node}");
        Err(Error::new(Kind::NotPermitted, what)
            .cure("only nodes that its process leaves or goes to are told, and may abort it"))
    }

    /// Keeps what our engine tells of the move `id`, which is committed; the move with
    /// that.
    ///
    /// # Errors
    /// There is no such move, it is not committed, or nothing can be written down.
    pub fn report_move(&mut self, id: Id, carried: Carried) -> Result<MoveView, Error> {
        let there = self.moves.book.ledger().get(id)?;
        if there.state != MoveState::Committed {
            let what = format!("move {id} is {}, and has carried nobody over", there.state);
            return Err(Error::new(Kind::Conflict, what).cure("report a move once it is committed"));
        }
        let again = there.carried.is_some();
        self.moves.book.write(Record::Carried { id, carried: carried.clone() })?;
        if !again {
            self.moves.totals.count_carried(&carried);
        }
        self.memory_is_over(id);
        self.show_move(id)
    }

    /// All moves that are open, and the last ones that are over.
    ///
    /// # Errors
    /// None.
    pub fn list_moves(&self) -> Result<MoveList, Error> {
        let moves = self.moves.book.ledger().all();
        Ok(MoveList { moves: moves.map(|there| self.view(there).in_short()).collect() })
    }

    /// What all moves together did since the daemon started.
    ///
    /// # Errors
    /// None.
    pub fn move_totals(&self) -> Result<MoveTotals, Error> {
        let open = self.moves.book.ledger().open().count() as u64;
        let dependent = self.dependent();
        let behind_bytes = dependent.iter().filter_map(|process| process.bytes).sum();
        let dependent = dependent.len() as u64;
        Ok(MoveTotals { open, dependent, behind_bytes, ..self.moves.totals.clone() })
    }

    fn view(&self, there: &Move) -> MoveView {
        let follows = self.follows(there.id);
        MoveView { follows, ..self.view_of_packets(there) }
    }

    /// All but the memory.
    fn view_of_packets(&self, there: &Move) -> MoveView {
        if let Some((at, outcome)) = self.moves.delivered.get(&there.id) {
            return MoveView::new(there, Some(outcome), Some(*at));
        }
        match &there.outcome {
            Some(outcome) => MoveView::new(there, Some(outcome), there.settled),
            None => MoveView::new(there, self.held(there).as_ref(), None),
        }
    }

    /// What is held for a move that goes on.
    fn held(&self, there: &Move) -> Option<Outcome> {
        there.parked?;
        let group = self.moves.groups.get(&there.id)?;
        let held = self.dataplane.group_held(*group).ok()?;
        Some(Replayed { held, ..Replayed::default() }.into())
    }
}
