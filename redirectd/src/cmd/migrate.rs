//! `redirect migrate`: our own engine, led by this command. CRIU takes root's whole
//! rights, which home's daemon does without; should this command die, the daemon
//! ends the move by itself. The node's key is read here and not lent by the daemon,
//! so that its file's rights say who may move processes, and not those of the
//! daemon's socket.

mod print;
mod redirects;

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};
use nix::{
    sys::signal::{SigHandler, Signal, signal},
    unistd::geteuid,
};

use self::redirects::Chosen;
use super::Context;
use crate::{
    conduct::journey::Journey,
    error::{Error, Kind},
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
        let Self { pid, to, from, timeout, state_dir, .. } = self;
        let journey =
            Journey { pid, from, to: to.clone(), timeout, though_locked: false, state_dir };
        let prepared = journey.prepare(&context.client).await?;
        let named = if self.redirect.is_empty() { &prepared.redirects } else { &self.redirect };
        let chosen = Chosen::of(&prepared.inventory, named)?;
        if self.dry_run {
            chosen.check(context, (&prepared.inventory, &to)).await?;
            print::plan(&prepared.inventory, &prepared.obstacles, &to, context.json);
            return Ok(());
        }
        prepared.must_be_free()?;
        let chosen = chosen.make(context).await?;
        heed_broken_pipes(false);
        let done = prepared.go(&context.client, chosen.names(), chosen.made()).await;
        heed_broken_pipes(true);
        match done {
            Ok(report) => {
                print::report(&report, &chosen.remarks, &to, context.json);
                Ok(())
            }
            Err(failed) => {
                if !failed.begun {
                    chosen.undo(context).await;
                }
                Err(failed.error)
            }
        }
    }
}

/// Whether a broken pipe ends this program, as it does all of these commands when
/// whoever reads their output has gone. A connection of a move that breaks must not.
fn heed_broken_pipes(heed: bool) {
    let handler = if heed { SigHandler::SigDfl } else { SigHandler::SigIgn };
    // SAFETY: no handler of ours is replaced or installed.
    let _ = unsafe { signal(Signal::SIGPIPE, handler) };
}

fn only_root() -> Result<(), Error> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::NotPermitted, "only root may freeze a process and read all it has")
        .cure("run it as root (`sudo redirect migrate …`)"))
}
