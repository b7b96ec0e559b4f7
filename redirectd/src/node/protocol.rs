//! What nodes say to each other: frames of a length (32 bits, big-endian) and so
//! many bytes of JSON.
//!
//! The node that was called speaks first, with [`Hello`]; the other answers with
//! its own, and goes on with a [`Call`]. Each call gets one [`Answer`], then the
//! next may come. A call for a stream that is answered well ends the frames: from
//! then on the connection carries the stream's bytes alone. The form of a frame,
//! of [`Hello`] and of a refusal stays the same in all versions.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::hex;
use crate::error::{Error, Kind};

/// The version of what nodes say to each other.
pub(super) const VERSION: u32 = 1;

/// The largest frame taken from a node that is known, in bytes.
pub(super) const LARGEST: u32 = 16 << 20;

/// The largest frame taken from anybody else, in bytes.
pub(super) const LARGEST_OF_STRANGER: u32 = 4 << 10;

/// The first frame of either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// [`VERSION`].
    pub(super) version: u32,
    /// The program's version.
    pub(super) release: String,
}

/// What a node that is known asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "lowercase")]
pub(super) enum Call {
    /// An answer.
    Request(Asked),
    /// A stream of bytes in both directions, on this connection.
    Stream(Asked),
}

/// Of whom, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// The service's name.
    pub(super) service: String,
    /// The request's name, or the stream's purpose.
    pub(super) name: String,
    /// What the service reads.
    #[serde(default)]
    pub(super) body: Value,
}

/// What comes of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer<T> {
    /// What was asked for.
    Done(T),
    /// Why not.
    Refused(Error),
}

/// What a node says that was invited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Joining {
    /// What it wants to be called.
    pub(super) name: String,
    /// The address it listens on, if it listens on one in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<std::net::IpAddr>,
    /// The port it listens on, if it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    /// That it knows the secret.
    pub(super) proof: Proof,
}

/// What it is told when it was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// What the inviting node is called.
    pub(super) name: String,
    /// That it knows the secret too.
    pub(super) proof: Proof,
}

/// Proof of knowing an invitation's secret, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof(String);

impl From<Vec<u8>> for Proof {
    fn from(bytes: Vec<u8>) -> Self {
        Self(hex::encode(&bytes))
    }
}

impl Proof {
    /// Its bytes; none if it is none.
    pub(super) fn bytes(&self) -> Vec<u8> {
        hex::decode(&self.0).unwrap_or_default()
    }
}

impl Hello {
    /// This program's.
    pub(super) fn ours() -> Self {
        Self { version: VERSION, release: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Whether both speak the same version.
    ///
    /// # Errors
    /// They do not.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Self { version, release } = self;
        if *version == VERSION {
            return Ok(());
        }
        let (older, ours) = (*version < VERSION, env!("CARGO_PKG_VERSION"));
        let what = format!(
            "the other node (redirectd {release}) speaks version {version} between nodes, \
             redirectd {ours} speaks version {VERSION}"
        );
        let which = if older { "the other node" } else { "this node" };
        Err(Error::new(Kind::Failed, what).cure(format!("install the newer release on {which}")))
    }
}

impl<T> From<Result<T, Error>> for Answer<T> {
    fn from(result: Result<T, Error>) -> Self {
        match result {
            Ok(done) => Self::Done(done),
            Err(error) => Self::Refused(error),
        }
    }
}

impl<T> From<Answer<T>> for Result<T, Error> {
    fn from(answer: Answer<T>) -> Self {
        match answer {
            Answer::Done(done) => Ok(done),
            Answer::Refused(error) => Err(error),
        }
    }
}

/// The next frame of at most `largest` bytes; none if the other side has nothing
/// more to say.
///
/// # Errors
/// The connection breaks, or the frame is too large or makes no sense.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    largest: u32,
) -> Result<Option<T>, ReadError> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        match from.read(&mut length[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(ReadError::Io(std::io::ErrorKind::UnexpectedEof.into())),
            more => filled += more,
        }
    }
    let length = u32::from_be_bytes(length);
    if length > largest {
        return Err(ReadError::Form(format!("a frame of {length} bytes; {largest} are taken")));
    }
    // Memory is taken as bytes arrive, not as they are promised.
    let mut frame = Vec::new();
    let read = from.take(length.into()).read_to_end(&mut frame).await?;
    if read < length as usize {
        return Err(ReadError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&frame).map(Some).map_err(|why| ReadError::Form(why.to_string()))
}

/// Sends one frame.
///
/// # Errors
/// The connection breaks, or the frame would be larger than is taken.
pub(super) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> std::io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).ok().filter(|length| *length <= LARGEST);
    let length = length.ok_or_else(|| std::io::Error::other("a message is too long to be sent"))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    to.write_all(&frame).await?;
    to.flush().await
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What came is no frame, or not the one expected.
    #[error("what it says makes no sense: {0}")]
    Form(String),
}

#[cfg(test)]
mod tests;
