//! What the daemon tells those who follow it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::moves::MoveView;
use crate::{
    dataplane::{Attached, Removal, TableUse},
    error::Error,
    rule::Redirect,
};

/// `GET /v1/events`: one line of JSON for each, as they happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, as in RFC 3339.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

impl Event {
    /// `what`, happening now.
    #[must_use]
    pub fn now(what: Happening) -> Self {
        Self { at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(), what }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Happening {
    /// A redirect is new.
    RedirectAdded {
        /// It.
        redirect: Redirect,
    },
    /// A redirect changed.
    RedirectChanged {
        /// As it was.
        from: Redirect,
        /// As it is.
        redirect: Redirect,
    },
    /// A redirect was removed.
    RedirectRemoved {
        /// As it was.
        redirect: Redirect,
        /// What becomes of its open flows.
        removal: Removal,
    },
    /// The last flow of a removed redirect has ended.
    RedirectDrained {
        /// Its name.
        name: String,
    },
    /// The configuration files were read and are in force.
    ConfigurationReloaded {
        /// How many redirects changed by it.
        changes: usize,
    },
    /// The configuration files, or a change, were refused; nothing was changed.
    ConfigurationRefused {
        /// Why.
        error: Error,
    },
    /// The programs run on one more interface.
    InterfaceAttached {
        /// How.
        attached: Attached,
    },
    /// The programs were taken off an interface.
    InterfaceDetached {
        /// Which.
        interface: String,
    },
    /// A table is fuller than 90 %; said once until it is below 80 % again.
    TableFilling {
        /// Which, and how full.
        table: TableUse,
    },
    /// A move began, or came further.
    Move {
        /// How far it is; without what was held of each flow.
        #[serde(rename = "move")]
        moved: Box<MoveView>,
    },
    /// The reader was too slow, and missed some.
    Missed {
        /// How many.
        events: u64,
    },
    /// The daemon stops; what it installed stays.
    Stopping,
}
