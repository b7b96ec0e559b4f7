//! The side where CRIU writes.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crc32fast::Hasher;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::sleep,
};

use super::{
    CHUNK, Sum,
    frame::{Frame, PREAMBLE, cut, is_memory, is_name, round, round_of},
};
use crate::{
    error::{Error, Kind},
    migrate::criu::images::{self, clock},
};

/// How often is looked for more memory. Short against the time it takes to send
/// what comes meanwhile, long against what a look costs.
const LOOK: Duration = Duration::from_millis(1);

/// How long it may take, at the most usual, from here until the host has put its
/// connections down. It does no harm if it takes less; if it takes longer, peers may
/// drop a connection's first segments.
const REVIVAL: Duration = Duration::from_secs(1);

/// A file's name, its length and its checksum.
type Ended = (String, u64, u32);

/// Sends a folder of images.
///
/// Reads are of a tmpfs and never wait, so they are made on the task itself.
#[derive(Debug)]
pub struct Sender<W> {
    folder: PathBuf,
    stream: W,
    files: BTreeMap<String, Sent>,
    piece: Vec<u8>,
}

/// A file of which some has been sent.
#[derive(Debug)]
struct Sent {
    file: File,
    length: u64,
    checksum: Hasher,
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    /// Sends what CRIU writes to `folder` over `stream`.
    ///
    /// # Errors
    /// The stream fails.
    pub async fn new(folder: &Path, mut stream: W) -> Result<Self, Error> {
        stream.write_all(&PREAMBLE).await.map_err(cut)?;
        let (files, piece) = (BTreeMap::new(), vec![0; CHUNK]);
        Ok(Self { folder: folder.to_owned(), stream, files, piece })
    }

    /// Says, in place of what is left, that nothing more comes.
    ///
    /// # Errors
    /// The stream fails.
    pub async fn give_up(stream: &mut W) -> Result<(), Error> {
        stream.write_all(&Frame::GivenUp.encode()).await.map_err(cut)?;
        stream.flush().await.map_err(cut)
    }

