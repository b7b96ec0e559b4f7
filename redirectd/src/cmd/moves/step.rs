//! `redirect move park`, `commit`, `abort`

use clap::Args;
use clap_complete::ArgValueCompleter;
use hyper::Method;
use serde::Serialize;

use super::path;
use crate::{
    api::moves::{AbortRequest, MoveView},
    cmd::{Context, completions},
    error::Error,
};

/// The process is frozen: hold its packets from now on
///
/// Packets of its open connections, and of those that begin meanwhile, are held in
/// the order in which they come, until the move is committed or aborted. Again, for
/// a move that is parked already, does nothing.
#[derive(Debug, Args)]
pub(super) struct Park {
    /// The number of the move
    #[arg(add = ArgValueCompleter::new(completions::move_ids))]
    id: u32,
}

/// The process is the new host's: lead its redirects there, for good
///
/// One change of home's tables leads all its packets to the new host; then what was
/// held is delivered, before anything that comes later. To be told when the process
/// has been restored with all its connections, and does not run yet. Again, for a
/// move that is committed already, does nothing. If it fails, the move is parked as
/// before.
#[derive(Debug, Args)]
pub(super) struct Commit {
    /// The number of the move
    #[arg(add = ArgValueCompleter::new(completions::move_ids))]
    id: u32,
}

/// The process stays where it was: deliver there what was held
///
/// What was restored of it elsewhere must end without a word to its peers. Again,
/// for a move that is aborted already, does nothing.
#[derive(Debug, Args)]
pub(super) struct Abort {
    /// The number of the move
    #[arg(add = ArgValueCompleter::new(completions::move_ids))]
    id: u32,

    /// Why, for whoever looks at it
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

impl Park {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        send(context, self.id, "/park", &()).await
    }
}

impl Commit {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        send(context, self.id, "/commit", &()).await
    }
}

impl Abort {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        send(context, self.id, "/abort", &AbortRequest { why: self.why }).await
    }
}

async fn send(context: &Context, id: u32, step: &str, body: &impl Serialize) -> Result<(), Error> {
    let moved: MoveView = context.client.send_to(Method::POST, &path(id, step), body).await?;
    super::print(&moved, context.json);
    Ok(())
}
