//! Home's journal, of one move, by the daemon's API.

use std::time::Duration;

use hyper::Method;
use tracing::warn;

use crate::{
    api::{
        client::Client,
        moves::{AbortRequest, MoveView},
    },
    error::{Error, Kind},
    migrate::{
        carried::Carried,
        fate::{Arbiter, Patience},
        handover::Follows,
        machine::MoveState,
        record::Id,
    },
    node::service::Later,
};

/// A move there.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    pub(super) client: &'a Client,
    pub(super) id: Id,
}

impl Journal<'_> {
    pub(super) async fn show(&self) -> Result<MoveView, Error> {
        self.client.get(&format!("/v1/moves/{}", self.id)).await
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

    /// Commits the move; tells how long the flip took, if home does. Where the daemon
    /// dies meanwhile, waits for the next one, and hears from that what has become of
    /// it.
    pub(super) async fn commit(&self) -> Result<Option<Duration>, Error> {
        let error = match self.call("commit", &()).await {
            Ok(moved) => {
                return Ok(moved.flip_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()));
            }
            Err(error) => error,
        };
        if error.kind == Kind::Unreachable {
            warn!(error = error.one_line(), "waiting for redirectd to say what became of the move");
        }
        match Patience::endless().ask(|| Box::pin(self.known())).await? {
            MoveState::Committed => Ok(None),
            _ => Err(error),
        }
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
            Err(error) => match self.journal().show().await?.state {
                MoveState::Committed => Ok(MoveState::Committed),
                _ => Err(error),
            },
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
}
