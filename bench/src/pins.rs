//! A folder in the BPF file system that is gone when its owner is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

use crate::console::say;

/// Where the BPF file system is, by convention.
const BPF_FS: &str = "/sys/fs/bpf";

/// A folder of this run's own for pinned objects; removed with them when dropped.
#[derive(Debug)]
pub(crate) struct Pins(PathBuf);

impl Pins {
    /// Makes one.
    ///
    /// # Errors
    /// There is no BPF file system, or we may not write to it.
    pub(crate) fn new() -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(BPF_FS).join(format!("rdbench-{}-{number}", process::id()));
        fs::create_dir(&path).with_context(|| {
            format!(
                "cannot make {}; is {BPF_FS} mounted (mount -t bpf bpf {BPF_FS})?",
                path.display()
            )
        })?;
        Ok(Self(path))
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => say(&format!("warning: {} is left behind: {error}", self.0.display())),
        }
    }
}
