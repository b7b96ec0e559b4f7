//! A machine's CRIU, which stops where a test wants.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use xtask::lab::{Host, criu, soon};

const PROGRAM: &str = include_str!("halting-criu.py");

/// The folder that has it.
pub(super) struct Halts {
    folder: PathBuf,
}

impl Halts {
    /// One for the machine on `host`.
    pub(super) fn new(host: &Host) -> Result<Self> {
        let folder = host.dir().join(format!("halts-{}", host.name()));
        fs::create_dir(&folder)?;
        let program = folder.join("criu");
        fs::write(&program, PROGRAM.replace("@CRIU@", &criu().display().to_string()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    /// The words before a command line that has it find this CRIU.
    pub(super) fn words(&self) -> [String; 2] {
        let path = std::env::var("PATH").unwrap_or_default();
        ["env".to_owned(), format!("PATH={}:{path}", self.folder.display())]
    }

    /// The next one to reach `stage` is to stop there.
    pub(super) fn at(&self, stage: &str) -> Result<()> {
        // In one piece: it may be looked at meanwhile.
        fs::write(self.file("halt.new"), stage)?;
        Ok(fs::rename(self.file("halt.new"), self.file("halt"))?)
    }

    /// Waits until it has stopped; gives CRIU's number on its machine.
    pub(super) fn halted(&self) -> Result<String> {
        let halted = self.file("halted");
        let pid = soon("CRIU has stopped", || fs::read_to_string(&halted).ok())
            .context("the stage was not reached")?;
        fs::remove_file(halted)?;
        Ok(pid)
    }

    /// Lets it go on.
    pub(super) fn go(&self) -> Result<()> {
        Ok(fs::write(self.file("go"), "")?)
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(name)
    }
}
