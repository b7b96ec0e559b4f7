//! A way to home's daemon that closes when a move is committed, before whoever leads it
//! knows: the process is ended at the source after that.

use std::{fs, path::PathBuf};

use anyhow::Result;
use xtask::lab::{Host, until};

use super::field::LONGEST;

const PROGRAM: &str = include_str!("gate.py");

/// The folder that has it.
pub(super) struct Gate(PathBuf);

impl Gate {
    /// One at home, which is `host`.
    pub(super) fn new(host: &Host) -> Result<Self> {
        let folder = host.dir().join("gate");
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    /// The words that run it, before the socket of the daemon.
    pub(super) fn words(&self, daemon: &str) -> Vec<String> {
        let (ours, folder) = (self.socket(), self.0.display().to_string());
        ["python3", "-c", PROGRAM, daemon, &ours, &folder].map(str::to_owned).into()
    }

    /// The socket to be used in place of the daemon's.
    pub(super) fn socket(&self) -> String {
        self.0.join("redirectd.sock").display().to_string()
    }

    /// It is to close.
    pub(super) fn close(&self) -> Result<()> {
        Ok(fs::write(self.0.join("close"), "")?)
    }

    /// Waits until it is closed.
    pub(super) fn closed(&self) -> Result<()> {
        let closed = self.0.join("closed");
        until(LONGEST, "the move is committed", || closed.exists().then_some(()))?;
        Ok(fs::remove_file(closed)?)
    }

    /// Opens it.
    pub(super) fn open(&self) -> Result<()> {
        Ok(fs::write(self.0.join("open"), "")?)
    }
}