    /// Sends the memory as it is written, until `written` comes to its end.
    ///
    /// # Errors
    /// The stream or a file fails.
    pub async fn follow(&mut self, written: impl Future) -> Result<(), Error> {
        let mut written = std::pin::pin!(written);
        loop {
            for name in self.images()?.into_iter().filter(|name| is_memory(name)) {
                self.send_more(name).await?;
            }
            tokio::select! {
                _ = &mut written => return Ok(()),
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Sends all that is left of the rounds there have been: the next one is to have what
    /// changes meanwhile.
    ///
    /// # Errors
    /// The stream or a file fails.
    pub async fn rounds(&mut self) -> Result<(), Error> {
        for name in self.images()?.into_iter().filter(|name| round_of(name).is_some()) {
            self.send_more(name).await?;
        }
        self.stream.flush().await.map_err(cut)
    }

    /// Says that the processes are frozen now.
    ///
    /// # Errors
    /// The stream fails.
    pub async fn frozen(&mut self) -> Result<(), Error> {
        self.stream.write_all(&Frame::Frozen.encode()).await.map_err(cut)?;
        self.stream.flush().await.map_err(cut)
    }

    /// Sends all that is left, when all is written. The image of the open files
    /// goes as `readdress` gives it back, TCP connections with their clocks put
    /// forward.
    ///
    /// # Errors
    /// The stream or a file fails, or `readdress` refuses.
    pub async fn finish(
        mut self,
        readdress: impl FnOnce(&[u8]) -> Result<Vec<u8>, Error>,
    ) -> Result<Sum, Error> {
        let (connections, names): (Vec<_>, Vec<_>) =
            self.images()?.into_iter().partition(|name| name.starts_with(images::STREAM));
        for name in names.into_iter().filter(|name| name != images::FILES) {
            self.send_more(name).await?;
        }
        let open_files = readdress(&self.read(images::FILES)?)?;
        let mut edited = vec![self.send_edited(images::FILES, &open_files).await?];
        // At the end: their clocks have to go on until then.
        for name in connections {
            let image = self.in_time(&name)?;
            edited.push(self.send_edited(&name, &image).await?);
        }
        self.tell_end(edited).await
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.folder.join(name);
        fs::read(&path).map_err(|error| unreadable(&path, &error))
    }

    /// The image of a TCP connection, with its clock put forward by the time since it
    /// was written, and by what it may take until it speaks again.
    fn in_time(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.folder.join(name);
        let written = fs::metadata(&path).and_then(|file| file.modified());
        let written = written.map_err(|error| unreadable(&path, &error))?;
        // A clock that was set back meanwhile tells nothing.
        let since = written.elapsed().unwrap_or_default() + REVIVAL;
        let milliseconds = u32::try_from(since.as_millis()).unwrap_or(u32::MAX);
        clock::put_forward(&self.read(name)?, milliseconds).map_err(|why| {
            Error::new(Kind::Failed, format!("{name} is not as CRIU makes it: {why}"))
        })
    }

    /// Sends a file that is not as CRIU wrote it; gives what is told of its end.
    async fn send_edited(&mut self, name: &str, bytes: &[u8]) -> Result<Ended, Error> {
        for piece in bytes.chunks(CHUNK) {
            let frame = Frame::Chunk { name: name.to_owned(), length: piece.len() };
            self.stream.write_all(&frame.encode()).await.map_err(cut)?;
            self.stream.write_all(piece).await.map_err(cut)?;
        }
        Ok((name.to_owned(), bytes.len() as u64, crc32fast::hash(bytes)))
    }

    async fn tell_end(mut self, edited: Vec<Ended>) -> Result<Sum, Error> {
        let sent = self.files.into_iter();
        let sent = sent.map(|(name, sent)| (name, sent.length, sent.checksum.finalize()));
        let mut sum = Sum::default();
        for (name, length, checksum) in sent.chain(edited) {
            sum.files += 1;
            sum.bytes += length;
            let frame = Frame::File { name, length, checksum };
            self.stream.write_all(&frame.encode()).await.map_err(cut)?;
        }
        let files = u32::try_from(sum.files).expect("there are not that many images");
        self.stream.write_all(&Frame::End { files }.encode()).await.map_err(cut)?;
        self.stream.flush().await.map_err(cut)?;
        Ok(sum)
    }

    /// The images there are by now, those of rounds too; CRIU's logs and statistics are
    /// none.
    fn images(&self) -> Result<Vec<String>, Error> {
        let mut images = Vec::new();
        for name in names(&self.folder)? {
            if round(&name).is_some() {
                let within = names(&self.folder.join(&name))?;
                images.extend(within.into_iter().map(|file| format!("{name}/{file}")));
            } else {
                images.push(name);
            }
        }
        images.retain(|name| is_name(name) && name.ends_with(".img"));
        Ok(images)
    }

    /// Sends what has been added to a file since the last time.
    async fn send_more(&mut self, name: String) -> Result<(), Error> {
        let path = self.folder.join(&name);
        if !self.files.contains_key(&name) {
            let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
            let sent = Sent { file, length: 0, checksum: Hasher::new() };
            self.files.insert(name.clone(), sent);
        }
        let sent = self.files.get_mut(&name).expect("it was put there");
        loop {
            let length =
                sent.file.read(&mut self.piece).map_err(|error| unreadable(&path, &error))?;
            if length == 0 {
                return Ok(());
            }
            let piece = &self.piece[..length];
            sent.checksum.update(piece);
            sent.length += length as u64;
            let frame = Frame::Chunk { name: name.clone(), length };
            self.stream.write_all(&frame.encode()).await.map_err(cut)?;
            self.stream.write_all(piece).await.map_err(cut)?;
        }
    }
}

/// What is in a folder.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let unreadable = |error: io::Error| unreadable(folder, &error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    entries
        .map(|entry| Ok(entry.map_err(unreadable)?.file_name().into_string().unwrap_or_default()))
        .collect()
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Failed, format!("cannot read {}: {error}", path.display()))
}
