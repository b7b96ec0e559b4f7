//! What is written down of moves: each record is one thing that happened.

use std::{
    cmp::Reverse,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    away::{Away, Lock, Traveller},
    carried::Carried,
    ledger::Move,
    machine::MoveState,
    memory::Choice,
};
use crate::{
    dataplane::{HeldFlow, Replayed, Traffic},
    desired::Placement,
    rule::Redirect,
};

/// What a move is called; counted up from 1, never used twice.
pub type Id = u32;

/// A moment: microseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// How long it is since `earlier`; nothing if the clock was set back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// As the system tells times.
    #[must_use]
    pub fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.0)
    }
}

/// One redirect of a move: what becomes of it with the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// As it is until then.
    pub from: Redirect,
    /// As it is from then on: the same but for the target.
    pub to: Redirect,
    /// As the configuration file has it, if it comes from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Redirect>,
}

impl Shift {
    /// The redirect's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.from.name
    }

    /// What the move leaves to be remembered beside the file, if `by` commits it.
    #[must_use]
    pub fn placement(&self, by: Id) -> Option<Placement> {
        let written = self.written.clone()?;
        Some(Placement { written, now: self.to.clone(), by })
    }
}

/// What was agreed when a move began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What the engine calls it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The process, where the engine tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Traveller>,
    /// Where the process goes, as it was asked for: a host, an address, `home`.
    pub destination: String,
    /// The redirects that lead to the process; at least one.
    pub shifts: Vec<Shift>,
    /// The redirects that were made for it, and go if it is aborted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<String>,
    /// How the memory of the process goes, where the engine tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Choice>,
    /// How long it may stay parked before it is aborted, in milliseconds.
    pub timeout_ms: u64,
}

/// What was held while the process was frozen, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Held, and delivered but for those lost.
    pub held: Traffic,
    /// Dropped for want of room to hold them.
    pub overflow: Traffic,
    /// Packets held that could not be delivered.
    pub lost: u64,
    /// TCP segments that came again, of all flows.
    #[serde(default)]
    pub retransmissions: u64,
    /// From the request to commit until the kernel had flipped, in microseconds; the
    /// journal is written meanwhile. None if it was aborted, or finished by a daemon
    /// that was started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip_us: Option<u64>,
    /// From the first one delivered until nothing was held any more, in
    /// microseconds.
    pub replay_us: u64,
    /// What was held of each flow, of at most [`MOST_FLOWS`]: those with most bytes,
    /// held or without room, come first, and the rest is left out.
    pub flows: Vec<HeldFlow>,
    /// Flows of which something was held, listed or not.
    pub flow_count: usize,
}

/// More flows than this are not listed one by one.
pub const MOST_FLOWS: usize = 256;

impl From<Replayed> for Outcome {
    fn from(replayed: Replayed) -> Self {
        let Replayed { held, lost, took } = replayed;
        let (flow_count, retransmissions) = (held.flows.len(), held.retransmissions());
        let mut flows = held.flows;
        flows.sort_by_key(|flow| Reverse(flow.traffic.bytes + flow.overflow.bytes));
        flows.truncate(MOST_FLOWS);
        Self {
            held: held.traffic,
            overflow: held.overflow,
            lost,
            retransmissions,
            flip_us: None,
            replay_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            flows,
            flow_count,
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub enum Record {
    /// A move began.
    Begun {
        /// Its number.
        id: Id,
        /// When.
        at: Moment,
        /// What was agreed.
        plan: Plan,
    },
    /// Packets are held.
    Parked {
        /// Of which move.
        id: Id,
        /// Since when.
        at: Moment,
    },
    /// The new host's packets pass to the peers.
    Returned {
        /// Of which move.
        id: Id,
        /// Since when.
        at: Moment,
    },
    /// The process is the new host's. The one record that changes whose it is.
    Committed {
        /// Which move.
        id: Id,
        /// When.
        at: Moment,
    },
    /// The kernel refused the flip: the commit never was, the move is parked.
    Withdrawn {
        /// Which move.
        id: Id,
        /// When.
        at: Moment,
    },
    /// The process stays where it was.
    Aborted {
        /// Which move.
        id: Id,
        /// When.
        at: Moment,
        /// Why.
        why: String,
    },
    /// A decided move has nothing left to do: what was held is delivered, the
    /// placement is kept.
    Settled {
        /// Which move.
        id: Id,
        /// When all that was held had been delivered.
        at: Moment,
        /// What was held.
        outcome: Outcome,
    },
    /// How our own engine carried the process over.
    Carried {
        /// By which move.
        id: Id,
        /// What it tells.
        carried: Carried,
    },
    /// A redirect of a configuration file leads where the file says again.
    Unplaced {
        /// Its name.
        name: String,
    },
    /// All of a move at once, when the journal was written anew.
    Move(Box<Move>),
    /// Where a process behind a redirect of a file is, when the journal was written
    /// anew.
    Placed {
        /// The redirect's name.
        name: String,
        /// Where it leads.
        placement: Box<Placement>,
    },
    /// A process that left home, and where it is, when the journal was written anew.
    Away(Box<Away>),
    /// A process that left home has ended.
    Ended {
        /// Its number.
        pid: i32,
    },
    /// A process is not to move.
    Locked(Lock),
    /// It may move again.
    Unlocked {
        /// Its number.
        pid: i32,
    },
    /// The last number given to a move, when the journal was written anew.
    Counted {
        /// It.
        last: Id,
    },
}

impl Record {
    /// Whether it may be lost with the power, though not with the daemon. What
    /// leaves the owner as it was may be: after a reboot nothing is parked any
    /// more, and a move without the record of its commit is aborted, parked or not.
    #[must_use]
    pub fn may_be_lost(&self) -> bool {
        matches!(self, Self::Parked { .. } | Self::Returned { .. } | Self::Carried { .. })
    }

    /// The state in which it puts its move, if it does.
    #[must_use]
    pub fn state(&self) -> Option<(Id, MoveState)> {
        match self {
            Self::Begun { id, .. } => Some((*id, MoveState::Prepared)),
            Self::Parked { id, .. } | Self::Withdrawn { id, .. } => Some((*id, MoveState::Parked)),
            Self::Committed { id, .. } => Some((*id, MoveState::Committed)),
            Self::Aborted { id, .. } => Some((*id, MoveState::Aborted)),
            _ => None,
        }
    }
}
