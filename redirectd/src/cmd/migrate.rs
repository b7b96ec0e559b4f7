//! `redirect migrate`: our own engine, led by this command. CRIU takes root's whole
//! rights, which home's daemon does without; should this command die, the daemon
//! ends the move by itself. The node's key is read here and not lent by the daemon,
//! so that its file's rights say who may move processes, and not those of the
//! daemon's socket.

mod ends;
mod print;
mod redirects;

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};
use hyper::Method;
use nix::unistd::geteuid;

use self::{
    ends::{End, Source},
    redirects::Chosen,
};
use super::Context;
use crate::{
    api::moves::{AbortRequest, BeginRequest, DEFAULT_TIMEOUT, MoveView},
    conduct::{Failed, conduct, report::Report},
    error::{Error, Kind},
    migrate::{
        away::Traveller,
        criu::Criu,
        handover::{Passage, Welcome},
    },
    process::{Inventory, Needs, Obstacle, Reason, misfits, obstacles},
};

/// Move a running process, with its open connections, to another machine
///
/// The process and all its descendants are frozen, carried over and go on there;
/// what peers send meanwhile is held and delivered. From where it is then it can
/// move on, and home again (`--to home`); all of this is done on its home. The
/// machines must be nodes (`redirect node`) that may revive processes, and hosts of
/// the configuration by the same names. Whatever is in the way, on any of them, is
/// told before anything is frozen. If anything fails before the process is the next
/// machine's, it goes on where it is.
///
/// The process gets a redirect for all that it listens on and is connected to, as
/// with `redirect add --pid`, or those that --redirect names are taken. One that has
/// left home keeps those it left by.
///
/// Takes root's rights.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redirect migrate 4711 --to c --dry-run
      what would move, and what is in the way
  redirect migrate 4711 --to c
  redirect migrate 4711 --to d
      on from there
  redirect migrate 4711 --to home
  redirect migrate 4711 --to c --redirect web --json")]
pub(super) struct Migrate {
    /// The process; it has the same number everywhere
    #[arg(value_parser = value_parser!(i32).range(1..))]
    pid: i32,

    /// The node it moves to, or `home`
    #[arg(long, value_name = "NODE")]
    to: String,

    /// The node it is on, or `home`, where that is not clear
    #[arg(long, value_name = "NODE")]
    from: Option<String>,

    /// A redirect that leads to it; may be given more than once. Without any, they
    /// are made
    #[arg(long, value_name = "NAME")]
    redirect: Vec<String>,

    /// How long it may be frozen before it goes on where it is [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

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
        let at = Source::of(self.pid, self.from.as_deref(), &context.client).await?;
        let (source, inventory) = at.look(self.pid, &self.state_dir).await?;
        let mut destination = End::called(&self.to, &self.state_dir).await?;
        let welcome = destination.welcome(Needs::from(&inventory)).await?;
        let found = in_the_way(&source, &inventory, &welcome, &self.to);
        let named = if self.redirect.is_empty() { at.redirects() } else { &self.redirect };
        let chosen = Chosen::of(&inventory, named)?;
        if self.dry_run {
            chosen.check(context).await?;
            print::plan(&inventory, &found, &self.to, context.json);
            return Ok(());
        }
        refuse_if_stopped(&inventory, &found, &self.to)?;
        let chosen = chosen.make(context).await?;
        match self.carry_out(context, &inventory, chosen.names(), (source, destination)).await {
            Ok(report) => {
                print::report(&report, &chosen.remarks, &self.to, context.json);
                Ok(())
            }
            Err(failed) => {
                if !failed.decided {
                    chosen.undo(context).await;
                }
                Err(failed.error)
            }
        }
    }

    /// Begins the move, and makes it.
    async fn carry_out(
        &self,
        context: &Context,
        inventory: &Inventory,
        redirects: Vec<String>,
        ends: (End, End),
    ) -> Result<Report, Failed> {
        let moved = self.begin(inventory, redirects, context).await?;
        let name = inventory.root().name.clone();
        let passage = Passage { pid: self.pid, name, r#move: moved.id };
        let done = travel(context, &moved, passage, ends).await;
        if let Err(Failed { error, decided: false }) = &done {
            abort(context, moved.id, error).await;
        }
        done
    }

    async fn begin(
        &self,
        inventory: &Inventory,
        redirects: Vec<String>,
        context: &Context,
    ) -> Result<MoveView, Error> {
        let name = inventory.root().name.clone();
        let request = BeginRequest {
            redirects,
            to: self.to.clone(),
            label: Some(format!("process {} ({name})", self.pid)),
            process: Some(Traveller { pid: self.pid, name }),
            though_locked: false,
            timeout_seconds: self.timeout.map_or(DEFAULT_TIMEOUT, |time| time.as_secs_f64()),
        };
        context.client.send_to(Method::POST, "/v1/moves", &request).await
    }
}

/// Makes the move, which has begun.
async fn travel(
    context: &Context,
    moved: &MoveView,
    passage: Passage,
    (source, destination): (End, End),
) -> Result<Report, Failed> {
    let client = &context.client;
    // Before anything is frozen, so that a refusal costs nothing.
    let (coming, to) = destination.take_in(client, passage.clone()).await?;
    let (leaving, from) = source.leave(client, passage).await?;
    let done = conduct(client, moved, from, to).await;
    for here in [coming, leaving].into_iter().flatten() {
        here.end().await;
    }
    done
}

fn only_root() -> Result<(), Error> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::NotPermitted, "only root may freeze a process and read all it has")
        .cure("run it as root (`sudo redirect migrate …`)"))
}

/// All that is in the way, here and on the host; what stops it first.
fn in_the_way(source: &End, inventory: &Inventory, welcome: &Welcome, host: &str) -> Vec<Obstacle> {
    let pid = inventory.root().pid;
    let refused = |error: Error| Obstacle {
        reason: Reason::Engine,
        pid,
        what: error.what,
        cure: error.cure.unwrap_or_else(|| "see the log of redirectd there".to_owned()),
        stops: true,
    };
    let mut found = Vec::new();
    if matches!(source, End::Home) {
        found.extend(Criu::new("criu").check().err().map(refused));
    }
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
        "process {} ({}) cannot move to {host}; it goes on where it is:{}",
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
