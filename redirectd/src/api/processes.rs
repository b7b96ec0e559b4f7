//! What goes over the API about processes that left, came, or are to stay.

use serde::{Deserialize, Serialize};

use super::moves::MoveView;
use crate::{
    error::{Error, Kind},
    migrate::{
        away::Traveller,
        guests::Guest,
        record::{Id, Moment},
    },
};

/// `GET /v1/processes`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessList {
    /// Those of this home that are elsewhere.
    pub away: Vec<AwayView>,
    /// Those of other homes that are here.
    pub guests: Vec<GuestView>,
    /// Those that are not to move.
    pub locked: Vec<Traveller>,
    /// Those of this home, there or elsewhere, whose memory is not all where they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependent: Vec<Dependent>,
}

/// A process that runs, but still depends on the machine that it has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependent {
    /// Which one.
    #[serde(flatten)]
    pub process: Traveller,
    /// Where it is.
    pub place: String,
    /// Where some of its memory still is.
    pub on: String,
    /// How much, in bytes; missing where that is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The move that it has come by, and its memory comes by.
    pub r#move: Id,
}

impl Dependent {
    /// The process that `moved` has brought, as long as its memory follows.
    #[must_use]
    pub fn of(moved: &MoveView) -> Option<Self> {
        let (process, follows) = (moved.process.clone()?, moved.follows?);
        let (place, on) = (moved.to.clone(), moved.from.clone());
        Some(Self { process, place, on, bytes: follows.behind(), r#move: moved.id })
    }

    /// Why it cannot move on.
    #[must_use]
    pub fn refusal(&self) -> Error {
        let Self { process: Traveller { pid, name }, place, on, r#move, .. } = self;
        let name = name.escape_debug();
        let what = format!(
            "process {pid} ({name}) cannot leave {place} yet: some of its memory is still on {on}"
        );
        Error::new(Kind::Conflict, what)
            .cure(format!("wait until all of it is there: `redirect move show {move}` tells"))
    }
}

/// One that left home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwayView {
    /// Which one.
    #[serde(flatten)]
    pub process: Traveller,
    /// The host where it is.
    pub place: String,
    /// The redirects that lead to it.
    pub redirects: Vec<String>,
    /// The move that brought it there.
    pub r#move: Id,
    /// Since when: microseconds since 1970, UTC.
    pub since: Moment,
    /// Whether it still runs there; missing where the node does not say. One that
    /// has ended is told once, and then forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<bool>,
}

/// One that came from another home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestView {
    /// Which one.
    #[serde(flatten)]
    pub process: Traveller,
    /// The node that is its home.
    pub home: String,
    /// Since when: microseconds since 1970, UTC.
    pub since: Moment,
}

impl From<Guest> for GuestView {
    fn from(guest: Guest) -> Self {
        let process = Traveller { pid: guest.pid, name: guest.name };
        Self { process, home: guest.home, since: guest.since }
    }
}

/// `POST /v1/lock`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    /// The process.
    pub pid: i32,
    /// What the kernel calls it; needed to lock it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it is to stay, or may move again.
    pub locked: bool,
    /// When the kernel says that it began, in ticks since the boot, if it is at home: the
    /// lock ends with it, if home's redirectd sees it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
}

/// `POST /v1/evict`: guests are to go home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvictRequest {
    /// Which; all of them, if it is none in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// What became of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvictReport {
    /// Those that are at home.
    pub gone: Vec<GuestView>,
    /// Those that are not, and why.
    pub failed: Vec<NotEvicted>,
}

/// A guest that is here still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotEvicted {
    /// Which one.
    #[serde(flatten)]
    pub guest: GuestView,
    /// Why.
    pub error: Error,
}
