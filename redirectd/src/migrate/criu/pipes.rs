//! Room for memory in pipes.
//!
//! CRIU keeps memory that is left behind in pipes, and gives it away through one of
//! 4 MiB, which it makes when it begins to. Without `CAP_SYS_RESOURCE` the kernel
//! grants no pipe of more than the sysctl `fs.pipe-max-size`, by default 1 MiB; CRIU
//! then fails at the first page, when the process is ended already. So the sysctl is
//! raised, for some milliseconds, until the first page has come.
//!
//! It is raised while memory is put into the pipes, too, for fewer of them: each costs
//! the frozen process a conversation with CRIU, and CRIU two descriptors.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
};

use caps::{CapSet, Capability};
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Kind};

const LIMIT: &str = "/proc/sys/fs/pipe-max-size";
/// What lets CRIU have its pipe.
pub(in crate::migrate) const CURE: &str =
    "give it CAP_SYS_RESOURCE, or set the sysctl fs.pipe-max-size to 4194304";
/// The largest pipe that CRIU 4.2 asks for, in bytes, as the kernel rounds it up.
const NEEDED: u64 = 4 << 20;

/// The right to have CRIU make its pipe.
#[derive(Debug)]
pub(super) struct Pipes {
    /// The sysctl, where the capability is missing.
    limit: Option<File>,
}

/// While this is there, CRIU can make its pipe. One at a time on a machine.
#[derive(Debug)]
pub(super) struct Widened {
    limit: Flock<File>,
    before: u64,
}

impl Pipes {
    /// Finds out whether there is such a right.
    ///
    /// # Errors
    /// This process has not the capability, may not write the sysctl, and finds too little
    /// there.
    pub(super) fn check() -> Result<Self, Error> {
        if caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_RESOURCE).unwrap_or(false) {
            return Ok(Self { limit: None });
        }
        match OpenOptions::new().read(true).write(true).open(LIMIT) {
            Ok(limit) => Ok(Self { limit: Some(limit) }),
            Err(_)
                if File::open(LIMIT).and_then(|mut limit| read(&mut limit)).is_ok_and(enough) =>
            {
                Ok(Self { limit: None })
            }
            Err(why) => {
                let what = "memory cannot be left behind: CRIU may have no pipe of 4 MiB for it";
                Err(Error::new(Kind::NotPermitted, format!("{what} ({LIMIT}: {why})")).cure(CURE))
            }
        }
    }

    /// Makes use of it if that is possible without waiting; CRIU does with smaller
    /// pipes, too, as long as it has given no page.
    pub(super) fn widen_at_once(&self) -> Option<Widened> {
        self.limit.as_ref()?;
        let limit = OpenOptions::new().read(true).write(true).open(LIMIT).ok()?;
        widened(Flock::lock(limit, FlockArg::LockExclusiveNonblock).ok()?).ok()
    }

    /// Makes use of it.
    ///
    /// # Errors
    /// The kernel takes no such limit.
    pub(super) fn widen(self) -> io::Result<Option<Widened>> {
        let Some(limit) = self.limit else { return Ok(None) };
        // Whoever comes next waits, and then finds it as it was.
        let limit = Flock::lock(limit, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        widened(limit).map(Some)
    }
}

fn widened(mut limit: Flock<File>) -> io::Result<Widened> {
    let before = read(&mut limit)?;
    if !enough(before) {
        write(&mut limit, NEEDED)?;
    }
    Ok(Widened { limit, before })
}

impl Drop for Widened {
    fn drop(&mut self) {
        if !enough(self.before) {
            // A larger limit that stays harms nobody.
            let _ = write(&mut self.limit, self.before);
        }
    }
}

fn enough(bytes: u64) -> bool {
    bytes >= NEEDED
}

fn read(limit: &mut File) -> io::Result<u64> {
    let mut bytes = String::new();
    limit.read_to_string(&mut bytes)?;
    bytes.trim().parse().map_err(io::Error::other)
}

fn write(limit: &mut File, bytes: u64) -> io::Result<()> {
    limit.rewind()?;
    limit.write_all(bytes.to_string().as_bytes())
}
