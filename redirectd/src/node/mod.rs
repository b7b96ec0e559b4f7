//! This machine as one of several nodes: who it is, whom it knows, and how they
//! talk.
//!
//! Nodes talk over TLS 1.3, each recognised by its certificate's fingerprint
//! ([`identity`], `tls`). They come to know each other in pairs, by a token that
//! one prints and the other is given (`token`, `invite`, `join`); there is no
//! authority, and knowing B and C does not make B know C. A node that is known
//! ([`members`]) may ask whatever the services registered here answer
//! ([`service`]); all others are refused in the handshake and counted
//! (`refusals`). `listener` takes connections, [`link`] makes them; both speak
//! `protocol`.

pub mod abilities;
mod contacts;
pub mod fingerprint;
mod hex;
pub mod identity;
mod invite;
mod join;
pub mod link;
mod listener;
pub mod members;
mod protocol;
mod refusals;
pub mod service;
mod setup;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod token;
#[cfg(any(test, fuzzing))]
pub mod untrusted;
mod views;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Mutex as AsyncMutex, watch},
    task::AbortHandle,
};

pub use self::refusals::Why;
use self::{
    abilities::Describe,
    contacts::Contacts,
    fingerprint::Fingerprint,
    identity::Identity,
    invite::Invitations,
    link::Link,
    members::{Member, Members},
    protocol::{ReadError, Welcome},
    refusals::Refusals,
    service::Services,
    token::Secret,
};
use crate::error::{Error, Kind};

/// How often nodes that are known are called, so that it is known since when one
/// does not answer.
const ROUND: Duration = Duration::from_secs(30);

/// The nodes, this one included. Clones are the same.
#[derive(Clone)]
pub struct Nodes {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    /// Where the configuration says to listen.
    configured: Option<SocketAddr>,
    identity: Mutex<Option<Identity>>,
    members: Members,
    invitations: Invitations,
    contacts: Contacts,
    refusals: Refusals,
    listening: Mutex<Option<Listening>>,
    /// One change of identity or membership, by this node's user, at a time.
    changing: AsyncMutex<()>,
    services: Services,
    stopping: watch::Receiver<bool>,
}

/// Where connections are taken.
#[derive(Debug)]
struct Listening {
    address: SocketAddr,
    accepting: AbortHandle,
}

/// The nodes as the last daemon left them, before any is served.
pub struct Opened {
    folder: PathBuf,
    configured: Option<SocketAddr>,
    identity: Option<Identity>,
    members: Members,
    listener: Option<TcpListener>,
}

impl Opened {
    /// Those known in `state_dir`. If this machine is a node, it listens on
    /// `configured`, or where its user said; nobody is answered yet.
    ///
    /// # Errors
    /// What is kept cannot be read, or nothing can listen there.
    pub fn read(state_dir: &Path, configured: Option<SocketAddr>) -> Result<Self, Error> {
        let folder = state_dir.join("node");
        let identity = Identity::load(&folder)?;
        let members = Members::load(&folder)?;
        let listen = identity.as_ref().and_then(|identity| configured.or(identity.listen()));
        let listener = listen.map(bind).transpose()?;
        Ok(Self { folder, configured, identity, members, listener })
    }

    /// Answers those that are known, with `services`, until `stopping`.
    ///
    /// # Errors
    /// The identity cannot be used.
    pub fn serve(
        self,
        services: Services,
        stopping: watch::Receiver<bool>,
    ) -> Result<Nodes, Error> {
        let Self { folder, configured, identity, members, listener } = self;
        let nodes = Nodes {
            inner: Arc::new(Inner {
                folder,
                configured,
                identity: Mutex::new(identity),
                members,
                invitations: Invitations::default(),
                contacts: Contacts::default(),
                refusals: Refusals::default(),
                listening: Mutex::default(),
                changing: AsyncMutex::default(),
                services: services.with(Describe),
                stopping,
            }),
        };
        if let (Some(identity), Some(listener)) = (nodes.identity(), listener) {
            nodes.listen(&identity, listener)?;
        }
        tokio::spawn(nodes.clone().call_round());
        Ok(nodes)
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("folder", &self.inner.folder).finish_non_exhaustive()
    }
}

impl Nodes {
    /// A connection to the node called `name`.
    ///
    /// # Errors
    /// It is not known, not reached, or refuses.
    pub async fn connect(&self, name: &str) -> Result<Link, Error> {
        let member = self.inner.members.named(name)?;
        Link::open(&self.own()?, member).await
    }

