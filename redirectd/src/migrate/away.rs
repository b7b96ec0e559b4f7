//! Where the processes are that left home. Pure.

use serde::{Deserialize, Serialize};

use super::{
    ledger::Move,
    record::{Id, Moment},
};
use crate::{
    error::{Error, Kind},
    rule::AT_HOME,
};

/// A process that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traveller {
    /// Its number, the same everywhere.
    pub pid: i32,
    /// What the kernel calls it.
    pub name: String,
}

impl Traveller {
    /// Why this one, which is locked, does not move. `now` is what it is called by then:
    /// programs change their names, and stay locked.
    #[must_use]
    pub fn locked(&self, now: &str) -> Error {
        let Self { pid, name } = self;
        let then = match name == now {
            true => String::new(),
            false => format!("; it was called {} then", name.escape_debug()),
        };
        let what = format!("process {pid} ({}) is locked, and stays{then}", now.escape_debug());
        Error::new(Kind::Conflict, what).cure(format!("`redirect unlock {pid}` lets it move again"))
    }
}

/// One that is to stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Which one.
    #[serde(flatten)]
    pub process: Traveller,
    /// When the kernel says that it began, in ticks since the boot, if it is at home, and
    /// home's redirectd sees it: the lock ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
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
