//! What became of a move that went well.

use serde::{Deserialize, Serialize};

use crate::{
    api::moves::MoveView,
    migrate::{
        carried::{Carried, Stages, WentAhead},
        memory::Choice,
    },
};

/// All that is to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The processes that moved.
    pub pids: Vec<i32>,
    /// The files of images that went over.
    pub files: u64,
    /// The bytes in them.
    pub bytes: u64,
    /// How long it took.
    pub seconds: Times,
    /// How its memory went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryReport>,
    /// What has been lost on the way, one line each.
    pub lost: Vec<String>,
    /// The move, as home has it.
    pub r#move: MoveView,
}

/// How the memory of a process went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// How, and why so.
    #[serde(flatten)]
    pub choice: Choice,
    /// What went ahead of it, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<WentAhead>,
    /// The bytes that followed it, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How long it ran before all of them were there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// How long each stage took, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// From the freeze until all was written.
    pub dump: f64,
    /// From then until all was at the destination, and revived there.
    pub transfer_and_restore: f64,
    /// The first part of it, until all was at the destination; most went over while it
    /// was being written. None if the destination did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<f64>,
    /// The other part, until all was revived there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<f64>,
    /// From then until the process was ended at the source.
    pub end: f64,
    /// From then until home's tables led to the destination, and all held was
    /// delivered.
    pub flip_and_replay: f64,
    /// The first part of it, until home's tables led to the destination. None if home
    /// did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip: Option<f64>,
    /// The other part, until all held was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<f64>,
    /// From then until the process ran there.
    pub resume: f64,
    /// All of these.
    pub frozen: f64,
}

impl From<MoveView> for Report {
    /// What is kept of `moved`; nothing of one that nobody has carried over.
    fn from(moved: MoveView) -> Self {
        let Carried { pids, files, bytes, stages, lost, ahead, followed } =
            moved.carried.clone().unwrap_or_default();
        let memory = moved.memory.clone().map(|choice| MemoryReport {
            choice,
            ahead,
            bytes: followed.as_ref().map(|followed| followed.bytes),
            seconds: followed.as_ref().map(|followed| followed.took_us as f64 / 1e6),
        });
        Self { pids, files, bytes, seconds: stages.into(), memory, lost, r#move: moved }
    }
}

impl From<Stages> for Times {
    fn from(stages: Stages) -> Self {
        let seconds = |micros: u64| micros as f64 / 1e6;
        Self {
            dump: seconds(stages.dump_us),
            transfer_and_restore: seconds(stages.transfer_and_restore_us),
            transfer: stages.transfer_us.map(seconds),
            restore: stages.restore_us.map(seconds),
            end: seconds(stages.end_us),
            flip_and_replay: seconds(stages.flip_and_replay_us),
            flip: stages.flip_us.map(seconds),
            replay: stages.replay_us.map(seconds),
            resume: seconds(stages.resume_us),
            frozen: seconds(stages.frozen_us()),
        }
    }
}
