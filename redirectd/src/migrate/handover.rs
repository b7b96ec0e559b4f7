//! What home and the host say to each other while a process goes from one to the
//! other, over a link of nodes.
//!
//! 1. Home asks for an [`OFFER`], before anything is frozen.
//! 2. Home opens a stream to [`ARRIVE`], and sends the images ([`stream`]) and the
//!    [`Belongings`].
//! 3. The host revives the process, still silent, and says [`Told::Revived`].
//! 4. Home ends its copy, commits the move, and says [`Word::Go`].
//! 5. The host lets the process run, and says [`Told::Running`].
//!
//! Without the word the host ends what it has revived, without a sound: until then
//! the process is home's.
//!
//! [`stream`]: super::criu::stream

use serde::{Deserialize, Serialize};

use super::criu::{datagrams::Datagram, sockopts::Kept};
use crate::{error::Error, process::Offer};

/// What nodes call the service.
pub const SERVICE: &str = "migrate";

/// The request for [`Welcome`], with [`crate::process::Needs`].
pub const OFFER: &str = "offer";

/// The purpose of the stream that a process comes over.
pub const ARRIVE: &str = "arrive";

/// What the host has for a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// The machine, and what of the needs is there.
    pub offer: Offer,
    /// Why its redirectd may revive no processes.
    pub refusal: Option<Error>,
}

/// What of the processes is not in the images.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Belongings {
    /// Options of sockets that CRIU forgets, for each process.
    pub options: Vec<(i32, Vec<Kept>)>,
    /// Datagrams that nobody has read yet, by their names on the host.
    pub datagrams: Vec<Datagram>,
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// All is there, and waits for the word.
    Revived,
    /// It runs.
    Running {
        /// What it has lost on the way, one line each.
        lost: Vec<String>,
    },
    /// There is nothing of it on the host.
    Failed(Error),
}

/// What home says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The process is the host's: let it run.
    Go,
}
