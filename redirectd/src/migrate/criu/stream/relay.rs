//! The machine in the middle: passes images on as they come, all but that of the
//! open files, whose addresses are still those of where they come from.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{
    CHUNK, Sum,
    frame::{Frame, PREAMBLE, broken, cut, is_memory, round_of},
};
use crate::{error::Error, migrate::criu::images::FILES};

/// The largest image of open files that is held back, in bytes.
const OPEN_FILES_MAX: usize = 256 << 20;

/// Passes a stream of images on.
#[derive(Debug, Default)]
pub struct Relay {
    relayed: Relayed,
    begun: bool,
}

/// All but the end has been passed on.
#[derive(Debug, Default)]
pub struct Relayed {
    /// The image of the open files, as it came.
    pub open_files: Vec<u8>,
    /// The bytes of memory that went ahead, in each round.
    pub ahead: Vec<u64>,
    /// The bytes of memory that went once the processes were frozen.
    pub rest: u64,
    sum: Sum,
}

/// How far the stream has been passed on.
#[derive(Debug)]
pub enum Passed {
    /// All memory that goes ahead; the processes are frozen, and wait.
    Frozen,
    /// All but the end.
    All(Relayed),
    /// Up to where the sender has given it up.
    GivenUp,
}

impl Relay {
    /// Passes on what comes, until nothing more does of itself. `on_ahead` is told of
    /// memory that goes ahead: the round, and how many bytes it has had by now.
    ///
    /// # Errors
    /// One of the streams is cut or broken.
    pub async fn pass(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        on_ahead: &(dyn Fn(usize, u64) + Sync),
    ) -> Result<Passed, Error> {
        if !std::mem::replace(&mut self.begun, true) {
            let mut preamble = [0; PREAMBLE.len()];
            from.read_exact(&mut preamble).await.map_err(cut)?;
            to.write_all(&preamble).await.map_err(cut)?;
        }
        let relayed = &mut self.relayed;
        let mut piece = vec![0; CHUNK];
        loop {
            let frame = Frame::read(from).await?;
            match &frame {
                Frame::Chunk { name, length } if name == FILES => {
                    let piece = &mut piece[..*length];
                    from.read_exact(piece).await.map_err(cut)?;
                    relayed.hold(piece)?;
                    continue;
                }
                Frame::File { name, length, checksum } if name == FILES => {
                    relayed.check(*length, *checksum)?;
                    continue;
                }
                Frame::Chunk { name, length } => {
                    let piece = &mut piece[..*length];
                    from.read_exact(piece).await.map_err(cut)?;
                    to.write_all(&frame.encode()).await.map_err(cut)?;
                    to.write_all(piece).await.map_err(cut)?;
                    if let Some((round, bytes)) = relayed.count(name, *length) {
                        on_ahead(round, bytes);
                    }
                    continue;
                }
                Frame::File { length, .. } => {
                    relayed.sum.files += 1;
                    relayed.sum.bytes += length;
                }
                Frame::End { files } => {
                    return std::mem::take(relayed).end(*files).map(Passed::All);
                }
                Frame::GivenUp => {
                    to.write_all(&frame.encode()).await.map_err(cut)?;
                    to.flush().await.map_err(cut)?;
                    return Ok(Passed::GivenUp);
                }
                Frame::Frozen => return Ok(Passed::Frozen),
            }
            to.write_all(&frame.encode()).await.map_err(cut)?;
        }
    }
}

impl Relayed {
    /// Counts a piece of an image, if it is memory; gives the round, if it is of one, and
    /// how many bytes that has had.
    fn count(&mut self, name: &str, length: usize) -> Option<(usize, u64)> {
        let round = round_of(name);
        if let Some(round) = round
            && self.ahead.len() < round
        {
            self.ahead.resize(round, 0);
        }
        let bytes = match round {
            Some(round) => &mut self.ahead[round - 1],
            None => &mut self.rest,
        };
        if is_memory(name) {
            *bytes += length as u64;
        }
        Some((round?, *bytes))
    }

    fn hold(&mut self, piece: &[u8]) -> Result<(), Error> {
        if self.open_files.len() + piece.len() > OPEN_FILES_MAX {
            return Err(broken(format!("{FILES} has more than {OPEN_FILES_MAX} bytes")));
        }
        self.open_files.extend_from_slice(piece);
        Ok(())
    }

    fn check(&self, length: u64, checksum: u32) -> Result<(), Error> {
        let came = (self.open_files.len() as u64, crc32fast::hash(&self.open_files));
        if came == (length, checksum) {
            return Ok(());
        }
        Err(broken(format!("{FILES} has come with {} bytes, and is not what was sent", came.0)))
    }

    fn end(self, files: u32) -> Result<Self, Error> {
        // And the one that is held back.
        if usize::try_from(files) == Ok(self.sum.files + 1) {
            return Ok(self);
        }
        Err(broken(format!("{} files of {files} have come", self.sum.files + 1)))
    }

    /// Ends the stream, with `open_files` as the image that was held back.
    ///
    /// # Errors
    /// The stream is cut.
    pub async fn finish(
        self,
        to: &mut (impl AsyncWrite + Unpin),
        open_files: &[u8],
    ) -> Result<Sum, Error> {
        for piece in open_files.chunks(CHUNK) {
            let frame = Frame::Chunk { name: FILES.into(), length: piece.len() };
            to.write_all(&frame.encode()).await.map_err(cut)?;
            to.write_all(piece).await.map_err(cut)?;
        }
        let mut sum = self.sum;
        sum.files += 1;
        sum.bytes += open_files.len() as u64;
        let (length, checksum) = (open_files.len() as u64, crc32fast::hash(open_files));
        let end = Frame::File { name: FILES.into(), length, checksum };
        to.write_all(&end.encode()).await.map_err(cut)?;
        let files = u32::try_from(sum.files).expect("they were counted as such before");
        to.write_all(&Frame::End { files }.encode()).await.map_err(cut)?;
        to.flush().await.map_err(cut)?;
        Ok(sum)
    }
}
