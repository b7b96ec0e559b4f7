//! What this node's user tells it: who it is, and whom to know.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use humantime::format_rfc3339_seconds;
use tracing::info;

use super::{
    Nodes, bind,
    identity::{Identity, machine_name},
    join, lock,
    members::Member,
    token::Token,
};
use crate::{
    api::nodes::{InitRequest, Invitation, InviteRequest, JoinRequest},
    error::{Error, Kind},
};

/// The longest an invitation may be open.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Nodes {
    /// Makes this machine a node, or changes what it was told; whether it is new.
    ///
    /// # Errors
    /// It cannot have that name, or not listen there.
    pub async fn init(&self, request: &InitRequest) -> Result<bool, Error> {
        let _changing = self.inner.changing.lock().await;
        self.become_node(request)
    }

    fn become_node(&self, request: &InitRequest) -> Result<bool, Error> {
        let before = self.identity();
        let identity = match (&before, &request.name) {
            (None, Some(name)) => Identity::make(name)?,
            (None, None) => Identity::make(&machine_name()?)?,
            (Some(identity), Some(name)) if name != identity.name() => {
                self.check_unknown(identity)?;
                identity.renamed(name)?
            }
            (Some(identity), _) => identity.clone(),
        };
        let identity = match request.listen {
            Some(listen) => identity.listening(self.check_listen(listen)?),
            None => identity,
        };
        let address = match self.address() {
            None => self.inner.configured.or(identity.listen()),
            Some(now) => request.listen.filter(|listen| *listen != now),
        };
        // What can fail comes first; then all is done.
        let listener = address.map(bind).transpose()?;
        identity.store(&self.inner.folder)?;
        *lock(&self.inner.identity) = Some(identity.clone());
        if let Some(listener) = listener {
            self.listen(&identity, listener)?;
        }
        if before.is_none() {
            info!(node = identity.name(), fingerprint = %identity.fingerprint(), "is a node now");
        }
        Ok(before.is_none())
    }

    /// Its name is what others know it by.
    fn check_unknown(&self, identity: &Identity) -> Result<(), Error> {
        if self.count() == 0 {
            return Ok(());
        }
        let what = format!("this node is called `{}`, and known to others so", identity.name());
        Err(Error::new(Kind::Conflict, what)
            .cure("remove the other nodes first, here and there, and join again after"))
    }

    fn check_listen(&self, listen: SocketAddr) -> Result<SocketAddr, Error> {
        if listen.port() == 0 {
            let what = format!("no node can call {listen}: there is no port 0");
            return Err(Error::new(Kind::Usage, what).cure("give a port, such as 9311"));
        }
        match self.inner.configured {
            Some(configured) if configured != listen => {
                let what = format!("the configuration has this node listen on {configured}");
                Err(Error::new(Kind::Conflict, what).cure(
                    "leave --listen out, or change `node: { listen: … }` and restart redirectd",
                ))
            }
            _ => Ok(listen),
        }
    }

    /// Invites a node.
    ///
    /// # Errors
    /// This node does not listen, or not on an address that could be called.
    pub fn invite(&self, request: &InviteRequest) -> Result<Invitation, Error> {
        let usage = |what: &str, cure: &str| Err(Error::new(Kind::Usage, what).cure(cure));
        let identity = self.own()?;
        let Some(listens) = self.address() else {
            let what = "this node does not listen, so that none can join it";
            return Err(Error::new(Kind::Failed, what)
                .cure("`redirect node init --listen ADDRESS:PORT`, or invite from the other one"));
        };
        let address = request.address.unwrap_or(listens.ip());
        if address.is_unspecified() {
            return usage(
                &format!("this node listens on {listens}, which is no address to call"),
                "say which of this machine's addresses the other one can reach, with --address",
            );
        }
        let time = Duration::try_from_secs_f64(request.expires_seconds).unwrap_or_default();
        if time.is_zero() || time > LONGEST {
            return usage("an invitation is open for up to a day", "give a time such as 15m");
        }
        let token = Token {
            address: SocketAddr::new(address, listens.port()),
            fingerprint: identity.fingerprint(),
            secret: self.inner.invitations.open(time)?,
        };
        let expires = format_rfc3339_seconds(SystemTime::now() + time).to_string();
        Ok(Invitation { token: token.to_string(), expires })
    }

    /// Joins the node that a token is of; this machine becomes a node if it is
    /// none.
    ///
    /// # Errors
    /// The token is damaged, or the node cannot be joined.
    pub async fn join(&self, request: &JoinRequest) -> Result<Member, Error> {
        let token: Token = request.token.parse()?;
        let _changing = self.inner.changing.lock().await;
        self.become_node(&request.init)?;
        let identity = self.own()?;
        if token.fingerprint == identity.fingerprint() {
            let what = "this is an invitation of this node itself";
            return Err(Error::new(Kind::Usage, what)
                .cure("give it to `redirect node join` on the other machine"));
        }
        let member = join::join(&identity, self.address(), &token).await?;
        let name = &member.name;
        self.inner.members.take_in(member.clone()).map_err(|error| {
            let what = format!("{name} knows this node now, but is not known here: {}", error.what);
            Error { what, ..error }
        })?;
        info!(node = name, "joined");
        Ok(member)
    }

    /// Forgets the node called `name`: what it has open is cut, and it is refused
    /// from now on.
    ///
    /// # Errors
    /// There is none, or what is known cannot be written.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().await;
        let member = self.inner.members.forget(name)?;
        self.inner.contacts.forget(member.fingerprint);
        info!(node = name, "removed");
        Ok(())
    }
}
