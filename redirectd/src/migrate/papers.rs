//! What is written down of a process on its way, beside its images: should whoever
//! brings it die, redirectd on that machine knows how far it was
//! ([`super::takeover`]).

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    handover::{Belongings, Passage},
    living::Living,
};

/// Which process goes by which move, and how far it is on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Papers {
    /// The process and the move.
    pub passage: Passage,
    /// The node that is its home; none if this machine is.
    pub home: Option<String>,
    /// Whose affair it is: redirectd's with this state directory, by the one path that
    /// has no links in it, as the command and redirectd may call it by different ones.
    pub state_dir: PathBuf,
    /// How far it is.
    pub stage: Stage,
}

/// How far a process is on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is or will be frozen here, and is to run on if nothing more is heard.
    Leaving,
    /// These, with all below them, are or will be revived elsewhere, and their memory is
    /// to follow: they are to be ended if the move is committed, else to run on.
    Yielded(Vec<Living>),
    /// It is being ended here, as it is revived elsewhere.
    Ending,
    /// Its images come.
    Coming,
    /// All that it is made of has come.
    Come(Belongings),
    /// It has run here, or is about to.
    Running,
}

impl Papers {
    /// Those of a process that leaves the machine of `state_dir`.
    #[must_use]
    pub fn leaving(passage: Passage, home: Option<&str>, state_dir: &Path) -> Self {
        Self::at(Stage::Leaving, passage, home, state_dir)
    }

    /// Those of one that comes to it.
    #[must_use]
    pub fn coming(passage: Passage, home: Option<&str>, state_dir: &Path) -> Self {
        Self::at(Stage::Coming, passage, home, state_dir)
    }

    fn at(stage: Stage, passage: Passage, home: Option<&str>, state_dir: &Path) -> Self {
        let (home, state_dir) = (home.map(str::to_owned), resolved(state_dir));
        Self { passage, home, state_dir, stage }
    }

    /// Whether they are the affair of redirectd with this `state_dir`.
    #[must_use]
    pub fn are_of(&self, state_dir: &Path) -> bool {
        self.state_dir == resolved(state_dir)
    }

    /// The same, as far as `stage`.
    #[must_use]
    pub fn at_stage(&self, stage: Stage) -> Self {
        Self { stage, ..self.clone() }
    }
}

/// `folder` without links in its path; as it is, if it is not there.
fn resolved(folder: &Path) -> PathBuf {
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::migrate::memory;

    #[test]
    fn a_state_directory_is_the_same_by_all_its_paths() {
        let folder = tempfile::tempdir().unwrap();
        let (state, link) = (folder.path().join("state"), folder.path().join("link"));
        fs::create_dir(&state).unwrap();
        symlink(&state, &link).unwrap();
        let passage =
            Passage { pid: 7, name: "x".to_owned(), r#move: 1, memory: memory::Way::Copy };
        for by in [&state, &link, &folder.path().join("link/../state/.")] {
            let papers = Papers::leaving(passage.clone(), None, by);
            assert!(papers.are_of(&state) && papers.are_of(&link), "{papers:?}");
            assert!(!papers.are_of(folder.path()));
        }
    }
}
