//! A connection to a node that is known, made by this one.

use std::{io, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    identity::Identity,
    members::Member,
    protocol::{self, Answer, Asked, Call, Hello, LARGEST, ReadError},
    service::Stream,
    socket,
    tls::{self, Purpose, Refused},
};
use crate::error::{Error, Kind};

/// How long the other side may take over a handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a node that is known, and knows this one. Calls follow one
/// another; for calls at the same time there can be several links.
#[derive(Debug)]
pub struct Link {
    member: Member,
    stream: Stream,
    /// An answer may still be under way that nobody waits for.
    out_of_step: bool,
}

impl Link {
    /// Connects to `member`.
    ///
    /// # Errors
    /// It is not reached, does not know this node, is not the one it was, or
    /// speaks another version.
    pub(super) async fn open(identity: &Identity, member: Member) -> Result<Self, Error> {
        let Some(address) = member.address else {
            let what = format!("{} only calls; where it listens is not known", member.name);
            return Err(Error::new(Kind::Failed, what)
                .cure("set `node: { listen: … }` there, and have it join again"));
        };
        let expected = member.fingerprint;
        let config = tls::client(identity, Arc::new(move |seen| seen == expected), Purpose::Link)?;
        let calling = async {
            let tcp = socket::connect(address).await?;
            let connector = TlsConnector::from(Arc::new(config));
            let mut stream = connector.connect(ServerName::from(address.ip()), tcp).await?;
            // It speaks first: so what it says of us is not lost, if it is no.
            let hello = greet(&mut stream).await?;
            Ok::<_, ReadError>((Stream::from(stream), hello))
        };
        let late = |_| ReadError::Io(io::ErrorKind::TimedOut.into());
        let connected = timeout(PATIENCE, calling).await.map_err(late).flatten();
        let (stream, hello) = connected.map_err(|why| unreached(&member, &why))?;
        hello.check()?;
        Ok(Self { member, stream, out_of_step: false })
    }

    /// The node at the other end.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Asks `service` for `name`, and waits for the answer, however long it takes.
    ///
    /// # Errors
    /// The connection breaks, the answer makes no sense, or the other node's error.
    pub async fn request<T: DeserializeOwned>(
        &mut self,
        service: &str,
        name: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let call = Call::Request(asked(service, name, body)?);
        let answer = self.call(&call).await?;
        self.read(answer)
    }

    /// Turns the connection into a stream that `service` takes for `purpose`, with
    /// what the service says to it.
    ///
    /// # Errors
    /// As for [`Link::request`].
    pub async fn open_stream<T: DeserializeOwned>(
        mut self,
        service: &str,
        purpose: &str,
        body: &impl Serialize,
    ) -> Result<(T, Stream), Error> {
        let call = Call::Stream(asked(service, purpose, body)?);
        let answer = self.call(&call).await?;
        Ok((self.read(answer)?, self.stream))
    }

    async fn call(&mut self, call: &Call) -> Result<Value, Error> {
        if self.out_of_step {
            let what = format!("an earlier call to {} was given up", self.member.name);
            return Err(Error::new(Kind::Failed, what));
        }
        self.out_of_step = true;
        protocol::write(&mut self.stream, call).await.map_err(|why| self.lost(&why.into()))?;
        let answer = protocol::read::<Answer<Value>>(&mut self.stream, LARGEST).await;
        let gone = || ReadError::Io(io::ErrorKind::UnexpectedEof.into());
        let answer = answer.and_then(|answer| answer.ok_or_else(gone));
        let answer = answer.map_err(|why| self.lost(&why))?;
        self.out_of_step = false;
        answer.into()
    }

    fn read<T: DeserializeOwned>(&self, answer: Value) -> Result<T, Error> {
        serde_json::from_value(answer).map_err(|why| self.lost(&ReadError::Form(why.to_string())))
    }

    fn lost(&self, why: &ReadError) -> Error {
        let name = &self.member.name;
        match why {
            ReadError::Io(_) => {
                Error::new(Kind::Failed, format!("the connection to {name} broke: {why}"))
                    .cure(format!("see whether redirectd runs on {name}, and its log"))
            }
            ReadError::Form(_) => Error::new(Kind::Failed, format!("{name}: {why}"))
                .cure("run the same release of redirectd on both nodes"),
        }
    }
}

fn asked(service: &str, name: &str, body: &impl Serialize) -> Result<Asked, Error> {
    let body = serde_json::to_value(body).map_err(|why| {
        Error::new(Kind::Failed, format!("`{name}` cannot be said to another node: {why}"))
    })?;
    Ok(Asked { service: service.to_owned(), name: name.to_owned(), body })
}

/// Hears the other side's hello, and says ours.
///
/// # Errors
/// The connection breaks, or it says something else.
pub(super) async fn greet(
    stream: &mut tokio_rustls::client::TlsStream<TcpStream>,
) -> Result<Hello, ReadError> {
    let hello = protocol::read::<Hello>(stream, protocol::LARGEST_OF_STRANGER).await?;
    let hello = hello.ok_or(ReadError::Io(io::ErrorKind::UnexpectedEof.into()))?;
    protocol::write(stream, &Hello::ours()).await?;
    Ok(hello)
}

fn unreached(member: &Member, why: &ReadError) -> Error {
    let name = &member.name;
    let failed = |what: String, cure: String| Error::new(Kind::Failed, what).cure(cure);
    let refused = if let ReadError::Io(error) = why { Refused::read(error) } else { None };
    match refused {
        Some(Refused::ByThem) => failed(
            format!("{name} does not know this node (any more), and refuses it"),
            format!("have the two join again: `redirect node invite` on {name}"),
        ),
        Some(Refused::ByUs) => failed(
            format!("who answers at {name}'s address has another key than {name} had"),
            format!(
                "if {name} was set up anew, `redirect node remove {name}` and have the two join \
                 again; if not, somebody is in its place"
            ),
        ),
        Some(Refused::Purpose) | None => {
            let at = member.address.map(|address| format!(" on {address}")).unwrap_or_default();
            failed(
                format!("{name} does not answer{at}: {why}"),
                format!(
                    "see that redirectd runs on {name} with `node: {{ listen: … }}`, and that no \
                     firewall is between"
                ),
            )
        }
    }
}
