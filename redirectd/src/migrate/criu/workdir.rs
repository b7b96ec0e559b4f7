//! A folder for images: on a tmpfs, as a process is frozen while they are
//! written and read, and nobody else's, as they hold all that it has in memory.
//!
//! Whoever works in it has it locked. So if that one dies, its papers, a small file
//! beside the folder, tell others what they find there ([`WorkDir::left`]).

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::{
    sys::{
        statfs::{TMPFS_MAGIC, statfs},
        statvfs::statvfs,
    },
    unistd::geteuid,
};
use serde::{Serialize, de::DeserializeOwned};

use super::remnants;
use crate::{
    durable,
    error::{Error, Kind},
};

/// Where such folders may be; the first that is on a tmpfs is taken.
pub const PLACES: [&str; 2] = ["/run/redirectd", "/dev/shm/redirectd"];

/// How the papers of a folder end.
const PAPERS: &str = "json";

/// A folder that goes, with all that is in it and its papers, when this is dropped.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    /// Freed when the folder has gone.
    _lock: Lock,
}

/// A folder that is taken for this process, until this is dropped or the process ends
/// in any way.
///
/// The kernel has the lock end when the last copy of the open file is closed, and a child
/// that another thread starts has one until it executes its program. So dropping unlocks.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    /// Takes the folder at `path`.
    fn take(path: &Path) -> io::Result<Self> {
        let folder = File::open(path)?;
        folder.try_lock().map_err(|_| at_work())?;
        Ok(Self(folder))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Fails for none that is held; and then, closing ends it.
        let _ = self.0.unlock();
    }
}

impl WorkDir {
    /// An empty folder `name` below the first of `places` that is on a tmpfs. What
    /// an earlier one of the same name has left goes.
    ///
    /// # Errors
    /// None of them is, it cannot be made, or somebody works in it: be it a CRIU that
    /// nobody waits for any more.
    pub fn create(places: &[impl AsRef<Path>], name: &str) -> Result<Self, Error> {
        let places = || places.iter().map(AsRef::as_ref);
        let Some(place) = first_on_tmpfs(places()) else {
            let tried: Vec<_> = places().map(|place| place.display().to_string()).collect();
            let what = format!("there is no tmpfs for images: tried {}", tried.join(", "));
            return Err(Error::new(Kind::Failed, what)
                .cure(format!("mount one at {}", tried.first().map_or("/run", String::as_str))));
        };
        let path = place.join(name);
        let made = make_own(place).and_then(|()| {
            if path.exists() {
                let _alone = Lock::take(&path)?;
                if remnants::works(&path) {
                    return Err(at_work());
                }
                fs::remove_dir_all(&path)?;
            }
            DirBuilder::new().mode(0o700).create(&path)?;
            Lock::take(&path)
        });
        let lock = made.map_err(|error| {
            let cure = match error.kind() {
                io::ErrorKind::ResourceBusy => "wait until that is over, and repeat".to_owned(),
                _ => format!("see that root can make folders in {}, and repeat", place.display()),
            };
            Error::new(Kind::Failed, format!("cannot make {}: {error}", path.display())).cure(cure)
        })?;
        Ok(Self { path, _lock: lock })
    }

    /// All papers below `places`.
    pub fn all<T: DeserializeOwned>(places: &[impl AsRef<Path>]) -> Vec<T> {
        papers(places).filter_map(|papers| durable::read(&papers).ok().flatten()).collect()
    }

