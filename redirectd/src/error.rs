//! Errors that say what is wrong, where, and what cures it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What class of failure an [`Error`] is; the command line's exit code and the
/// API's status follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It could not be done; exit code 1.
    Failed,
    /// The thing named is not there; exit code 1.
    NotFound,
    /// It exists already, or contradicts what exists; exit code 1.
    Conflict,
    /// The request itself is wrong; exit code 2.
    Usage,
    /// The daemon does not answer; exit code 3.
    Unreachable,
    /// The caller may not do this; exit code 4.
    NotPermitted,
}

/// One failure: what went wrong, and, where there is one, the cure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Its class.
    pub kind: Kind,
    /// What is wrong, and where; a sentence without a full stop.
    pub what: String,
    /// What to do about it; a sentence without a full stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Error {
    /// An error of `kind` that says `what`.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), cure: None }
    }

    /// Problem and cure on one line, for logs.
    #[must_use]
    pub fn one_line(&self) -> String {
        let text = self.to_string();
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// The same error with a cure.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }
}

impl Kind {
    /// The command line's exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::NotFound | Self::Conflict => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotPermitted => 4,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cure {
            Some(cure) => write!(f, "{}\n  cure: {cure}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Error {}
