//! What goes over the API about processes that left, came, or are to stay.

use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
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
