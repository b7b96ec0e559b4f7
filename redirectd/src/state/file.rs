//! A [`Store`] in two files of the state directory.
//!
//! `redirects.json` holds all redirects as they once were, and is only ever
//! replaced whole, by a rename. `redirects.journal` holds the changes since, one
//! line of JSON for each, so that one change beside 100,000 redirects costs one
//! short write. Its first line names the generation of the `redirects.json` it
//! goes with; a journal of another generation is out of date and counts for
//! nothing. A last line without its end was never confirmed to anybody, and
//! counts for nothing either. When the journal has grown as long as the whole,
//! the whole is written anew.

use std::{
    collections::BTreeMap,
    fmt, fs,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    mem,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};
use serde::{Deserialize, Serialize};

use super::Store;
use crate::{
    dataplane::Change,
    error::{Error, Kind},
    rule::{Redirect, RedirectSet},
};

/// The form of the files; a daemon refuses any other.
const VERSION: u32 = 1;

/// A journal shorter than this, in bytes, is not worth writing the whole anew.
const SHORT: u64 = 64 << 10;

/// A [`Store`] in the files of one directory.
#[derive(Debug)]
pub struct FileStore {
    /// All redirects of one generation.
    whole: PathBuf,
    /// The next generation, until it is renamed.
    next: PathBuf,
    journal: PathBuf,
    generation: u64,
    /// Length of `whole`, in bytes.
    whole_bytes: u64,
    /// The open journal of this generation and its length, once there is one.
    open: Option<(File, u64)>,
    /// The journal may end in half a line: the next change starts a generation.
    torn: bool,
    staged: Staged,
}

#[derive(Debug, Default)]
enum Staged {
    #[default]
    Nothing,
    /// `next` is written; so many bytes.
    Whole(u64),
    /// A line for the journal.
    Line(Vec<u8>),
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    generation: u64,
    redirects: Vec<&'a Redirect>,
}

/// Enough of a file to say that it is of another version.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct Read {
    generation: u64,
    redirects: Vec<Redirect>,
}

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    generation: u64,
}

/// Any other line of a journal: first some go, then some come.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Line {
    remove: Vec<String>,
    add: Vec<Redirect>,
}