    /// The folders below `places` that somebody who is dead has left, with their
    /// papers, if these are `wanted`.
    pub fn left<T: DeserializeOwned>(
        places: &[impl AsRef<Path>],
        wanted: impl Fn(&T) -> bool,
    ) -> Vec<(Self, T)> {
        let mut left = Vec::new();
        for papers in papers(places) {
            let path = papers.with_extension("");
            let lock = match Lock::take(&path) {
                Ok(lock) => lock,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Who died has come as far as to remove the folder.
                    let _ = fs::remove_file(&papers);
                    continue;
                }
                Err(_) => continue,
            };
            // Only now: nobody writes them any more.
            if let Ok(Some(read)) = durable::read(&papers)
                && wanted(&read)
            {
                left.push((Self { path, _lock: lock }, read));
            }
        }
        left
    }

    /// Makes `what` its papers.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn note(&self, what: &impl Serialize) -> Result<(), Error> {
        durable::replace(&self.path.with_extension(PAPERS), what)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes there is room for in it.
    #[must_use]
    pub fn room(&self) -> u64 {
        free_at(&self.path)
    }

    /// Lets it stay for people, and says where it is.
    #[must_use]
    pub fn stay(&mut self) -> PathBuf {
        let _ = fs::remove_file(self.path.with_extension(PAPERS));
        std::mem::take(&mut self.path)
    }

    /// Lets it stay with its papers, for the next one to find.
    pub fn leave(&mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What stays is removed by the next of its name. One that is kept has no
        // path any more.
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.path);
            let _ = fs::remove_file(self.path.with_extension(PAPERS));
        }
    }
}

/// Where papers are below `places`.
fn papers(places: &[impl AsRef<Path>]) -> impl Iterator<Item = PathBuf> {
    let within = |place: &_| fs::read_dir(AsRef::<Path>::as_ref(place)).into_iter().flatten();
    let paths = places.iter().flat_map(within).flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|end| end == PAPERS))
}

fn at_work() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "it is at work for another move still")
}

/// How many bytes there is room for in a new folder below `places`; none if that is not
/// known.
#[must_use]
pub fn room(places: &[impl AsRef<Path>]) -> Option<u64> {
    first_on_tmpfs(places.iter().map(AsRef::as_ref)).map(free_at)
}

/// What is free on the file system of `place`, or of where it would be made, in bytes.
fn free_at(place: &Path) -> u64 {
    let there = place.ancestors().find_map(|path| statvfs(path).ok());
    // One without a limit tells no size.
    let limited = there.filter(|fs| fs.blocks() > 0);
    limited.map_or(u64::MAX, |fs| fs.blocks_available().saturating_mul(fs.fragment_size()))
}

fn first_on_tmpfs<'a>(mut places: impl Iterator<Item = &'a Path>) -> Option<&'a Path> {
    places.find(|place| is_on_tmpfs(place))
}

/// Whether `place`, or where it would be made, is on a tmpfs.
fn is_on_tmpfs(place: &Path) -> bool {
    let there = place.ancestors().find(|path| path.exists());
    there.is_some_and(|path| statfs(path).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC))
}

