//! Home's journal, of one move, by the daemon's API.

use std::time::Duration;

use hyper::Method;
use tokio::time::sleep;
use tracing::warn;

use crate::{
    api::{
        client::Client,
        moves::{AbortRequest, CommitRequest, DeliverReport, MoveView},
    },
    error::{Error, Kind},
    migrate::{
        carried::Carried,
        fate::{Arbiter, Patience, unless_committed},
        handover::Follows,
        machine::MoveState,
        record::Id,
    },
    node::service::Later,
};

/// How often is looked whether others have aborted a move.
const LOOK: Duration = Duration::from_secs(1);

/// A move there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Journal<'a> {
    pub(super) client: &'a Client,
    pub(super) id: Id,
}

impl Journal<'_> {
    pub(super) async fn show(&self) -> Result<MoveView, Error> {
        self.client.get(&format!("/v1/moves/{}", self.id)).await
    }

    /// Tells home that the process stays. If home does not hear it, it finds out by itself
    /// that nobody leads the move any more.
    pub(super) async fn abort(&self, why: &Error) {
        let request = AbortRequest { why: Some(why.what.clone()) };
        let _: Result<MoveView, Error> = self.call("abort", &request).await;
    }

    /// Waits until somebody else has aborted the move: the error that says so. A daemon
    /// that dies aborts it when it is started again.
    pub(super) async fn given_up(&self) -> Error {
        loop {
            sleep(LOOK).await;
            if let Ok(MoveView { state: MoveState::Aborted, why, .. }) = self.show().await {
                let why = why.unwrap_or_default();
                return Error::new(Kind::Failed, format!("home has given the move up: {why}"));
            }
        }
    }

    /// Has home keep how the process was carried over; the move with that.
    pub(super) async fn report(&self, carried: &Carried) -> Result<MoveView, Error> {
        self.call("report", carried).await
    }

    /// Tells home how far the memory is that follows the process.
    pub(super) async fn follows(&self, now: Follows) -> Result<(), Error> {
        self.call("follow", &now).await.map(drop)
    }

    /// Has packets held.
    pub(super) async fn park(&self) -> Result<(), Error> {
        self.call("park", &()).await.map(drop)
    }

    /// Commits the move; packets go on being held. Where the daemon dies meanwhile, waits for
    /// the next one, and hears from that what has become of it.
    pub(super) async fn commit(&self) -> Result<(), Error> {
        let error = match self.call("commit", &CommitRequest { hold: true }).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if error.kind == Kind::Unreachable {
            warn!(error = error.one_line(), "waiting for redirectd to say what became of the move");
        }
        match Patience::endless().ask(|| Box::pin(self.known())).await? {
            MoveState::Committed => Ok(()),
            _ => Err(error),
        }
    }

    /// Has home deliver what it holds, of a move that is committed: whether nothing had been
    /// before.
    pub(super) async fn deliver(&self) -> Result<bool, Error> {
        let path = format!("/v1/moves/{}/deliver", self.id);
        let report: DeliverReport = self.client.send_to(Method::POST, &path, &()).await?;
        Ok(report.first)
    }

    /// Waits until the move is decided, by whomever it is.
    pub(super) async fn decided(&self) -> Result<MoveState, Error> {
        let decided = |known: Option<MoveState>| known.filter(|state| state.is_decided());
        let ask = || -> Later<'_, _> { Box::pin(async { self.known().await.map(decided) }) };
        Patience::endless().ask(ask).await
    }

    /// How far the move is, if the daemon is there.
    async fn known(&self) -> Result<Option<MoveState>, Error> {
        match self.show().await {
            Ok(moved) => Ok(Some(moved.state)),
            Err(error) if error.kind == Kind::Unreachable => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn call(&self, what: &str, body: &impl serde::Serialize) -> Result<MoveView, Error> {
        let path = format!("/v1/moves/{}/{what}", self.id);
        self.client.send_to(Method::POST, &path, body).await
    }
}

/// The same for who is part of this program, and outlives the move.
#[derive(Debug)]
pub(super) struct OwnJournal {
    pub(super) client: Client,
    pub(super) id: Id,
}

impl OwnJournal {
    fn journal(&self) -> Journal<'_> {
        Journal { client: &self.client, id: self.id }
    }

    async fn abort(&self) -> Result<MoveState, Error> {
        let why = "the process could not leave, and was revived where it was".to_owned();
        match self.journal().call("abort", &AbortRequest { why: Some(why) }).await {
            Ok(moved) => Ok(moved.state),
            Err(error) => unless_committed(error, self.journal().show().await?.state),
        }
    }
}

impl Arbiter for OwnJournal {
    fn fate(&self) -> Later<'_, Result<MoveState, Error>> {
        Box::pin(async { Ok(self.journal().show().await?.state) })
    }

    fn settle(&self) -> Later<'_, Result<MoveState, Error>> {
        Box::pin(self.abort())
    }

    fn deliver(&self) -> Later<'_, Result<bool, Error>> {
        Box::pin(async { self.journal().deliver().await })
    }
}