impl FileStore {
    /// A store in the directory `dir`, which exists.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            whole: dir.join("redirects.json"),
            next: dir.join("redirects.json.new"),
            journal: dir.join("redirects.journal"),
            generation: 0,
            whole_bytes: 0,
            open: None,
            torn: false,
            staged: Staged::Nothing,
        }
    }

    fn read_whole(&mut self) -> Result<BTreeMap<String, Redirect>, Error> {
        let text = match fs::read_to_string(&self.whole) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(failed("read", &self.whole, &error)),
        };
        let Version { version } =
            serde_json::from_str(&text).map_err(|e| damaged(&self.whole, e))?;
        if version != VERSION {
            return Err(other_version(&self.whole, version));
        }
        let read: Read = serde_json::from_str(&text).map_err(|e| damaged(&self.whole, e))?;
        self.generation = read.generation;
        self.whole_bytes = text.len() as u64;
        let mut redirects = BTreeMap::new();
        for redirect in read.redirects {
            insert(&mut redirects, redirect).map_err(|why| damaged(&self.whole, why))?;
        }
        Ok(redirects)
    }

    fn replay(&mut self, redirects: &mut BTreeMap<String, Redirect>) -> Result<(), Error> {
        let text = match fs::read(&self.journal) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", &self.journal, &error)),
        };
        let mut lines = text.split_inclusive(|&byte| byte == b'\n');
        let Some(first) = lines.next().filter(|line| line.ends_with(b"\n")) else { return Ok(()) };
        let header: Header = self.parse(first, 1)?;
        if header.version != VERSION {
            return Err(other_version(&self.journal, header.version));
        }
        if header.generation != self.generation {
            return Ok(());
        }
        let mut length = first.len() as u64;
        for (index, line) in lines.enumerate() {
            if !line.ends_with(b"\n") {
                self.torn = true;
                break;
            }
            let number = index + 2;
            let Line { remove, add } = self.parse(line, number)?;
            let wrong = |why| damaged(&self.journal, format!("line {number}: {why}"));
            for name in remove {
                let gone = redirects.remove(&name);
                gone.ok_or_else(|| wrong(format!("there is no `{name}` to remove")))?;
            }
            for redirect in add {
                insert(redirects, redirect).map_err(wrong)?;
            }
            length += line.len() as u64;
        }
        let file = OpenOptions::new().write(true).open(&self.journal);
        self.open = Some((file.map_err(|e| failed("open", &self.journal, &e))?, length));
        Ok(())
    }

    fn parse<'a, T: Deserialize<'a>>(&self, line: &'a [u8], number: usize) -> Result<T, Error> {
        serde_json::from_slice(line)
            .map_err(|error| damaged(&self.journal, format!("line {number}: {error}")))
    }

    fn stage_whole(&self, redirects: &RedirectSet) -> io::Result<u64> {
        let file = create(&self.next)?;
        let mut out = BufWriter::new(file);
        let redirects = redirects.iter().collect();
        let written = Written { version: VERSION, generation: self.generation + 1, redirects };
        serde_json::to_writer(&mut out, &written)?;
        out.write_all(b"\n")?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }

    /// Makes room for `line`, so that its writing is not likely to fail.
    fn reserve(&self, line: &[u8]) -> io::Result<()> {
        let Some((file, length)) = &self.open else { return Ok(()) };
        let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(file, flags, length.cast_signed(), line.len() as i64) {
            // Not every file system can; then writing will tell.
            Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn commit_whole(&mut self, bytes: u64) -> io::Result<()> {
        fs::rename(&self.next, &self.whole)?;
        // From here on the journal is out of date, whatever happens to it.
        self.generation += 1;
        self.whole_bytes = bytes;
        self.open = None;
        self.torn = false;
        let _ = fs::remove_file(&self.journal);
        self.sync_directory()
    }

    fn commit_line(&mut self, line: &[u8]) -> io::Result<()> {
        match &mut self.open {
            Some((file, length)) => {
                let written = file.write_all_at(line, *length).and_then(|()| file.sync_data());
                match written {
                    Ok(()) => *length += line.len() as u64,
                    // Part of it may be there: nothing may follow it.
                    Err(_) => self.torn = file.set_len(*length).is_err(),
                }
                written
            }
            None => {
                let header = Header { version: VERSION, generation: self.generation };
                let mut text = serde_json::to_vec(&header)?;
                text.push(b'\n');
                text.extend_from_slice(line);
                let mut file = create(&self.journal)?;
                file.write_all(&text)?;
                file.sync_all()?;
                self.sync_directory()?;
                self.open = Some((file, text.len() as u64));
                Ok(())
            }
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(self.whole.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Store for FileStore {
    fn load(&mut self) -> Result<Vec<Redirect>, Error> {
        let mut redirects = self.read_whole()?;
        self.replay(&mut redirects)?;
        Ok(redirects.into_values().collect())
    }

    fn stage(&mut self, changes: &[Change], all: &RedirectSet) -> Result<(), Error> {
        let line = Line::of(changes).text();
        let journal = self.open.as_ref().map_or(0, |(_, length)| *length) + line.len() as u64;
        let staged = if self.torn || journal > self.whole_bytes + SHORT {
            self.stage_whole(all).map(Staged::Whole)
        } else {
            self.reserve(&line).map(|()| Staged::Line(line))
        };
        self.staged = staged.map_err(|error| {
            failed("write", &self.next, &error)
                .cure("nothing was changed; make room on that file system and repeat")
        })?;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Error> {
        let (path, done) = match mem::take(&mut self.staged) {
            Staged::Nothing => return Ok(()),
            Staged::Whole(bytes) => (self.whole.clone(), self.commit_whole(bytes)),
            Staged::Line(line) => (self.journal.clone(), self.commit_line(&line)),
        };
        done.map_err(|error| failed("write", &path, &error))
    }

    fn discard(&mut self) {
        if let Staged::Whole(_) = mem::take(&mut self.staged) {
            // A left-over is harmless: it is never read, only overwritten.
            let _ = fs::remove_file(&self.next);
        }
    }
}

impl Line {
    fn of(changes: &[Change]) -> Self {
        let mut line = Self::default();
        for change in changes {
            match change {
                Change::Add(redirect) => line.add.push(redirect.clone()),
                Change::Remove { redirect, .. } => line.remove.push(redirect.name.clone()),
                Change::Update { from, to } => {
                    line.remove.push(from.name.clone());
                    line.add.push(to.clone());
                }
            }
        }
        line
    }

    fn text(&self) -> Vec<u8> {
        // Neither maps with odd keys nor numbers out of range occur in it.
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

fn insert(redirects: &mut BTreeMap<String, Redirect>, redirect: Redirect) -> Result<(), String> {
    redirect.validate().map_err(|error| error.what)?;
    match redirects.insert(redirect.name.clone(), redirect) {
        None => Ok(()),
        Some(twice) => Err(format!("`{}` is there twice", twice.name)),
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Failed, format!("cannot {verb} {}: {error}", path.display()))
}

fn damaged(path: &Path, why: impl fmt::Display) -> Error {
    let path = path.display();
    Error::new(Kind::Failed, format!("state file {path} is damaged: {why}")).cure(format!(
        "put a good copy back, or do without what it holds of `redirect add` by `mv {path} \
         {path}.bad`; until then the kernel goes on as it was"
    ))
}

fn other_version(path: &Path, version: u32) -> Error {
    let what = format!(
        "state file {} has version {version}, this redirectd knows version {VERSION}",
        path.display()
    );
    Error::new(Kind::Failed, what).cure("run the redirectd that wrote it, or move the file away")
}

#[cfg(test)]
mod tests;
