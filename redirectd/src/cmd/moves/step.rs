//! `redirect move park`, `commit`, `deliver`, `abort`

use anstream::println;
use clap::Args;
use clap_complete::ArgValueCompleter;
use hyper::Method;
use serde::Serialize;

use super::path;
use crate::{
    api::moves::{AbortRequest, CommitRequest, DeliverReport, MoveView},
    cmd::{Context, completions, output},
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

    /// Go on holding packets until `redirect move deliver`, or for as long as the move may
    /// be parked
    ///
    /// A copy that is restored and lost before it runs takes along what has come to its
    /// sockets. If nothing has, it can be restored once more.
    #[arg(long)]
    hold: bool,
}

/// The process stands at the new host: deliver there what was held
///
/// After `redirect move commit --hold`, once the process runs or nothing can keep it from
/// running; or once it is lost for good, for its peers to hear of it. Again, for a move of
/// which all has been delivered, does nothing.
#[derive(Debug, Args)]
pub(super) struct Deliver {
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
        send(context, self.id, "/commit", &CommitRequest { hold: self.hold }).await
    }
}

impl Deliver {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let path = path(self.id, "/deliver");
        let report: DeliverReport = context.client.send_to(Method::POST, &path, &()).await?;
        if context.json {
            output::json(&report);
            return Ok(());
        }
        super::print(&report.r#move, false);
        if !report.first {
            println!(
                "it had been delivered before: an earlier copy may have taken packets with it"
            );
        }
        Ok(())
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
