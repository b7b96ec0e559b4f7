//! `redirect migrate`: our own engine, led by this command. CRIU takes root's whole
//! rights, which home's daemon does without; should this command die, the daemon
//! ends the move by itself. The node's key is read here and not lent by the daemon,
//! so that its file's rights say who may move processes, and not those of the
//! daemon's socket.

mod following;
mod print;
mod redirects;

use std::{path::PathBuf, time::Duration};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser as _},
    value_parser,
};
use nix::{
    sys::signal::{SigHandler, Signal, signal},
    unistd::geteuid,
};

use self::{following::Following, redirects::Chosen};
use super::Context;
use crate::{
    conduct::journey::Journey,
    error::{Error, Kind},
    log::tell_of_a_move,
    migrate::memory::Wish,
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
/// Its memory is copied while it is frozen; or, with `--memory precopy`, in rounds while
/// it runs, which depends on nothing but freezes it for what it changes meanwhile, and
/// takes a kernel here that tracks that (CONFIG_MEM_SOFT_DIRTY); or, as `--memory auto`
/// chooses for a large process, it runs first, and its memory follows. This command comes
/// back when all of it is there. Until then the process depends on the machine it has
/// left, on the link, on redirectd on both machines and on this command: if any of them is
/// lost, it ends.
/// So SIGINT, SIGTERM and SIGHUP do not end this command meanwhile; SIGKILL does.
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
  redirect migrate 4711 --to c --redirect web --json
  redirect migrate 4711 --to c --memory copy
      all of its memory before it runs there, however long that takes")]
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

    /// How its memory goes: all before it runs there (copy), after it (lazy), most while
    /// it runs here (precopy), or whatever is best (auto)
    #[arg(long, value_name = "WAY", default_value = "auto", value_parser = wishes())]
    memory: Wish,

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
        let Self { pid, to, from, timeout, memory, state_dir, .. } = self;
        let though_locked = false;
        let journey =
            Journey { pid, from, to: to.clone(), timeout, though_locked, memory, state_dir };
        let prepared = journey.prepare(&context.client).await?;
        let named = if self.redirect.is_empty() { &prepared.redirects } else { &self.redirect };
        let chosen = Chosen::of(&prepared.inventory, named)?;
        if self.dry_run {
            chosen.check(context, (&prepared.inventory, &to)).await?;
            print::plan(&prepared, &to, context.json);
            return Ok(());
        }
        prepared.must_be_free()?;
        tell_of_a_move();
        let chosen = chosen.make(context).await?;
        heed_broken_pipes(false);
        let following = Following::to(&to);
        let redirects = (chosen.names(), chosen.made());
        let done = prepared.go(&context.client, redirects, &|now| following.tell(now)).await;
        following.end();
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

/// The ways that memory may go, by their names.
fn wishes() -> impl clap::builder::TypedValueParser<Value = Wish> {
    PossibleValuesParser::new(["auto", "copy", "lazy", "precopy"])
        .try_map(|name| name.parse::<Wish>())
}

fn only_root() -> Result<(), Error> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::NotPermitted, "only root may freeze a process and read all it has")
        .cure("run it as root (`sudo redirect migrate …`)"))
}
