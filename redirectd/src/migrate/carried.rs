//! How our own engine has carried a process over: what it tells home when it is done,
//! to be kept with the move.

use serde::{Deserialize, Serialize};

use super::criu::{pages::PAGE, rounds};

/// All that is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The processes that moved.
    pub pids: Vec<i32>,
    /// The files of images that went over.
    pub files: u64,
    /// The bytes in them.
    pub bytes: u64,
    /// How long it took.
    pub stages: Stages,
    /// What has been lost on the way, one line each.
    pub lost: Vec<String>,
    /// The memory that went ahead of it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<WentAhead>,
    /// The memory that followed it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
}

/// Memory that went ahead of a process, while it ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WentAhead {
    /// What each round has copied.
    pub rounds: Vec<Copied>,
    /// What was left to copy while it was frozen.
    pub left: Copied,
    /// Why there were no more rounds; a sentence without a full stop.
    pub why: String,
}

/// Memory that was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// In bytes.
    pub bytes: u64,
    /// In pages of the source.
    pub pages: u64,
}

impl WentAhead {
    /// Rounds that copied `rounds` bytes each, with `left` bytes left.
    #[must_use]
    pub fn new(rounds: &[u64], left: u64) -> Self {
        let why = rounds::next(rounds).to_string();
        let rounds = rounds.iter().copied().map(Copied::from).collect();
        Self { rounds, left: left.into(), why }
    }
}

impl From<u64> for Copied {
    fn from(bytes: u64) -> Self {
        Self { bytes, pages: bytes / PAGE }
    }
}

/// What became of memory that was to follow a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The bytes that came.
    pub bytes: u64,
    /// From when the process ran until no more came, in microseconds.
    pub took_us: u64,
    /// Why not all of it came, if so: the process has ended then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// How long each stage took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stages {
    /// From the freeze until all was written.
    pub dump_us: u64,
    /// From then until all was at the destination, and revived there.
    pub transfer_and_restore_us: u64,
    /// The first part of it, until all was at the destination; most went over while it
    /// was being written. None if the destination did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_us: Option<u64>,
    /// The other part, until all was revived there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_us: Option<u64>,
    /// From then until the process was ended at the source.
    pub end_us: u64,
    /// From then until home's tables led to the destination, and all held was
    /// delivered.
    pub flip_and_replay_us: u64,
    /// The first part of it, until home's tables led to the destination; that it is so
    /// is written to the journal meanwhile. None if home did not say, as its daemon had
    /// to be started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip_us: Option<u64>,
    /// The other part, until all held was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_us: Option<u64>,
    /// From then until the process ran there.
    pub resume_us: u64,
}

impl Stages {
    /// All of them: from the freeze until the process ran again.
    #[must_use]
    pub fn frozen_us(&self) -> u64 {
        self.dump_us
            + self.transfer_and_restore_us
            + self.end_us
            + self.flip_and_replay_us
            + self.resume_us
    }
}
