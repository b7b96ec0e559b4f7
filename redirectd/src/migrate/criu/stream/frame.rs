//! What the stream is made of: frames, each a kind, the name of a file, numbers,
//! and, in a chunk, bytes. Numbers are in the order of the network.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::CHUNK;
use crate::{
    error::{Error, Kind},
    migrate::criu::rounds,
};

/// What a stream begins with: a name and a version.
pub(super) const PREAMBLE: [u8; 8] = *b"rdimage\x01";
/// The longest name of an image. CRIU's have some twenty bytes.
const NAME_MAX: usize = 100;

const CHUNK_FRAME: u8 = 1;
const FILE_FRAME: u8 = 2;
const END_FRAME: u8 = 3;
const GIVEN_UP_FRAME: u8 = 4;
const FROZEN_FRAME: u8 = 5;

/// One frame, without the bytes of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// More of a file; so many bytes follow.
    Chunk { name: String, length: usize },
    /// A file has come to its end.
    File {
        name: String,
        /// Of the whole file, in bytes.
        length: u64,
        /// CRC-32 of the whole file.
        checksum: u32,
    },
    /// All files have come to their ends.
    End { files: u32 },
    /// There will be no end: the process is not written down.
    GivenUp,
    /// Memory has gone ahead until here; now the processes are frozen.
    Frozen,
}

impl Frame {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut begin = |kind, name: &str| {
            bytes.push(kind);
            bytes.push(u8::try_from(name.len()).expect("an image has a short name"));
            bytes.extend_from_slice(name.as_bytes());
        };
        match self {
            Self::Chunk { name, length } => {
                begin(CHUNK_FRAME, name);
                let length = u32::try_from(*length).expect("a chunk is small");
                bytes.extend_from_slice(&length.to_be_bytes());
            }
            Self::File { name, length, checksum } => {
                begin(FILE_FRAME, name);
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(&checksum.to_be_bytes());
            }
            Self::End { files } => {
                begin(END_FRAME, "");
                bytes.extend_from_slice(&files.to_be_bytes());
            }
            Self::GivenUp => begin(GIVEN_UP_FRAME, ""),
            Self::Frozen => begin(FROZEN_FRAME, ""),
        }
        bytes
    }

    /// The next frame of `stream`.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, Error> {
        let kind = stream.read_u8().await.map_err(cut)?;
        let mut name = vec![0; stream.read_u8().await.map_err(cut)?.into()];
        stream.read_exact(&mut name).await.map_err(cut)?;
        match kind {
            CHUNK_FRAME => {
                let (name, length) = (image(name)?, stream.read_u32().await.map_err(cut)?);
                match usize::try_from(length) {
                    Ok(length) if length <= CHUNK => Ok(Self::Chunk { name, length }),
                    _ => Err(broken(format!("a piece of {name} has {length} bytes"))),
                }
            }
            FILE_FRAME => Ok(Self::File {
                name: image(name)?,
                length: stream.read_u64().await.map_err(cut)?,
                checksum: stream.read_u32().await.map_err(cut)?,
            }),
            END_FRAME | GIVEN_UP_FRAME | FROZEN_FRAME if !name.is_empty() => {
                Err(broken(format!("a frame of kind {kind} is of no file, and names one")))
            }
            END_FRAME => Ok(Self::End { files: stream.read_u32().await.map_err(cut)? }),
            GIVEN_UP_FRAME => Ok(Self::GivenUp),
            FROZEN_FRAME => Ok(Self::Frozen),
            _ => Err(broken(format!("there are no frames of kind {kind}"))),
        }
    }
}

/// Whether a file of this name may be written in a folder of images: it cannot be one
/// outside of it. A round's is in a folder there, of one digit.
pub(super) fn is_name(name: &str) -> bool {
    match name.split_once('/') {
        Some((folder, file)) => round(folder).is_some() && is_plain(file),
        None => is_plain(name),
    }
}