/// Makes `place`, or sees that nobody else has it: where all may make folders,
/// another may have been first.
fn make_own(place: &Path) -> io::Result<()> {
    if let Some(above) = place.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(place)?;
    if found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let problem = format!("{} is another user's, or others may write to it", place.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{PermissionsExt as _, symlink},
        process::Command,
    };

    use super::*;
    use crate::migrate::criu::begun::Begun;

    /// A folder of our own on a tmpfs.
    fn shm() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap()
    }

    #[test]
    fn it_is_on_a_tmpfs_empty_and_private_and_goes() {
        let shm = shm();
        // The source is on a disk.
        let places = [Path::new(env!("CARGO_MANIFEST_DIR")).join("x"), shm.path().join("a/b")];
        let leftover = places[1].join("move-1/leftover");
        fs::create_dir_all(&leftover).unwrap();
        let folder = WorkDir::create(&places, "move-1").unwrap();
        assert_eq!(folder.path(), places[1].join("move-1"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        fs::write(folder.path().join("pages-1.img"), "secret").unwrap();
        drop(folder);
        assert!(!places[1].join("move-1").exists());
    }

    #[test]
    fn what_is_left_is_found_once_and_only_with_its_papers() {
        let shm = shm();
        let places = [shm.path().join("place")];
        let none = || WorkDir::left::<String>(&places, |_| true);
        let folder = WorkDir::create(&places, "move-1").unwrap();
        folder.note(&Word { word: "frozen".to_owned() }).unwrap();
        let left = |wanted: &str| WorkDir::left(&places, |papers: &Word| papers.word == wanted);
        assert!(left("frozen").is_empty(), "it is at work");
        assert!(WorkDir::create(&places, "move-1").unwrap_err().what.contains("at work"));
        let mut folder = folder;
        folder.leave();
        drop(folder);
        assert!(left("other").is_empty() && none().is_empty());
        let found = left("frozen");
        assert_eq!(found[0].0.path(), places[0].join("move-1"));
        assert!(left("frozen").is_empty(), "it is at work again");
        drop(found);
        assert_eq!(fs::read_dir(&places[0]).unwrap().count(), 0);
    }

    #[test]
    fn a_child_that_begins_does_not_keep_the_folder() {
        let shm = shm();
        let places = [shm.path().join("place")];
        let mut folder = WorkDir::create(&places, "move-1").unwrap();
        folder.note(&Word { word: "frozen".to_owned() }).unwrap();
        let _child = Begun::with(&folder._lock.0);
        folder.leave();
        drop(folder);
        let found = WorkDir::left(&places, |papers: &Word| papers.word == "frozen");
        assert_eq!(found.len(), 1);
    }

    /// Whoever had it do so has died.
    #[test]
    fn a_folder_in_which_somebody_still_writes_is_not_taken_away() {
        let shm = shm();
        let places = [shm.path().join("place")];
        let mut folder = WorkDir::create(&places, "move-1").unwrap();
        let image = folder.path().join("pages-1.img");
        let writes = File::create(&image).unwrap();
        folder.leave();
        drop(folder);
        let mut child = Command::new("sleep").arg("60").stdout(writes).spawn().unwrap();
        let told = WorkDir::create(&places, "move-1").unwrap_err();
        assert!(told.what.contains("at work") && told.cure.is_some(), "{told}");
        assert!(image.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        WorkDir::create(&places, "move-1").unwrap();
        assert!(!image.exists());
    }

    #[test]
    fn there_is_as_much_room_as_on_its_tmpfs() {
        let shm = shm();
        let places = [shm.path().join("a/b")];
        let before = room(&places).unwrap();
        let folder = WorkDir::create(&places, "move-1").unwrap();
        assert!(folder.room() > 0 && before > 0);
        assert_eq!(room(&[env!("CARGO_MANIFEST_DIR")]), None, "it is on a disk");
    }

    #[test]
    fn what_stays_for_people_is_found_by_nobody_else() {
        let shm = shm();
        let places = [shm.path().join("place")];
        let mut folder = WorkDir::create(&places, "move-1").unwrap();
        folder.note(&Word { word: "lost".to_owned() }).unwrap();
        let kept = folder.stay();
        drop(folder);
        assert!(kept.is_dir() && WorkDir::left::<Word>(&places, |_| true).is_empty());
        assert!(WorkDir::all::<Word>(&places).is_empty());
    }

    /// Whoever removed the folder died before the papers were gone.
    #[test]
    fn papers_without_a_folder_go() {
        let shm = shm();
        let places = [shm.path().join("place")];
        let folder = WorkDir::create(&places, "move-1").unwrap();
        folder.note(&Word { word: "frozen".to_owned() }).unwrap();
        fs::remove_dir(folder.path()).unwrap();
        let left = || WorkDir::left::<Word>(&places, |_| true);
        assert!(left().is_empty() && WorkDir::all::<Word>(&places).is_empty());
        assert_eq!(fs::read_dir(&places[0]).unwrap().count(), 0);
    }

    #[derive(Debug, Serialize, serde::Deserialize)]
    struct Word {
        word: String,
    }

    #[test]
    fn without_a_tmpfs_the_places_and_the_cure_are_told() {
        let error = WorkDir::create(&[env!("CARGO_MANIFEST_DIR")], "x").unwrap_err().to_string();
        assert!(error.contains(env!("CARGO_MANIFEST_DIR")), "{error}");
        assert!(error.contains("cure: mount one at "), "{error}");
    }

    #[test]
    fn a_place_that_others_may_write_to_is_refused() {
        let shm = shm();
        let place = shm.path().join("place");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        let told = WorkDir::create(&[&place], "x").unwrap_err();
        assert!(told.what.contains("others may write to it") && told.cure.is_some(), "{told}");
        let link = shm.path().join("link");
        symlink(shm.path(), &link).unwrap();
        assert!(WorkDir::create(&[&link], "x").is_err());
    }
}
