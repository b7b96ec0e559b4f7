//! The records of moves on disk.
//!
//! `moves.journal` in the state directory: a header, then one line of JSON for
//! each [`Record`], only ever appended to. A record is on the disk before the
//! kernel is asked to do what it says, with the power cut too unless it
//! [may be lost](Record::may_be_lost). A last line that makes no sense was being
//! written when the daemon died or the power went; nobody was told of it, and it
//! is dropped. When the journal has grown long, or nobody can tell what a failed
//! write has left at its end, it is written anew and takes the old one's place by
//! a rename.

use std::{
    fmt, fs,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{ledger::Ledger, record::Record};
use crate::error::{Error, Kind};

/// The form of the file; a daemon refuses any other.
const VERSION: u32 = 1;

/// A journal longer than this, in bytes, is written anew; unless less than half of it
/// would be gone then.
const LONG: u64 = 1 << 20;

/// Keeps the records of moves.
pub trait Journal: Send {
    /// What was recorded. Called once, before anything is appended.
    ///
    /// # Errors
    /// It cannot be read, or is damaged. Nothing is changed then.
    fn load(&mut self) -> Result<Ledger, Error>;

    /// Adds `record`: when this returns, it survives the daemon's death, and the
    /// loss of power unless it may be lost.
    ///
    /// # Errors
    /// It cannot be written. It does not count then, unless the journal is
    /// [in doubt](Journal::in_doubt).
    fn append(&mut self, record: &Record) -> Result<(), Error>;

    /// Puts `records` in place of all there are.
    ///
    /// # Errors
    /// They cannot be written; what was there stays.
    fn rewrite(&mut self, records: &[Record]) -> Result<(), Error>;

    /// Whether a record that could not be written may be there nevertheless. All
    /// else is refused until the journal has been rewritten.
    fn in_doubt(&self) -> bool;

    /// Whether it has grown so long that it is worth writing anew.
    fn is_long(&self) -> bool;
}

/// A [`Journal`] in a file.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    /// The next one, until it is renamed.
    next: PathBuf,
    /// The open file, once there is one.
    file: Option<File>,
    /// How much of it counts, in bytes.
    length: u64,
    /// How much there was when it was last written anew.
    least: u64,
    in_doubt: bool,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
}

impl FileJournal {
    /// A journal in the directory `dir`, which exists.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let (path, next) = (dir.join("moves.journal"), dir.join("moves.journal.new"));
        Self { path, next, file: None, length: 0, least: 0, in_doubt: false }
    }

    /// The records in `text`, and how much of it they take.
    fn parse(&self, text: &[u8]) -> Result<(Vec<Record>, usize), Error> {
        let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
        let (mut records, mut taken) = (Vec::new(), 0);
        for (n, line) in lines.iter().enumerate() {
            let read = match (n, line.ends_with(b"\n")) {
                (_, false) => Err("it has no end".to_owned()),
                (0, true) => self.header(line)?.map(|()| None),
                _ => serde_json::from_slice(line).map(Some).map_err(|error| error.to_string()),
            };
            match read {
                Ok(record) => records.extend(record),
                Err(why) if n + 1 == lines.len() => {
                    let journal = self.path.display();
                    warn!(%journal, why, "the last line was not written to its end; dropped");
                    break;
                }
                Err(why) => return Err(self.damaged(format!("line {}: {why}", n + 1))),
            }
            taken += line.len();
        }
        Ok((records, taken))
    }

    fn header(&self, line: &[u8]) -> Result<Result<(), String>, Error> {
        match serde_json::from_slice(line) {
            Ok(Header { version: VERSION }) => Ok(Ok(())),
            Ok(Header { version }) => Err(self.other_version(version)),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    fn write_at_end(&mut self, line: &[u8], lasting: bool) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let written = file.write_all_at(line, self.length);
        let written = written.and_then(|()| if lasting { file.sync_data() } else { Ok(()) });
        if written.is_err() {
            // Part of it, or all, may be there, and must not count.
            let cut = file.set_len(self.length).and_then(|()| file.sync_data());
            self.in_doubt = cut.is_err();
        }
        written
    }

    fn write_anew(&mut self, records: &[Record]) -> io::Result<()> {
        let mut text = serde_json::to_vec(&Header { version: VERSION })?;
        text.push(b'\n');
        for record in records {
            text.extend_from_slice(&line(record)?);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&self.next)?;
        file.write_all(&text)?;
        file.sync_all()?;
        // From here on the new one is there, and until the directory is synced
        // nobody knows which of the two is after a loss of power.
        self.in_doubt = true;
        fs::rename(&self.next, &self.path)?;
        self.file = Some(file);
        self.length = text.len() as u64;
        self.least = self.length;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        self.in_doubt = false;
        Ok(())
    }

    fn failed(&self, verb: &str, error: &io::Error) -> Error {
        let what = format!("cannot {verb} {}: {error}", self.path.display());
        Error::new(Kind::Failed, what)
            .cure("make room on that file system, or make it writable, and repeat")
    }

    fn damaged(&self, why: impl fmt::Display) -> Error {
        let path = self.path.display();
        Error::new(Kind::Failed, format!("journal of moves {path} is damaged: {why}")).cure(
            format!(
                "put a good copy back, or do without what it holds by `mv {path} {path}.bad`: \
                 moves under way are aborted then, and redirects of files lead where the files say"
            ),
        )
    }

    fn other_version(&self, version: u32) -> Error {
        let what = format!(
            "journal of moves {} has version {version}, this redirectd knows version {VERSION}",
            self.path.display()
        );
        Error::new(Kind::Failed, what)
            .cure("run the redirectd that wrote it, or move the file away")
    }
}

impl Journal for FileJournal {
    fn load(&mut self) -> Result<Ledger, Error> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(self.failed("read", &error)),
        };
        let (records, taken) = self.parse(&text)?;
        let ledger = Ledger::read(&records)
            .map_err(|(n, why)| self.damaged(format!("line {}: {why}", n + 2)))?;
        if taken > 0 {
            let file = OpenOptions::new().read(true).write(true).open(&self.path);
            let file = file.map_err(|error| self.failed("open", &error))?;
            file.set_len(taken as u64).map_err(|error| self.failed("mend", &error))?;
            self.file = Some(file);
            self.length = taken as u64;
        }
        Ok(ledger)
    }

    fn append(&mut self, record: &Record) -> Result<(), Error> {
        if self.in_doubt {
            let error =
                io::Error::other("an earlier write failed, and nobody knows how far it got");
            return Err(self.failed("write", &error));
        }
        let done = match &self.file {
            Some(_) => line(record).and_then(|line| {
                self.write_at_end(&line, !record.may_be_lost()).map(|()| {
                    self.length += line.len() as u64;
                })
            }),
            None => self.write_anew(std::slice::from_ref(record)),
        };
        done.map_err(|error| self.failed("write", &error))
    }

    fn rewrite(&mut self, records: &[Record]) -> Result<(), Error> {
        self.write_anew(records).map_err(|error| self.failed("write", &error))
    }

    fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    fn is_long(&self) -> bool {
        self.length > LONG.max(2 * self.least)
    }
}

fn line(record: &Record) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests;
