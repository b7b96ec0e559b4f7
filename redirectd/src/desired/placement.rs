//! Where the process behind a redirect of a configuration file is, once it has
//! moved.
//!
//! A move changes where a redirect leads, and a file cannot be written to. So the
//! move's word is kept beside the file, and counts in place of the file's target
//! for as long as the file says what it said then. Whoever changes the home
//! endpoint or the target in the file has spoken last: the file counts again.

use serde::{Deserialize, Serialize};

use crate::rule::Redirect;

/// Where a redirect of a file leads, in place of what the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The redirect as the file had it when the process moved.
    pub written: Redirect,
    /// As it is since.
    pub now: Redirect,
    /// The move that made it so.
    pub by: u32,
}

impl Placement {
    /// Whether it still counts, now that the file says `file`.
    #[must_use]
    pub fn holds(&self, file: &Redirect) -> bool {
        let ends = |r: &Redirect| (r.home, r.ports, r.target, r.target_port);
        ends(&self.written) == ends(file)
    }

    /// The redirect that is in force where the file says `file`: all but the
    /// target is the file's.
    #[must_use]
    pub fn place(&self, file: &Redirect) -> Redirect {
        Redirect {
            target: self.now.target,
            target_port: self.now.target_port,
            host: self.now.host.clone(),
            ..file.clone()
        }
    }

    /// Whether the process is where the file says, so that nothing needs to be kept
    /// beside it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let end = |r: &Redirect| (r.target, r.target_port);
        end(&self.written) == end(&self.now)
    }
}