/// The number of the round that has a folder of this name.
pub(super) fn round(folder: &str) -> Option<usize> {
    let number = (1..=rounds::MOST).find(|number| number.to_string() == folder);
    const { assert!(rounds::MOST < 10, "their folders have names of one digit") };
    number
}

/// The round that an image of this name is of, if it is of one.
pub(super) fn round_of(name: &str) -> Option<usize> {
    round(name.split_once('/')?.0)
}

/// Whether an image of this name is memory, to which CRIU only ever appends.
pub(super) fn is_memory(name: &str) -> bool {
    let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
    file.starts_with("pages-")
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

fn image(name: Vec<u8>) -> Result<String, Error> {
    match String::from_utf8(name) {
        Ok(name) if is_name(&name) => Ok(name),
        Ok(name) => Err(broken(format!("no image has the name {name:?}"))),
        Err(name) => Err(broken(format!("no image has the name {:?}", name.as_bytes()))),
    }
}

/// The other side sent what it should not.
pub(super) fn broken(what: String) -> Error {
    Error::new(Kind::Failed, format!("the stream of images is broken: {what}"))
}

/// The connection failed.
pub(super) fn cut(error: std::io::Error) -> Error {
    Error::new(Kind::Failed, format!("the stream of images was cut: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::*;

    fn read(bytes: &mut &[u8]) -> Result<Frame, Error> {
        Builder::new_current_thread().build().unwrap().block_on(Frame::read(bytes))
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let name = || "([1-9]/)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,98}";
        prop_oneof![
            (name(), 0..=CHUNK).prop_map(|(name, length)| Frame::Chunk { name, length }),
            (name(), any::<u64>(), any::<u32>()).prop_map(|(name, length, checksum)| Frame::File {
                name,
                length,
                checksum
            }),
            any::<u32>().prop_map(|files| Frame::End { files }),
            Just(Frame::GivenUp),
            Just(Frame::Frozen),
        ]
    }

    #[test]
    fn that_all_is_frozen_is_said_by_a_frame_of_its_own() {
        let bytes = Frame::Frozen.encode();
        assert_eq!(bytes, [FROZEN_FRAME, 0]);
        assert_eq!(read(&mut &bytes[..]).unwrap(), Frame::Frozen);
        for kind in [END_FRAME, GIVEN_UP_FRAME, FROZEN_FRAME] {
            let error = read(&mut &[kind, 1, b'x', 0, 0, 0, 1][..]).unwrap_err().to_string();
            assert!(error.contains("is of no file, and names one"), "{kind}: {error}");
        }
    }

    #[test]
    fn there_are_folders_of_nine_rounds() {
        for number in 1..=9 {
            let name = format!("{number}/pages-1.img");
            assert_eq!((is_name(&name), round_of(&name)), (true, Some(number)), "{name}");
            assert!(is_memory(&name) && !is_memory(&format!("{number}/pagemap-1.img")));
        }
        assert_eq!(round_of("pages-1.img"), None);
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written(frame in frames(), more: Vec<u8>) {
            let bytes = [frame.encode(), more.clone()].concat();
            let mut rest = &bytes[..];
            prop_assert_eq!(read(&mut rest).unwrap(), frame);
            prop_assert_eq!(rest, &more[..]);
        }

        #[test]
        fn what_is_read_has_one_form_only(bytes in prop::collection::vec(0..8_u8, 0..40)) {
            let mut rest = &bytes[..];
            if let Ok(frame) = read(&mut rest) {
                prop_assert_eq!(frame.encode(), &bytes[..bytes.len() - rest.len()]);
            }
        }

        #[test]
        fn no_other_folder_is_a_rounds(folder in "[0-9a-z./+ ]{0,3}|.{0,3}", file in "[a-z]{1,8}") {
            let of_round = matches!(folder.as_bytes(), [b'1'..=b'9']);
            prop_assert_eq!(is_name(&format!("{folder}/{file}")), of_round, "{:?}", folder);
        }
    }
}
