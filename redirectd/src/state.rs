//! Where the redirects that were made through the API survive a restart.
//!
//! [`Store`] is the seam behind which a cluster's shared store may come later;
//! [`FileStore`] keeps them in one file of the state directory. A change is
//! written in two steps, so that all that is likely to fail fails before the
//! kernel is touched: [`Store::stage`] writes and syncs the new contents beside
//! the old ones, [`Store::commit`] puts them in their place by one rename. A
//! crash between the two leaves the old contents, which the next start restores
//! in the kernel; whoever asked for the change was not told that it was done.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    dataplane::Change,
    error::{Error, Kind},
    rule::{Redirect, RedirectSet},
};

/// The form of the state file; a daemon refuses any other.
const VERSION: u32 = 1;

/// The file's name in the state directory.
const FILE: &str = "redirects.json";

/// Keeps the desired redirects that are not in a configuration file.
pub trait Store: Send {
    /// All redirects that were committed last; none when nothing ever was.
    ///
    /// # Errors
    /// The contents cannot be read, or are damaged. Nothing is changed then.
    fn load(&self) -> Result<Vec<Redirect>, Error>;

    /// Prepares for `changes`, after which `all` will be what is kept.
    ///
    /// # Errors
    /// It cannot be written. What is in force stays.
    fn stage(&mut self, changes: &[Change], all: &RedirectSet) -> Result<(), Error>;

    /// Puts what was staged in force.
    ///
    /// # Errors
    /// It cannot be put in its place. What was in force stays.
    fn commit(&mut self) -> Result<(), Error>;

    /// Forgets what was staged.
    fn discard(&mut self);
}

/// A [`Store`] in one JSON file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    staged: PathBuf,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    redirects: Vec<&'a Redirect>,
}

/// Enough of the file to say that it is of another version.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct Read {
    redirects: Vec<Redirect>,
}

impl FileStore {
    /// A store in the directory `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let path = dir.join(FILE);
        Self { staged: path.with_extension("json.new"), path }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, redirects: &RedirectSet) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.staged)?;
        let mut out = BufWriter::new(file);
        let written = Written { version: VERSION, redirects: redirects.iter().collect() };
        serde_json::to_writer(&mut out, &written)?;
        out.write_all(b"\n")?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn damaged(&self, why: impl std::fmt::Display) -> Error {
        let path = self.path.display();
        Error::new(Kind::Failed, format!("state file {path} is damaged: {why}")).cure(format!(
            "put a good copy back, or start without the redirects of `redirect add` by \
             `mv {path} {path}.bad`; until then the kernel goes on as it was"
        ))
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<Vec<Redirect>, Error> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let what = format!("cannot read state file {}: {error}", self.path.display());
                return Err(Error::new(Kind::Failed, what));
            }
        };
        let Version { version } = serde_json::from_str(&text).map_err(|e| self.damaged(e))?;
        if version != VERSION {
            let what = format!(
                "state file {} has version {version}, this redirectd knows version {VERSION}",
                self.path.display()
            );
            return Err(Error::new(Kind::Failed, what)
                .cure("run the redirectd that wrote it, or move the file away"));
        }
        let Read { redirects } = serde_json::from_str(&text).map_err(|e| self.damaged(e))?;
        for redirect in &redirects {
            redirect.validate().map_err(|e| self.damaged(e.what))?;
        }
        Ok(redirects)
    }

    fn stage(&mut self, _changes: &[Change], all: &RedirectSet) -> Result<(), Error> {
        self.write(all).map_err(|error| {
            self.discard();
            let what = format!("cannot write {}: {error}", self.staged.display());
            Error::new(Kind::Failed, what).cure("nothing was changed; make room there and repeat")
        })
    }

    fn commit(&mut self) -> Result<(), Error> {
        let sync_directory = || {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            File::open(directory)?.sync_all()
        };
        fs::rename(&self.staged, &self.path).and_then(|()| sync_directory()).map_err(|error| {
            let what = format!("cannot replace {}: {error}", self.path.display());
            Error::new(Kind::Failed, what)
        })
    }

    fn discard(&mut self) {
        // A left-over is harmless: the next stage overwrites it, load never reads it.
        let _ = fs::remove_file(&self.staged);
    }
}
