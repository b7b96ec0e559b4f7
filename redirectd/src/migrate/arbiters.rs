//! The ways to the journal of a process's home: this daemon's, or another node's.

use std::{fmt, path::PathBuf};

use super::{
    fate::Arbiter,
    handover::{FATE, SERVICE, SETTLE},
    machine::MoveState,
    record::Id,
};
use crate::{
    daemon::{Daemon, WeakHandle},
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
            Err(error) => match daemon.show_move(id)?.state {
                MoveState::Committed => Ok(MoveState::Committed),
                _ => Err(error),
            },
        };
        self.daemon.call(settle).await
    }

    /// Commits the move, if it is parked still.
    ///
    /// # Errors
    /// It is decided, or cannot be.
    pub async fn commit(&self) -> Result<(), Error> {
        let id = self.id;
        let commit = move |daemon: &mut Daemon| {
            let committed = daemon.commit_move(id).map(drop);
            daemon.settle_moves();
            committed
        };
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
    async fn ask(&self, what: &str) -> Result<MoveState, Error> {
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
}
