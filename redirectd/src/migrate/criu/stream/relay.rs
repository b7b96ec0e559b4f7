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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::{collection::vec, prelude::*};
    use tokio::runtime::Builder;

    use super::*;

    fn chunk(name: &str, content: &[u8]) -> Vec<u8> {
        let frame = Frame::Chunk { name: name.into(), length: content.len() };
        [&frame.encode()[..], content].concat()
    }

    fn file(name: &str, content: &[u8]) -> Vec<u8> {
        let (length, checksum) = (content.len() as u64, crc32fast::hash(content));
        Frame::File { name: name.into(), length, checksum }.encode()
    }

    /// What is told of memory that goes ahead: the round, and its bytes by then.
    type Told = Vec<(usize, u64)>;

    /// Passes what is left of `from` on: how far, what came out, and what was told.
    fn pass(relay: &mut Relay, from: &mut &[u8]) -> (Result<Passed, Error>, Vec<u8>, Told) {
        let (mut to, told) = (Vec::new(), Mutex::new(Vec::new()));
        let passed = Builder::new_current_thread().build().unwrap().block_on(relay.pass(
            from,
            &mut to,
            &|round, bytes| told.lock().unwrap().push((round, bytes)),
        ));
        (passed, to, told.into_inner().unwrap())
    }

    #[test]
    fn the_memory_of_each_round_is_counted_and_the_freeze_kept() {
        let ahead = [
            chunk("1/pages-1.img", &[1; 300]),
            chunk("1/pages-2.img", &[2; 40]),
            // It is no memory.
            chunk("1/pagemap-1.img", &[3; 7]),
            chunk("2/pages-1.img", &[4; 50]),
        ]
        .concat();
        let rest = [
            chunk("pages-1.img", &[5; 8]),
            chunk("core-7.img", &[6; 90]),
            file("core-7.img", &[6; 90]),
        ]
        .concat();
        let images = chunk(FILES, b"files");
        let end = [file(FILES, b"files"), Frame::End { files: 2 }.encode()].concat();
        let stream =
            [&PREAMBLE[..], &ahead, &Frame::Frozen.encode(), &rest, &images, &end].concat();
        let (mut relay, mut from) = (Relay::default(), &stream[..]);

        let (passed, to, told) = pass(&mut relay, &mut from);
        assert!(matches!(passed, Ok(Passed::Frozen)), "{passed:?}");
        assert_eq!(to, [&PREAMBLE[..], &ahead].concat(), "the destination hears nothing of it");
        assert_eq!(told, [(1, 300), (1, 340), (1, 340), (2, 50)]);
        assert_eq!(from.len(), rest.len() + images.len() + end.len(), "the rest waits");

        let (passed, to, told) = pass(&mut relay, &mut from);
        let Ok(Passed::All(relayed)) = passed else { panic!("{passed:?}") };
        assert_eq!((to, told), (rest, vec![]));
        assert_eq!((&relayed.ahead[..], relayed.rest), (&[340, 50][..], 8));
        assert_eq!(relayed.open_files, b"files");
    }

    #[test]
    fn each_freeze_is_told_however_often_and_early_it_is_said() {
        let stream = [&PREAMBLE[..], &[Frame::Frozen.encode(), Frame::Frozen.encode()].concat()];
        let stream = stream.concat();
        let (mut relay, mut from) = (Relay::default(), &stream[..]);
        for expected in [&PREAMBLE[..], &[]] {
            let (passed, to, _) = pass(&mut relay, &mut from);
            assert!(matches!(passed, Ok(Passed::Frozen)), "{passed:?}");
            assert_eq!(to, expected);
        }
    }

    proptest! {
        #[test]
        fn all_memory_is_counted_in_its_round_and_once(
            pieces in vec((0..=9_usize, any::<bool>(), 0..50_usize), 0..40),
        ) {
            let (mut stream, mut rounds, mut left) = (PREAMBLE.to_vec(), [0_u64; 9], 0);
            for &(round, is_memory, length) in &pieces {
                let name = if is_memory { "pages-1.img" } else { "pagemap-1.img" };
                let counted = if is_memory { length as u64 } else { 0 };
                match round {
                    0 => {
                        stream.extend(chunk(name, &vec![7; length]));
                        left += counted;
                    }
                    _ => {
                        stream.extend(chunk(&format!("{round}/{name}"), &vec![7; length]));
                        rounds[round - 1] += counted;
                    }
                }
            }
            stream.extend(file(FILES, b""));
            stream.extend(Frame::End { files: 1 }.encode());
            let (passed, ..) = pass(&mut Relay::default(), &mut &stream[..]);
            let Ok(Passed::All(relayed)) = passed else { panic!("{passed:?}") };
            let last = pieces.iter().map(|(round, ..)| *round).max().unwrap_or(0);
            prop_assert_eq!(&relayed.ahead[..], &rounds[..last]);
            prop_assert_eq!(relayed.rest, left);
        }
    }
}
