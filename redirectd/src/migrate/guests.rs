//! Processes of other nodes that live on this machine. Their homes may look at
//! them and have them leave again; of all other processes here they learn nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    departure::Left,
    handover::Passage,
    living::started,
    papers::Papers,
    record::{Id, Moment},
};
use crate::{
    durable,
    error::{Error, Kind},
};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Its number, here and everywhere.
    pub pid: i32,
    /// What the kernel calls it.
    pub name: String,
    /// The node that is its home.
    pub home: String,
    /// The number of home's move that brought it.
    pub r#move: Id,
    /// When it came.
    pub since: Moment,
    /// When the kernel says that it began, in ticks since the boot: with its number,
    /// what tells it from all others.
    started: u64,
}

/// All of them; clones are the same.
#[derive(Debug, Clone)]
pub struct Guests {
    path: Arc<PathBuf>,
    unwritten: Arc<Mutex<Unwritten>>,
}

/// Those there are, where the file could not be made to say so yet.
type Unwritten = Option<Vec<Guest>>;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The boot that they have lived in.
    boot: String,
    guests: Vec<Guest>,
}

impl Guests {
    /// Those remembered in `state_dir`.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        let path = Arc::new(state_dir.join("guests.json"));
        Self { path, unwritten: Arc::default() }
    }

    /// Whether one more could be remembered now: whom its home does not find here can
    /// never go home again.
    ///
    /// # Errors
    /// None can be.
    pub fn room(&self) -> Result<(), Error> {
        self.change(|_| ())
    }

    /// Those that are still there.
    ///
    /// # Errors
    /// What is remembered cannot be read.
    pub fn all(&self) -> Result<Vec<Guest>, Error> {
        let mut unwritten = self.alone();
        let guests = self.read(&unwritten)?;
        if unwritten.is_some() {
            // It is tried again the next time.
            let _ = self.write(&mut unwritten, guests.clone());
        }
        Ok(guests)
    }

    /// The guest `pid` of `home`.
    ///
    /// # Errors
    /// There is none.
    pub fn named(&self, pid: i32, home: &str) -> Result<Guest, Error> {
        let found = self.all()?.into_iter().find(|guest| guest.pid == pid && guest.home == home);
        found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("no guest from {home} has the id {pid} here"))
                .cure("`redirect ps` shows the guests of a machine; it may have ended")
        })
    }

    /// Remembers that the process `pid` called `name` has come from `home`.
    ///
    /// # Errors
    /// It has ended already, or cannot be written down: it is known for as long as this
    /// lives then, or until it can be.
    pub fn came(&self, pid: i32, name: &str, home: &str, by: Id) -> Result<(), Error> {
        let gone = || Error::new(Kind::NotFound, format!("process {pid} has ended already"));
        let started = started(pid).ok_or_else(gone)?;
        let (name, home, since) = (name.to_owned(), home.to_owned(), Moment::now());
        self.change(|guests| {
            guests.retain(|guest| guest.pid != pid);
            guests.push(Guest { pid, name, home, r#move: by, since, started });
        })
    }

    /// What remembers the process of `papers`, once it has come.
    pub fn arriving(&self, papers: &Papers) -> impl FnOnce(i32) + Send + use<> {
        let (guests, home) = (self.clone(), papers.home.clone());
        let Passage { name, r#move, .. } = papers.passage.clone();
        move |pid| {
            if let Some(home) = home
                && let Err(error) = guests.came(pid, &name, &home, r#move)
            {
                warn!(pid, error = error.one_line(), "a guest is not remembered as one");
            }
        }
    }

    /// What has become of the process of `papers`, which was to leave.
    pub fn left(&self, papers: &Papers, left: Left) {
        let pid = papers.passage.pid;
        match left {
            Left::Gone => {
                if let Err(error) = self.forget(pid) {
                    warn!(pid, error = error.one_line(), "a guest that has left is not forgotten");
                }
            }
            Left::Stayed => {}
            // It began anew, for the kernel.
            Left::Back => self.arriving(papers)(pid),
        }
    }

    /// Forgets the process `pid`, which has left.
    ///
    /// # Errors
    /// That cannot be written down.
    fn forget(&self, pid: i32) -> Result<(), Error> {
        self.change(|guests| guests.retain(|guest| guest.pid != pid))
    }

    fn change(&self, how: impl FnOnce(&mut Vec<Guest>)) -> Result<(), Error> {
        let mut unwritten = self.alone();
        let mut guests = self.read(&unwritten)?;
        how(&mut guests);
        self.write(&mut unwritten, guests)
    }

    fn write(&self, unwritten: &mut Unwritten, guests: Vec<Guest>) -> Result<(), Error> {
        let written = durable::replace(&self.path, &Kept { boot: boot()?, guests: guests.clone() });
        *unwritten = written.is_err().then_some(guests);
        written
    }

    fn read(&self, unwritten: &Unwritten) -> Result<Vec<Guest>, Error> {
        let guests = match unwritten {
            Some(guests) => guests.clone(),
            None => {
                let kept = durable::read::<Kept>(&self.path)?.unwrap_or_default();
                if kept.boot == boot()? { kept.guests } else { Vec::new() }
            }
        };
        let there = |guest: &Guest| started(guest.pid) == Some(guest.started);
        Ok(guests.into_iter().filter(there).collect())
    }

    fn alone(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn boot() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let unread = |why: io::Error| Error::new(Kind::Failed, format!("cannot read {path}: {why}"));
    Ok(fs::read_to_string(path).map_err(unread)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    #[test]
    fn guests_are_remembered_while_they_live() {
        let folder = tempfile::tempdir().unwrap();
        let guests = Guests::of(folder.path());
        assert_eq!(guests.all().unwrap(), []);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (own, other) = (process::id().cast_signed(), child.id().cast_signed());
        guests.came(own, "test", "home", 1).unwrap();
        guests.came(other, "sleep", "home", 2).unwrap();
        // By the next daemon too.
        let guests = Guests::of(folder.path());
        assert_eq!(guests.named(other, "home").unwrap().r#move, 2);
        child.kill().unwrap();
        child.wait().unwrap();
        let error = guests.named(other, "home").unwrap_err();
        assert!(error.kind == Kind::NotFound && error.cure.is_some(), "{error}");
        assert!(guests.came(other, "sleep", "home", 3).is_err());
        assert_eq!(guests.all().unwrap().len(), 1);
        guests.forget(own).unwrap();
        assert_eq!(guests.all().unwrap(), []);
    }

    /// The folder is full, or may not be written to.
    #[test]
    fn one_that_cannot_be_written_down_is_known_and_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let guests = Guests::of(folder.path());
        let own = process::id().cast_signed();
        // Where the next version of the file would go.
        let in_the_way = folder.path().join("guests.new");
        fs::create_dir(&in_the_way).unwrap();
        for refused in [guests.room(), guests.came(own, "test", "home", 1)] {
            let error = refused.unwrap_err();
            assert!(error.what.contains("guests.json") && error.cure.is_some(), "{error}");
        }
        assert_eq!(guests.named(own, "home").unwrap().r#move, 1);
        assert_eq!(Guests::of(folder.path()).all().unwrap(), [], "it is not written down");
        fs::remove_dir(&in_the_way).unwrap();
        guests.room().unwrap();
        assert_eq!(Guests::of(folder.path()).named(own, "home").unwrap().r#move, 1);
    }

    #[test]
    fn another_home_has_no_say_and_another_boot_no_guests() {
        let folder = tempfile::tempdir().unwrap();
        let guests = Guests::of(folder.path());
        let own = process::id().cast_signed();
        guests.came(own, "test", "home", 1).unwrap();
        assert!(guests.named(own, "elsewhere").is_err());
        let path = folder.path().join("guests.json");
        let text = fs::read_to_string(&path).unwrap().replace(&boot().unwrap(), "another");
        fs::write(&path, text).unwrap();
        assert_eq!(guests.all().unwrap(), []);
    }
}
