//! What a start makes of the moves that an earlier daemon has left: those with the
//! record of a commit are finished, all others are aborted.

use tracing::{info, warn};

use crate::{
    daemon::Daemon,
    dataplane::{GroupInfo, Phase},
    error::Error,
    migrate::{
        ledger::Move,
        machine::MoveState,
        record::{Moment, Record},
    },
};

/// Why moves are aborted at a start.
const WHY: &str = "redirectd ended while the move was under way";

impl Daemon {
    /// Decides and finishes what was left. What fails in the kernel is tried again
    /// later; on paper, all is as it ought to be afterwards.
    ///
    /// # Errors
    /// The groups cannot be read, or what a move has committed contradicts the
    /// configuration.
    pub(in crate::daemon) fn recover(&mut self) -> Result<(), Error> {
        let mut groups = self.dataplane.groups()?;
        let open: Vec<Move> = self.moves.book.ledger().open().cloned().collect();
        for there in open {
            let group = groups.iter().position(|group| belongs(group, &there));
            let group = group.map(|place| groups.swap_remove(place));
            self.recover_one(&there, group.as_ref())?;
        }
        for GroupInfo { group, phase, .. } in groups {
            warn!(group, ?phase, "the kernel has a move that nobody wrote down; dissolved");
            self.dissolve(group, phase);
        }
        Ok(())
    }

    fn recover_one(&mut self, there: &Move, group: Option<&GroupInfo>) -> Result<(), Error> {
        let id = there.id;
        if let Some(group) = group {
            self.moves.groups.insert(id, group.group);
        }
        let flipped = group.is_some_and(|group| group.phase == Phase::Committed);
        match there.state {
            MoveState::Aborted => {}
            MoveState::Committed => {
                info!(id, "move was committed; finished now");
                self.desired.shift(&there.plan.shifts, id)?;
            }
            MoveState::Parked if flipped => {
                // The kernel flips only what is written down: the disk has lost it. Packets
                // have gone to the new host, and so does the process.
                warn!(id, "the kernel has committed this move, and the journal has not; finished");
                self.moves.book.write(Record::Committed { id, at: Moment::now() })?;
                self.desired.shift(&there.plan.shifts, id)?;
            }
            MoveState::Prepared | MoveState::Parked => {
                warn!(id, "move was under way; aborted, the process stays where it was");
                let why = WHY.to_owned();
                self.moves.book.note(Record::Aborted { id, at: Moment::now(), why })?;
            }
        }
        self.resume(id);
        Ok(())
    }
}

/// A redirect is in one move at a time, so its name tells which.
fn belongs(group: &GroupInfo, there: &Move) -> bool {
    group.redirects.iter().any(|(from, _)| there.moves(&from.name))
}
