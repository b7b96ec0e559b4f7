//! A way to home's daemon that closes when a move is committed, before whoever leads it
//! knows: the process is ended at the source after that.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use xtask::lab::{Process, until};

use super::field::{Field, LONGEST};

const PROGRAM: &str = include_str!("gate.py");

/// The folder that has it, and the program.
pub(super) struct Gate {
    folder: PathBuf,
    _way: Process,
}

impl Gate {
    /// One at home, which closes at the next commit.
    pub(super) fn closing(field: &Field) -> Result<Self> {
        let home = &field.three.two.home;
        let folder = home.host().dir().join("gate");
        // One that was there before is of no more use.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        let daemon = field.three.two.daemon.socket().display().to_string();
        let (ours, within) = (socket(&folder), folder.display().to_string());
        let line = ["python3", "-c", PROGRAM, &daemon, &ours, &within].map(str::to_owned);
        let words = [home.enter(), line.to_vec()].concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut way = home.host().start(&words)?;
        way.wait_for_log("listening")?;
        fs::write(folder.join("close"), "")?;
        Ok(Self { folder, _way: way })
    }

    /// The socket to be used in place of the daemon's.
    pub(super) fn socket(&self) -> String {
        socket(&self.folder)
    }

    /// Waits until it is closed.
    pub(super) fn closed(&self) -> Result<()> {
        let closed = self.folder.join("closed");
        until(LONGEST, "the move is committed", || closed.exists().then_some(()))?;
        Ok(fs::remove_file(closed)?)
    }

    /// Opens it.
    pub(super) fn open(&self) -> Result<()> {
        Ok(fs::write(self.folder.join("open"), "")?)
    }
}

fn socket(folder: &Path) -> String {
    folder.join("redirectd.sock").display().to_string()
}