    /// A connection to the node called `name`, made beside the daemon by another
    /// program that may read its key in `state_dir`.
    ///
    /// # Errors
    /// It may not; or as for [`Nodes::connect`].
    pub async fn connect_beside(state_dir: &Path, name: &str) -> Result<Link, Error> {
        let folder = state_dir.join("node");
        let identity = Identity::load(&folder)?.ok_or_else(no_node)?;
        Link::open(&identity, Members::load(&folder)?.named(name)?).await
    }

    /// The node called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn member(&self, name: &str) -> Result<Member, Error> {
        self.inner.members.named(name)
    }

    /// How many nodes are known.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.members.all().len()
    }

    /// How many callers were refused since the start, and why.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<Why, u64> {
        self.inner.refusals.counts()
    }

    /// Who this node is, if it has been told.
    fn identity(&self) -> Option<Identity> {
        lock(&self.inner.identity).clone()
    }

    /// Who this node is.
    ///
    /// # Errors
    /// It has not been told.
    fn own(&self) -> Result<Identity, Error> {
        self.identity().ok_or_else(no_node)
    }

    /// Where this node listens.
    fn address(&self) -> Option<SocketAddr> {
        lock(&self.inner.listening).as_ref().map(|listening| listening.address)
    }

    /// Takes connections on `listener` from now on, and no more where it was
    /// before.
    fn listen(&self, identity: &Identity, listener: TcpListener) -> Result<(), Error> {
        let lost = |why| Error::new(Kind::Failed, format!("cannot listen for nodes: {why}"));
        let address = listener.local_addr().map_err(lost)?;
        let (services, stopping) = (self.inner.services.clone(), self.inner.stopping.clone());
        let accepting = listener::start(listener, self.clone(), identity, services, stopping)?;
        let before = lock(&self.inner.listening).replace(Listening { address, accepting });
        if let Some(before) = before {
            before.accepting.abort();
        }
        Ok(())
    }

    fn recognise(&self, fingerprint: Fingerprint) -> Option<Member> {
        self.inner.members.recognise(fingerprint)
    }

    fn heard(&self, member: &Member) {
        self.inner.contacts.heard(member.fingerprint);
    }

    async fn forgotten(&self, member: &Member) {
        self.inner.members.forgotten(member.fingerprint).await;
    }

    fn refuse(&self, from: SocketAddr, why: Why, detail: &str) {
        self.inner.refusals.count(from, why, &detail);
    }

    /// Whether an invitation is open.
    fn invites(&self) -> bool {
        self.inner.invitations.any()
    }

    /// Takes in the node that `member` makes, by the invitation whose secret
    /// `proves`; it is given that secret and this node's name.
    fn redeem(
        &self,
        proves: impl Fn(&Secret) -> bool,
        member: impl FnOnce(&Secret, &str) -> Result<(Member, Welcome), Error>,
    ) -> Result<Welcome, Error> {
        let identity = self.own()?;
        self.inner.invitations.redeem(proves, |secret| {
            let (member, welcome) = member(secret, identity.name())?;
            let name = member.name.clone();
            self.inner.members.take_in(member)?;
            tracing::info!(node = name, "has joined");
            Ok(welcome)
        })
    }
}

/// Listens for nodes on `address`.
fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    socket::listen(address).map_err(|why| {
        Error::new(Kind::Failed, format!("cannot listen for nodes on {address}: {why}")).cure(
            "name an address of this machine and a port that is free, under `node: { listen: … }` \
             or by `redirect node init --listen`",
        )
    })
}

fn no_node() -> Error {
    Error::new(Kind::Failed, "this machine is not a node yet")
        .cure("`redirect node init --listen ADDRESS:PORT` makes it one")
}

/// Says `what` over a stream, for the other side to [`hear`].
///
/// # Errors
/// The stream is cut, or it is too long.
pub(crate) async fn say(
    stream: &mut (impl AsyncWrite + Unpin),
    what: &impl Serialize,
) -> Result<(), Error> {
    protocol::write(stream, what).await.map_err(|why| cut(&why.into()))
}

/// Hears what the other side [`say`]s over a stream.
///
/// # Errors
/// The stream is cut, or what comes makes no sense.
pub(crate) async fn hear<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, Error> {
    let heard = protocol::read(stream, protocol::LARGEST).await.map_err(|why| cut(&why))?;
    heard.ok_or_else(|| cut(&ReadError::Io(std::io::ErrorKind::UnexpectedEof.into())))
}

fn cut(why: &ReadError) -> Error {
    Error::new(Kind::Failed, format!("the connection of the two nodes broke: {why}"))
        .cure("see whether redirectd runs on the other node, and its log")
}

/// Waits until the daemon stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Without its sender it stops as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
