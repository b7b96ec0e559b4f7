//! What home and the host say to each other about pages. Numbers are in the order
//! of the network.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{PIECE, Range};
use crate::error::{Error, Kind};

/// What both begin with: a name and a version.
pub(super) const PREAMBLE: [u8; 8] = *b"rdpages\x01";

const TOTAL: u8 = 1;
const PAGES: u8 = 2;
const END: u8 = 3;
const WANT: u8 = 4;
const OVER: u8 = 5;
const GOT: u8 = 6;

/// One frame, without the bytes of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// Home: so many bytes have been left behind.
    Total(u64),
    /// Home: these pages, whose bytes follow.
    Pages(Range),
    /// Home: all have gone.
    End,
    /// The host: these before all others.
    Want(Range),
    /// The host: so many bytes more have come.
    Got(u64),
    /// The host: all have come, or no more are needed.
    Over,
}

impl Frame {
    pub(super) fn encode(self) -> Vec<u8> {
        let range = |kind: u8, range: Range| {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(&range.pid.to_be_bytes());
            bytes.extend_from_slice(&range.address.to_be_bytes());
            bytes.extend_from_slice(&range.pages.to_be_bytes());
            bytes
        };
        match self {
            Self::Total(bytes) => [&[TOTAL][..], &bytes.to_be_bytes()].concat(),
            Self::Pages(pages) => range(PAGES, pages),
            Self::End => vec![END],
            Self::Want(pages) => range(WANT, pages),
            Self::Got(bytes) => [&[GOT][..], &bytes.to_be_bytes()].concat(),
            Self::Over => vec![OVER],
        }
    }

    /// The next frame of `stream`.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, Error> {
        match stream.read_u8().await.map_err(cut)? {
            TOTAL => Ok(Self::Total(stream.read_u64().await.map_err(cut)?)),
            PAGES => match range(stream).await? {
                pages if (1..=PIECE).contains(&pages.pages) => Ok(Self::Pages(pages)),
                pages => Err(broken(&format!("a piece has {} pages", pages.pages))),
            },
            END => Ok(Self::End),
            WANT => Ok(Self::Want(range(stream).await?)),
            GOT => Ok(Self::Got(stream.read_u64().await.map_err(cut)?)),
            OVER => Ok(Self::Over),
            kind => Err(broken(&format!("there are no frames of kind {kind}"))),
        }
    }
}

async fn range(stream: &mut (impl AsyncRead + Unpin)) -> Result<Range, Error> {
    Ok(Range {
        pid: stream.read_u32().await.map_err(cut)?,
        address: stream.read_u64().await.map_err(cut)?,
        pages: stream.read_u64().await.map_err(cut)?,
    })
}

/// Reads what the other side begins with.
pub(super) async fn preamble(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Error> {
    let mut preamble = [0; PREAMBLE.len()];
    stream.read_exact(&mut preamble).await.map_err(cut)?;
    if preamble == PREAMBLE {
        return Ok(());
    }
    Err(broken("it does not begin as one of this version does"))
}

/// The other side sent what it should not.
pub(super) fn broken(what: &str) -> Error {
    Error::new(Kind::Failed, format!("the stream of pages is broken: {what}"))
}

/// The connection failed.
pub(super) fn cut(error: std::io::Error) -> Error {
    Error::new(Kind::Failed, format!("the stream of pages was cut: {error}"))
}
