//! The processes that left home, and those that are to stay.

use tracing::{info, warn};

use super::Daemon;
use crate::{
    api::processes::{AwayView, LockRequest},
    error::{Error, Kind},
    migrate::{
        away::{Away, Lock, Traveller},
        living::Sight,
        record::Record,
    },
};

impl Daemon {
    /// The processes that left home.
    #[must_use]
    pub fn away(&self) -> Vec<AwayView> {
        self.moves.book.ledger().away().into_values().map(AwayView::from).collect()
    }

    /// The processes that are not to move.
    #[must_use]
    pub fn locked(&self) -> Vec<Traveller> {
        self.moves.book.ledger().locked().values().map(|lock| lock.process.clone()).collect()
    }

    /// Locks a process, or unlocks it; says which one it was. It may be so already.
    ///
    /// # Errors
    /// It is not locked, and so cannot be unlocked; it can be none; or nothing can be
    /// written down.
    pub fn set_lock(&mut self, request: LockRequest) -> Result<Traveller, Error> {
        let named = request.name.as_deref().is_some_and(|name| !name.is_empty());
        if request.locked && (request.pid < 1 || !named) {
            let what =
                format!("a lock needs a process's id and name, and {} has none", request.pid);
            return Err(Error::new(Kind::Usage, what).cure("`redirect lock PID` gives both"));
        }
        let locked = self.moves.book.ledger().locked().get(&request.pid);
        let locked = locked.map(|lock| lock.process.clone());
        let name = request.name.filter(|_| request.locked);
        let process = match (name, locked) {
            (Some(name), _) => Traveller { pid: request.pid, name },
            (None, Some(process)) => process,
            (None, None) => {
                let what = format!("process {} is not locked", request.pid);
                return Err(
                    Error::new(Kind::NotFound, what).cure("`redirect ps` shows those that are")
                );
            }
        };
        let record = match request.locked {
            true => {
                // A number that leads elsewhere from here, in a container, say, tells nothing.
                let started = request.started.filter(|&it| Sight::of(request.pid).may_be(it));
                Record::Locked(Lock { process: process.clone(), started })
            }
            false => Record::Unlocked { pid: process.pid },
        };
        self.moves.book.write(record)?;
        Ok(process)
    }

    /// Takes the locks off processes that have ended at home.
    pub(super) fn unlock_ended(&mut self) {
        let locked = self.moves.book.ledger().locked().values();
        let ended = locked.filter(|lock| {
            lock.started.is_some_and(|started| !Sight::of(lock.process.pid).may_be(started))
        });
        for pid in ended.map(|lock| lock.process.pid).collect::<Vec<_>>() {
            match self.moves.book.write(Record::Unlocked { pid }) {
                Ok(()) => info!(pid, "a process that was locked has ended"),
                Err(error) => {
                    warn!(pid, error = error.one_line(), "a lock does not end with its process");
                }
            }
        }
    }

    /// Forgets a process that was seen to have ended where `away` says it is.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn has_ended(&mut self, away: &AwayView) -> Result<(), Error> {
        let there = self.moves.book.ledger().away().remove(&away.process.pid).map(AwayView::from);
        if there.is_some_and(|there| there.r#move == away.r#move) {
            self.moves.book.write(Record::Ended { pid: away.process.pid })?;
        }
        Ok(())
    }
}

impl From<Away> for AwayView {
    fn from(away: Away) -> Self {
        let Away { process, place, redirects, by, since } = away;
        Self { process, place, redirects, r#move: by, since, running: None }
    }
}
