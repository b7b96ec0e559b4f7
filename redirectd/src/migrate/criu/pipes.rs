//! Room for memory in pipes.
//!
//! CRIU keeps memory that is left behind in pipes, and gives it away through one of
//! 4 MiB. Without `CAP_SYS_RESOURCE` the kernel grants no pipe of more than the
//! sysctl `fs.pipe-max-size`, which is 1 MiB by default. CRIU finds this out only
//! when it is asked for the first page, with the process already ended.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
};

use caps::{CapSet, Capability};
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Kind};

const LIMIT: &str = "/proc/sys/fs/pipe-max-size";
/// The largest pipe that CRIU 4.2 asks for, in bytes, as the kernel rounds it up.
const NEEDED: u64 = 4 << 20;

/// The right to pipes of the size that CRIU needs. Without the capability, the
/// sysctl is raised for as long as anybody on this machine has such a right; the
/// last one puts it back.
#[derive(Debug)]
pub(super) struct Pipes {
    /// Undone when dropped.
    _raised: Option<Raised>,
}

#[derive(Debug)]
struct Raised {
    /// Locked by all that need it.
    file: Flock<File>,
    /// What it was, if it was raised here.
    before: Option<u64>,
}

impl Pipes {
    /// Gets it.
    ///
    /// # Errors
    /// This process has neither the capability nor may it write the sysctl.
    pub(super) fn allow() -> Result<Self, Error> {
        if caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).unwrap_or(false) {
            return Ok(Self { _raised: None });
        }
        Raised::new().map(|raised| Self { _raised: Some(raised) }).map_err(|why| {
            let what = "memory cannot be left behind: CRIU needs pipes of 4 MiB, and may have none";
            Error::new(Kind::NotPermitted, format!("{what} ({LIMIT}: {why})"))
                .cure("give it CAP_SYS_RESOURCE, or set the sysctl fs.pipe-max-size to 4194304")
        })
    }
}

impl Raised {
    fn new() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(LIMIT)?;
        let mut file = Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno)?;
        let mut now = String::new();
        file.read_to_string(&mut now)?;
        let now = now.trim().parse().map_err(io::Error::other)?;
        if now < NEEDED {
            write(&mut file, NEEDED)?;
        }
        Ok(Self { file, before: (now < NEEDED).then_some(now) })
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        // Somebody else who needs it has it stay: a larger limit harms nobody.
        if self.file.relock(FlockArg::LockExclusiveNonblock).is_ok() {
            let _ = write(&mut self.file, before);
        }
    }
}

fn write(file: &mut File, limit: u64) -> io::Result<()> {
    file.rewind()?;
    file.write_all(limit.to_string().as_bytes())
}
