//! The files of a configuration as text.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use crate::error::{Error, Kind};

/// No file of rules is larger, in bytes: 100,000 redirects fit eight times. The
/// bound keeps a device or an endless pipe from filling memory.
const MAX_FILE: u64 = 64 << 20;

/// One file.
#[derive(Debug)]
pub(super) struct Source {
    /// Its name in messages.
    pub(super) name: String,
    /// What it says.
    pub(super) text: String,
}

impl Source {
    /// The source called `name` with the content `bytes`.
    ///
    /// # Errors
    /// They are not UTF-8; the place is named.
    pub(super) fn new(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self { name: name.to_owned(), text: text.to_owned() }),
            Err(wrong) => {
                let before = &bytes[..wrong.valid_up_to()];
                let line = before.iter().filter(|b| **b == b'\n').count() + 1;
                let what = format!("{name}:{line}: the file is not UTF-8 text");
                Err(Error::new(Kind::Failed, what).cure("save it as UTF-8"))
            }
        }
    }
}

/// The main file at `path`, then the files of `rules.d` beside it by name.
///
/// # Errors
/// A file or the folder cannot be read.
pub(super) fn read_all(path: &Path) -> Result<Vec<Source>, Error> {
    let mut sources = vec![read(path)?];
    for path in rule_files(&path.with_file_name("rules.d"))? {
        sources.push(read(&path)?);
    }
    Ok(sources)
}

/// The files in `folder` whose names end in `.yaml` or `.yml`, in byte order;
/// none if there is no such folder. Hidden files are left out: editors keep
/// their locks and copies in them.
fn rule_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Source, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        let what = format!("{} has more than {} MiB", path.display(), MAX_FILE >> 20);
        return Err(Error::new(Kind::Failed, what).cure("split it into several files in rules.d"));
    }
    Source::new(&path.display().to_string(), &bytes)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let (kind, cure) = match error.kind() {
        ErrorKind::NotFound => (Kind::NotFound, "check the path, or create the file"),
        ErrorKind::PermissionDenied => (Kind::NotPermitted, "read it as a user who may"),
        _ => (Kind::Failed, "check that it is a readable file"),
    };
    Error::new(kind, format!("{} cannot be read: {error}", path.display())).cure(cure)
}
