//! The ways to the journal of a process's home: this daemon's, or another node's.

use std::{fmt, path::PathBuf};

use serde::de::DeserializeOwned;

use super::{
    fate::{Arbiter, unless_committed},
    handover::{DELIVER, FATE, SERVICE, SETTLE},
    machine::MoveState,
    record::Id,
};
use crate::{
    daemon::{Daemon, Deliver, WeakHandle},
    error::Error,
    node::{Nodes, service::Later},
};

/// Why a move is aborted by the source of a process.
const SETTLED: &str = "the process could not leave, and runs where it was";

/// A move in this daemon's journal.
pub struct Own {
    /// The daemon.
    pub daemon: WeakHandle,
    /// The move.
    pub id: Id,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Own {
    /// How far the move is.
    ///
    /// # Errors
    /// There is none, or the daemon stops.
    pub async fn state(&self) -> Result<MoveState, Error> {
        let id = self.id;
        self.daemon.call(move |daemon| Ok(daemon.show_move(id)?.state)).await
    }

    /// Aborts the move, unless it is committed.
    ///
    /// # Errors
    /// It cannot be.
    pub async fn abort(&self) -> Result<MoveState, Error> {
        let id = self.id;
        let settle = move |daemon: &mut Daemon| match daemon.abort_move(id, SETTLED) {
            Ok(moved) => Ok(moved.state),
            Err(error) => unless_committed(error, daemon.show_move(id)?.state),
        };
        self.daemon.call(settle).await
    }

    /// Delivers what is held for the process, if the move is committed: whether nothing had
    /// come to the new host before.
    ///
    /// # Errors
    /// It is not committed, or the daemon stops.
    pub async fn deliver(&self) -> Result<bool, Error> {
        let id = self.id;
        let deliver = move |daemon: &mut Daemon| {
            let first = daemon.deliver_move(id);
            daemon.settle_moves();
            first
        };
        self.daemon.call(deliver).await
    }

    /// Commits the move, if it is parked still; packets are held until the process stands.
    ///
    /// # Errors
    /// It is decided, or cannot be.
    pub async fn commit(&self) -> Result<(), Error> {
        let id = self.id;
        let commit = move |daemon: &mut Daemon| daemon.commit_move(id, Deliver::WhenTold).map(drop);
        self.daemon.call(commit).await
    }
}

impl Arbiter for Own {
    fn fate(&self) -> Later<'_, Result<MoveState, Error>> {
        Box::pin(self.state())
    }

    fn settle(&self) -> Later<'_, Result<MoveState, Error>> {
        Box::pin(self.abort())
    }

    fn deliver(&self) -> Later<'_, Result<bool, Error>> {
        Box::pin(Own::deliver(self))
    }
}

/// A move in the journal of the node called `name`.
#[derive(Debug)]
pub struct Remote {
    /// Where this node's key is.
    pub state_dir: PathBuf,
    /// The node.
    pub name: String,
    /// The move.
    pub id: Id,
}

impl Remote {
    async fn ask<T: DeserializeOwned>(&self, what: &str) -> Result<T, Error> {
        let mut link = Nodes::connect_beside(&self.state_dir, &self.name).await?;
        link.request(SERVICE, what, &self.id).await
    }
}

impl Arbiter for Remote {
    fn fate(&self) -> Later<'_, Result<MoveState, Error>> {
        Box::pin(self.ask(FATE))
    }

    fn settle(&self) -> Later<'_, Result<MoveState, Error>> {
        Box::pin(self.ask(SETTLE))
    }

    fn deliver(&self) -> Later<'_, Result<bool, Error>> {
        Box::pin(self.ask(DELIVER))
    }
}
