//! One move, as the ledger has it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::{
    carried::Carried,
    machine::{Call, MoveState, Next, Owner, Refused},
    record::{Id, Moment, Outcome, Plan},
};
use crate::error::{Error, Kind};

/// A move that is prepared and never parked is given up after this time: nothing
/// is held for it, but its redirects cannot be changed meanwhile.
pub const FORGOTTEN: Duration = Duration::from_secs(3_600);

/// One move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Its number.
    pub id: Id,
    /// What was agreed.
    pub plan: Plan,
    /// How far it is.
    pub state: MoveState,
    /// When it began.
    pub begun: Moment,
    /// Since when packets are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Moment>,
    /// Since when the new host's packets pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<Moment>,
    /// When it was committed or aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Moment>,
    /// When all that was held had been delivered; set once nothing is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Moment>,
    /// Why it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How the process was carried over, if our own engine did that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
    /// What was held, once it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl Move {
    /// One that has just begun.
    pub(crate) fn new(id: Id, plan: Plan, begun: Moment) -> Self {
        let state = MoveState::Prepared;
        let (parked, returned, decided, settled) = (None, None, None, None);
        let (why, carried, outcome) = (None, None, None);
        Self { id, plan, state, begun, parked, returned, decided, settled, why, carried, outcome }
    }

    /// Whose the process is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.state.owner()
    }

    /// How long packets were held, once they are delivered.
    #[must_use]
    pub fn held_for(&self) -> Option<Duration> {
        Some(self.settled?.since(self.parked?))
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.settled.is_some()
    }

    /// Whether its redirects are in its hands: until it is over.
    #[must_use]
    pub fn moves(&self, redirect: &str) -> bool {
        !self.is_over() && self.plan.shifts.iter().any(|shift| shift.name() == redirect)
    }

    /// Why it is to be aborted by itself, if it is, having been in its state for
    /// `waited`.
    #[must_use]
    pub fn overdue(&self, waited: Duration) -> Option<String> {
        let timeout = Duration::from_millis(self.plan.timeout_ms);
        match self.state {
            MoveState::Parked if waited >= timeout => Some(format!(
                "it was parked for {timeout:?} and neither committed nor aborted; whoever moved \
                 the process seems to be gone"
            )),
            MoveState::Prepared if waited >= FORGOTTEN.max(timeout) => {
                Some("it was prepared and never parked".to_owned())
            }
            _ => None,
        }
    }

    /// What `call` leads to.
    ///
    /// # Errors
    /// It is out of order ([`Kind::Conflict`]), with what to do instead.
    pub fn after(&self, call: Call) -> Result<Next, Error> {
        self.state.after(call).map_err(|refused| self.refusal(call, refused))
    }

    fn refusal(&self, call: Call, refused: Refused) -> Error {
        let id = self.id;
        let (why, cure) = match refused {
            Refused::NotParked => (
                "is not parked yet, and the process may still run".to_owned(),
                format!("freeze the process and `redirect move park {id}` first"),
            ),
            Refused::Committed => (
                format!("is committed: the process is at {} for good", self.plan.destination),
                "the way back is another move: `redirect move begin NAME… --to HOST`".to_owned(),
            ),
            Refused::Aborted => (
                format!("was aborted: {}", self.why.as_deref().unwrap_or("nobody said why")),
                "the process is where it was: let it go on there, end what was restored \
                 elsewhere, and begin another move"
                    .to_owned(),
            ),
        };
        Error::new(Kind::Conflict, format!("cannot {call} move {id}: it {why}")).cure(cure)
    }
}
