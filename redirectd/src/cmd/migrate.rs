//! `redirect migrate`: our own engine, which runs in this command. CRIU takes
//! root's whole rights, which the daemon does without; should this command die,
//! the daemon ends the move by itself. The node's key is read here and not lent
//! by the daemon, so that its file's rights say who may move processes, and not
//! those of the daemon's socket.

mod departure;
mod print;
mod redirects;

use std::path::PathBuf;

use clap::{Args, value_parser};
use hyper::Method;
use nix::unistd::geteuid;

use self::redirects::Chosen;
use super::Context;
use crate::{
    api::moves::{AbortRequest, BeginRequest, MoveView},
    error::{Error, Kind},
    migrate::{
        criu::Criu,
        handover::{OFFER, SERVICE, Welcome},
    },
    node::Nodes,
    process::{
        Inventory, Needs, Obstacle, Reason, Tree, misfits, must_be_in_this_network, obstacles,
    },
};

/// Move a running process, with its open connections, to another machine
///
/// The process and all its descendants are frozen, carried over and go on there;
/// what peers send meanwhile is held and delivered. It must be at home; the other
/// machine must be a node (`redirect node`) that may revive processes, and a host
/// of the configuration by the same name. Whatever is in the way, here or there,
/// is told before anything is frozen. If anything fails before the process is the
/// other machine's, it goes on here.
///
/// The process gets a redirect for all that it listens on and is connected to, as
/// with `redirect add --pid`, or those that --redirect names are taken.
///
/// Takes root's rights.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redirect migrate 4711 --to c --dry-run
      what would move, and what is in the way
  redirect migrate 4711 --to c
  redirect migrate 4711 --to c --redirect web --json")]
pub(super) struct Migrate {
    /// The process
    #[arg(value_parser = value_parser!(i32).range(1..))]
    pid: i32,

    /// The node it moves to
    #[arg(long, value_name = "NODE")]
    to: String,

    /// A redirect that leads to it; may be given more than once. Without any, they
    /// are made
    #[arg(long, value_name = "NAME")]
    redirect: Vec<String>,

    /// Print what would move and all that is in the way, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// The daemon's state directory, in which this node's key is
    #[arg(long, value_name = "DIR", default_value = "/var/lib/redirectd")]
    state_dir: PathBuf,
}

impl Migrate {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        only_root()?;
        let tree = Tree::of(self.pid)?;
        must_be_in_this_network(&tree)?;
        let inventory = Inventory::of(self.pid, true)?;
        let mut link = Nodes::connect_beside(&self.state_dir, &self.to).await?;
        let needs = Needs::from(&inventory);
        let welcome: Welcome = link.request(SERVICE, OFFER, &needs).await?;
        let found = in_the_way(&inventory, &welcome, &self.to);
        let chosen = Chosen::of(&inventory, &self.redirect)?;
        if self.dry_run {
            chosen.check(context).await?;
            print::plan(&inventory, &found, &self.to, context.json);
            return Ok(());
        }
        refuse_if_stopped(&inventory, &found, &self.to)?;
        let chosen = chosen.make(context).await?;
        let moved = match self.begin(&inventory, chosen.names(), context).await {
            Ok(moved) => moved,
            Err(error) => {
                chosen.undo(context).await;
                return Err(error);
            }
        };
        match departure::depart(&context.client, &moved, self.pid, link).await {
            Ok(report) => {
                print::report(&report, &chosen.remarks, &self.to, context.json);
                Ok(())
            }
            Err(failed) => {
                if !failed.decided {
                    abort(context, moved.id, &failed.error).await;
                    chosen.undo(context).await;
                }
                Err(failed.error)
            }
        }
    }

    async fn begin(
        &self,
        inventory: &Inventory,
        redirects: Vec<String>,
        context: &Context,
    ) -> Result<MoveView, Error> {
        let request = BeginRequest {
            redirects,
            to: self.to.clone(),
            label: Some(format!("process {} ({})", self.pid, inventory.root().name)),
            timeout_seconds: crate::api::moves::DEFAULT_TIMEOUT,
        };
        context.client.send_to(Method::POST, "/v1/moves", &request).await
    }
}

fn only_root() -> Result<(), Error> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::NotPermitted, "only root may freeze a process and read all it has")
        .cure("run it as root (`sudo redirect migrate …`)"))
}

/// All that is in the way, here and on the host; what stops it first.
fn in_the_way(inventory: &Inventory, welcome: &Welcome, host: &str) -> Vec<Obstacle> {
    let pid = inventory.root().pid;
    let refused = |error: Error| Obstacle {
        reason: Reason::Engine,
        pid,
        what: error.what,
        cure: error.cure.unwrap_or_else(|| "see the log of redirectd there".to_owned()),
        stops: true,
    };
    let mut found: Vec<Obstacle> =
        Criu::new("criu").check().err().map(refused).into_iter().collect();
    let there = welcome
        .refusal
        .clone()
        .map(|error| Error { what: format!("{host} refuses: {}", error.what), ..error });
    found.extend(there.map(refused));
    found.extend(obstacles(inventory));
    found.extend(misfits(inventory, &welcome.offer, host));
    found.sort_by_key(|obstacle| !obstacle.stops);
    found
}

fn refuse_if_stopped(inventory: &Inventory, found: &[Obstacle], host: &str) -> Result<(), Error> {
    let stopping: Vec<String> = found
        .iter()
        .filter(|obstacle| obstacle.stops)
        .map(|obstacle| format!("\n  {}\n    cure: {}", obstacle.what, obstacle.cure))
        .collect();
    if stopping.is_empty() {
        return Ok(());
    }
    let root = inventory.root();
    let what = format!(
        "process {} ({}) cannot move to {host}; it goes on here:{}",
        root.pid,
        root.name.escape_debug(),
        stopping.concat()
    );
    Err(Error::new(Kind::Failed, what).cure("clear these, and ask again with --dry-run"))
}

/// Tells home that the process stays.
async fn abort(context: &Context, id: u32, why: &Error) {
    let request = AbortRequest { why: Some(why.what.clone()) };
    let path = format!("/v1/moves/{id}/abort");
    // If home does not hear it, the move's timeout does the same.
    let _: Result<MoveView, Error> = context.client.send_to(Method::POST, &path, &request).await;
}
