//! Takes connections of other nodes: finds out in the handshake who calls and what
//! for, refuses strangers, and serves those that are known.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ServerConfig, server::Acceptor};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tracing::{debug, info, warn};

use super::{
    Nodes,
    identity::Identity,
    join,
    members::Member,
    protocol::{self, Answer, Call, Hello, LARGEST, LARGEST_OF_STRANGER, ReadError},
    refusals::Why,
    service::{Services, Stream},
    socket, stopped,
    tls::{self, Purpose, Refused},
};
use crate::error::Error;

/// How long a caller may take until it is clear who it is and what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many callers may be in that state.
const STRANGERS: usize = 64;

/// How long to wait when no connection can be taken, for want of memory, say.
const RECOVERY: Duration = Duration::from_millis(100);

/// The first byte of all that begins with TLS (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// A refusal: why, and what else is known.
type Refusal = (Why, String);

/// What the listener needs for each connection.
struct Listener {
    nodes: Nodes,
    services: Services,
    link: Arc<ServerConfig>,
    join: Arc<ServerConfig>,
    strangers: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

/// Takes connections on `listener` until `stopping` or aborted; those that were
/// taken go on when it is aborted.
///
/// # Errors
/// The identity cannot be used.
pub(super) fn start(
    listener: TcpListener,
    nodes: Nodes,
    identity: &Identity,
    services: Services,
    stopping: watch::Receiver<bool>,
) -> Result<AbortHandle, Error> {
    let known = nodes.clone();
    let known = move |seen| known.recognise(seen).is_some();
    let this = Arc::new(Listener {
        link: Arc::new(tls::server(identity, Arc::new(known), Purpose::Link)?),
        // Whoever was invited is not known yet; what it must know is asked then.
        join: Arc::new(tls::server(identity, Arc::new(|_| true), Purpose::Join)?),
        nodes,
        services,
        strangers: Arc::new(Semaphore::new(STRANGERS)),
        stopping,
    });
    if let Ok(address) = listener.local_addr() {
        info!(%address, node = identity.name(), "nodes may call");
    }
    Ok(tokio::spawn(this.accept(listener)).abort_handle())
}

impl Listener {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stopping) => return,
            };
            match accepted {
                Ok((tcp, from)) => self.clone().take(tcp, from),
                Err(error) => {
                    warn!(%error, "no connection of a node can be taken");
                    sleep(RECOVERY).await;
                }
            }
        }
    }

    fn take(self: Arc<Self>, tcp: TcpStream, from: SocketAddr) {
        let Ok(permit) = self.strangers.clone().try_acquire_owned() else {
            self.nodes.refuse(from, Why::Busy, "");
            return;
        };
        tokio::spawn(async move {
            let mut stopping = self.stopping.clone();
            let met = tokio::select! {
                met = timeout(PATIENCE, self.meet(tcp, from)) => met,
                () = stopped(&mut stopping) => return,
            };
            drop(permit);
            match met {
                Ok(Ok(Some((stream, member)))) => self.attend(stream, member, stopping).await,
                Ok(Ok(None)) => {}
                Ok(Err((why, detail))) => self.nodes.refuse(from, why, &detail),
                Err(_) => self.nodes.refuse(from, Why::Slow, ""),
            }
        });
    }

    /// Finds out who calls; it is served here if it only wants to join.
    async fn meet(
        &self,
        tcp: TcpStream,
        from: SocketAddr,
    ) -> Result<Option<(TlsStream<TcpStream>, Member)>, Refusal> {
        let broken = |error: io::Error| refusal(&error);
        socket::watch(&tcp).map_err(broken)?;
        let mut first = [0];
        // Who does not speak TLS is not even told that we do.
        if tcp.peek(&mut first).await.map_err(broken)? == 0 {
            return Ok(None);
        }
        if first[0] != HANDSHAKE {
            return Err((Why::NotTls, format!("it begins with the byte {:#04x}", first[0])));
        }
        let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await.map_err(broken)?;
        let wants = |purpose: Purpose| {
            let mut offered = hello.client_hello().alpn().into_iter().flatten();
            offered.any(|protocol| protocol == purpose.protocol())
        };
        let joins = wants(Purpose::Join);
        let uninvited = joins && !self.nodes.invites();
        // The handshake of the uninvited ends with: no such protocol.
        let config = if joins && !uninvited { &self.join } else { &self.link };
        let stream = hello.into_stream(config.clone()).await.map_err(|error| {
            if uninvited { (Why::Uninvited, String::new()) } else { refusal(&error) }
        })?;
        if joins {
            join::invite(&self.nodes, stream, from).await.map(|()| None)
        } else {
            self.greet(stream).await.map(Some)
        }
    }

    /// Says and hears hello, after the handshake with a node that is known.
    async fn greet(
        &self,
        mut stream: TlsStream<TcpStream>,
    ) -> Result<(TlsStream<TcpStream>, Member), Refusal> {
        greet(&mut stream).await?;
        let seen = tls::other_side(stream.get_ref().1);
        match seen.and_then(|seen| self.nodes.recognise(seen)) {
            Some(member) => Ok((stream, member)),
            // It was removed a moment ago.
            None => Err((Why::Stranger, String::new())),
        }
    }

    /// Serves a node for as long as it is known, and the daemon runs.
    async fn attend(
        &self,
        stream: TlsStream<TcpStream>,
        member: Member,
        mut stopping: watch::Receiver<bool>,
    ) {
        self.nodes.heard(&member);
        let node = member.name.clone();
        tokio::select! {
            done = self.serve(stream.into(), &member) => match done {
                Ok(()) => debug!(node, "has said all"),
                Err(error) => debug!(node, %error, "the connection broke"),
            },
            () = self.nodes.forgotten(&member) => {
                info!(node, "is not known any more; its connection is cut");
            }
            () = stopped(&mut stopping) => {}
        }
    }

    async fn serve(&self, mut stream: Stream, member: &Member) -> Result<(), ReadError> {
        while let Some(call) = protocol::read::<Call>(&mut stream, LARGEST).await? {
            self.nodes.heard(member);
            match call {
                Call::Request(asked) => {
                    let answer = match self.services.named(&asked.service) {
                        Ok(service) => service.request(member, &asked.name, asked.body).await,
                        Err(error) => Err(error),
                    };
                    protocol::write(&mut stream, &Answer::from(answer)).await?;
                }
                Call::Stream(asked) => {
                    let taken = match self.services.named(&asked.service) {
                        Ok(service) => service.stream(member, &asked.name, asked.body).await,
                        Err(error) => Err(error),
                    };
                    match taken {
                        Ok((answer, taker)) => {
                            protocol::write(&mut stream, &Answer::Done(answer)).await?;
                            taker(stream).await;
                            return Ok(());
                        }
                        Err(error) => {
                            let refused = Answer::<Value>::Refused(error);
                            protocol::write(&mut stream, &refused).await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Says hello, and hears the other side's, of a version that is spoken here.
///
/// # Errors
/// It is another one, which the other side is told, or makes no sense.
pub(super) async fn greet(stream: &mut TlsStream<TcpStream>) -> Result<(), Refusal> {
    protocol::write(stream, &Hello::ours()).await.map_err(|error| refusal(&error))?;
    let hello = protocol::read::<Hello>(stream, LARGEST_OF_STRANGER).await.map_err(nonsense)?;
    let hello = hello.ok_or((Why::Nonsense, "it said nothing".to_owned()))?;
    if let Err(error) = hello.check() {
        let detail = error.what.clone();
        let _ = protocol::write(stream, &Answer::<Value>::Refused(error)).await;
        return Err((Why::Nonsense, detail));
    }
    Ok(())
}

/// Why `error` ended a handshake.
pub(super) fn refusal(error: &io::Error) -> Refusal {
    let why = match Refused::read(error) {
        Some(Refused::ByUs) => Why::Stranger,
        Some(Refused::ByThem | Refused::Purpose) | None => Why::NotTls,
    };
    (why, error.to_string())
}

/// Why a frame was not read.
pub(super) fn nonsense(error: ReadError) -> Refusal {
    (Why::Nonsense, error.to_string())
}
