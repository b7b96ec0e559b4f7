//! Where the processes are that left home. Pure.

use serde::{Deserialize, Serialize};

use super::{
    ledger::Move,
    record::{Id, Moment},
};
use crate::rule::AT_HOME;

/// A process that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traveller {
    /// Its number, the same everywhere.
    pub pid: i32,
    /// What the kernel calls it.
    pub name: String,
}

/// One that is not at home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Away {
    /// Which one.
    pub process: Traveller,
    /// Where it is: a host of the configuration, or an address.
    pub place: String,
    /// The names of the redirects that lead to it.
    pub redirects: Vec<String>,
    /// The move that brought it there.
    pub by: Id,
    /// Since when.
    pub since: Moment,
}

impl Away {
    /// What `there`, which is committed, makes of its process: none if that is at
    /// home.
    ///
    /// The outer one is none if the move does not tell which process it moves.
    #[must_use]
    pub fn after(there: &Move) -> Option<(i32, Option<Self>)> {
        let process = there.plan.process.clone()?;
        let pid = process.pid;
        if there.plan.destination == AT_HOME {
            return Some((pid, None));
        }
        let away = Self {
            process,
            place: there.plan.destination.clone(),
            redirects: there.plan.shifts.iter().map(|shift| shift.name().to_owned()).collect(),
            by: there.id,
            since: there.decided.unwrap_or(there.begun),
        };
        Some((pid, Some(away)))
    }
}
