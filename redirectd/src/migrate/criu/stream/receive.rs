//! The side where CRIU will read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crc32fast::Hasher;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{
    CHUNK, Sum,
    frame::{Frame, PREAMBLE, broken, cut, round, round_of},
    room::{self, Room},
};
use crate::{
    error::{Error, Kind},
    migrate::criu::precopy::PARENT,
};

/// A process with more files of images than this is none: there are some ten for
/// each of its threads.
const FILES_MAX: usize = 1 << 20;

/// A folder that fills.
struct Receiver<'a> {
    folder: &'a Path,
    room: Room,
    files: BTreeMap<String, Received>,
    /// The rounds whose folders are made.
    rounds: BTreeSet<usize>,
    sum: Sum,
}

/// A file of which some has come.
struct Received {
    path: PathBuf,
    /// Until its end.
    file: Option<File>,
    length: u64,
    checksum: Hasher,
}

/// Takes images from `stream` and writes them to `folder`, which must be empty,
/// at most `most` bytes; of memory that goes ahead, each round has to leave room for
/// what is changed in it.
///
/// When this fails, what has come stays in the folder, and is good for nothing.
///
/// # Errors
/// The stream is cut or broken, there is more than `most`, or a file cannot be
/// written.
pub async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    folder: &Path,
    most: u64,
) -> Result<Sum, Error> {
    let mut preamble = [0; PREAMBLE.len()];
    stream.read_exact(&mut preamble).await.map_err(cut)?;
    if preamble != PREAMBLE {
        return Err(broken("it does not begin as one of this version does".into()));
    }
    let (files, rounds) = (BTreeMap::new(), BTreeSet::new());
    let mut receiver =
        Receiver { folder, room: Room::of(most), files, rounds, sum: Sum::default() };
    let mut piece = vec![0; CHUNK];
    loop {
        match Frame::read(stream).await? {
            Frame::Chunk { name, length } => {
                receiver.room.take(round_of(&name), length)?;
                let piece = &mut piece[..length];
                stream.read_exact(piece).await.map_err(cut)?;
                receiver.file(name)?.add(piece)?;
            }
            Frame::File { name, length, checksum } => {
                let end = receiver.file(name)?.end(length, checksum);
                end?;
                receiver.sum.files += 1;
                receiver.sum.bytes += length;
            }
            Frame::End { files } => return receiver.end(files),
            Frame::GivenUp => return Err(given_up()),
            Frame::Frozen => return Err(broken("what is for home has come here".into())),
        }
    }
}

impl Receiver<'_> {
    /// The file of this name, which is made when it is first spoken of.
    fn file(&mut self, name: String) -> Result<&mut Received, Error> {
        if !self.files.contains_key(&name) {
            if self.files.len() == FILES_MAX {
                return Err(broken(format!("it has more than {FILES_MAX} files")));
            }
            self.make_folder(&name)?;
            let path = self.folder.join(&name);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(|error| unwritable(&path, &error))?;
            let received = Received { path, file: Some(file), length: 0, checksum: Hasher::new() };
            self.files.insert(name.clone(), received);
        }
        Ok(self.files.get_mut(&name).expect("it was put there"))
    }

    /// The folder of the round that an image of this name is of.
    fn make_folder(&mut self, name: &str) -> Result<(), Error> {
        let Some(round) = name.split_once('/').and_then(|(folder, _)| round(folder)) else {
            return Ok(());
        };
        if self.rounds.insert(round) {
            let path = self.folder.join(round.to_string());
            let made = DirBuilder::new().mode(0o700).create(&path);
            made.map_err(|error| unwritable(&path, &error))?;
        }
        Ok(())
    }

    /// Links each folder to the one in which CRIU finds what it lacks. No link comes
    /// from the other side.
    fn link_rounds(&self) -> Result<(), Error> {
        let last = self.rounds.len();
        if !self.rounds.iter().copied().eq(1..=last) {
            return Err(broken(format!("it has only the rounds {:?}", self.rounds)));
        }
        for round in 1..=last {
            let folder = match round {
                _ if round == last => self.folder.to_owned(),
                _ => self.folder.join((round + 1).to_string()),
            };
            let parent = if round == last { round.to_string() } else { format!("../{round}") };
            let link = folder.join(PARENT);
            symlink(parent, &link).map_err(|error| unwritable(&link, &error))?;
        }
        Ok(())
    }

    fn end(self, files: u32) -> Result<Sum, Error> {
        let open = self.files.values().find(|received| received.file.is_some());
        if let Some(Received { path, .. }) = open {
            return Err(broken(format!("{} has no end", path.display())));
        }
        if usize::try_from(files) != Ok(self.sum.files) {
            return Err(broken(format!("{} files of {files} have come", self.sum.files)));
        }
        self.link_rounds()?;
        Ok(self.sum)
    }
}

impl Received {
    fn add(&mut self, piece: &[u8]) -> Result<(), Error> {
        let Some(file) = &mut self.file else {
            return Err(broken(format!("{} goes on after its end", self.path.display())));
        };
        file.write_all(piece).map_err(|error| unwritable(&self.path, &error))?;
        self.length += piece.len() as u64;
        self.checksum.update(piece);
        Ok(())
    }

    fn end(&mut self, length: u64, checksum: u32) -> Result<(), Error> {
        if self.file.take().is_none() {
            return Err(broken(format!("{} ends twice", self.path.display())));
        }
        if (self.length, self.checksum.clone().finalize()) == (length, checksum) {
            return Ok(());
        }
        let (path, came) = (self.path.display(), self.length);
        Err(broken(format!("{path} has come with {came} bytes, and is not what was sent")))
    }
}

fn given_up() -> Error {
    Error::new(Kind::Failed, "the process stays where it is: it could not be written down")
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let unwritable = Error::new(Kind::Failed, format!("cannot write {}: {error}", path.display()));
    match error.kind() {
        // Others may have taken it since it was looked at.
        io::ErrorKind::StorageFull => {
            unwritable.cure(format!("make room on that tmpfs (`df`), or {}", room::CURE))
        }
        _ => unwritable,
    }
}
