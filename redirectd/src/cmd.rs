//! The command line `redirect`: one file for each verb.

mod add;
mod apply;
mod check;
mod completions;
mod evict;
mod flows;
mod hook;
mod inspect;
mod list;
mod lock;
mod log;
mod man;
mod migrate;
mod monitor;
mod moves;
mod node;
mod output;
mod ps;
mod remove;
mod show;
mod stats;
mod status;
mod table;
mod top;
mod units;
mod whereabouts;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::output::Color;
use crate::{
    api::{
        client::Client,
        socket::{DEFAULT_PATH, PATH_VARIABLE},
    },
    error::Error,
};

/// Redirects what peers send to this node's addresses to the hosts where the
/// processes behind them run now.
#[derive(Debug, Parser)]
#[command(name = "redirect", version, after_long_help = EPILOGUE, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
struct Global {
    /// The daemon's socket
    #[arg(long, global = true, value_name = "PATH", env = PATH_VARIABLE, default_value = DEFAULT_PATH)]
    #[arg(hide_env_values = true)]
    socket: PathBuf,

    /// Print JSON, with the version of its form
    #[arg(long, global = true)]
    json: bool,

    /// Colour what is printed: auto (on a terminal, unless NO_COLOR is set), always
    /// or never
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    #[arg(hide_possible_values = true)]
    color: Color,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(add::Add),
    Remove(remove::Remove),
    List(list::List),
    Show(show::Show),
    Apply(apply::Apply),
    Check(check::Check),
    Flows(flows::Flows),
    Where(whereabouts::Where),
    Inspect(inspect::Inspect),
    Stats(stats::Stats),
    Monitor(monitor::Monitor),
    Top(top::Top),
    Migrate(migrate::Migrate),
    Ps(ps::Ps),
    Lock(lock::Lock),
    Unlock(lock::Unlock),
    Evict(evict::Evict),
    Move(moves::Move),
    Node(node::Node),
    Hook(hook::Hook),
    Status(status::Status),
    Log(log::Log),
    #[command(hide = true)]
    Completions(completions::Completions),
    #[command(hide = true)]
    Man(man::Man),
}

const EPILOGUE: &str = "\
Exit status:
  0  done
  1  it failed, or what was named is not there
  2  the command line or the redirect makes no sense
  3  redirectd does not answer
  4  this user may not do it

Files:
  /etc/redirectd/redirectd.yaml  home addresses, hosts, interfaces, redirects
  /etc/redirectd/rules.d/*.yaml  more hosts and redirects
  /var/lib/redirectd/redirects.* redirects made by `redirect add` and `apply -f`
  /var/lib/redirectd/moves.*     moves, and where they have left processes
  /var/lib/redirectd/node/*      this node's key, and the nodes it knows
  /var/lib/redirectd/guests.json processes of other nodes that are here
  /run/redirectd/redirectd.sock  the daemon's socket";

/// What every verb needs: the daemon, and how to print.
#[derive(Debug)]
struct Context {
    client: Client,
    json: bool,
}

/// The definition of the command line, for help, completions and manual pages.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// Whether errors are to be printed as JSON.
    #[must_use]
    pub fn json(&self) -> bool {
        self.global.json
    }

    /// Carries out the command.
    ///
    /// # Errors
    /// Whatever the verb cannot do; its kind gives the exit code.
    pub async fn run(self) -> Result<(), Error> {
        self.global.color.set();
        let context = Context { client: Client::new(self.global.socket), json: self.global.json };
        match self.verb {
            Verb::Add(verb) => verb.run(&context).await,
            Verb::Remove(verb) => verb.run(&context).await,
            Verb::List(verb) => verb.run(&context).await,
            Verb::Show(verb) => verb.run(&context).await,
            Verb::Apply(verb) => verb.run(&context).await,
            Verb::Check(verb) => verb.run(&context),
            Verb::Flows(verb) => verb.run(&context).await,
            Verb::Where(verb) => verb.run(&context).await,
            Verb::Inspect(verb) => verb.run(&context),
            Verb::Stats(verb) => verb.run(&context).await,
            Verb::Monitor(verb) => verb.run(&context).await,
            Verb::Top(verb) => verb.run(&context).await,
            Verb::Migrate(verb) => verb.run(&context).await,
            Verb::Ps(verb) => verb.run(&context).await,
            Verb::Lock(verb) => verb.run(&context).await,
            Verb::Unlock(verb) => verb.run(&context).await,
            Verb::Evict(verb) => verb.run(&context).await,
            Verb::Move(verb) => verb.run(&context).await,
            Verb::Node(verb) => verb.run(&context).await,
            Verb::Hook(verb) => verb.run(&context).await,
            Verb::Status(verb) => verb.run(&context).await,
            Verb::Log(verb) => verb.run(&context).await,
            Verb::Completions(verb) => verb.run(),
            Verb::Man(verb) => verb.run(),
        }
    }
}

/// Has this program end as an error does when nothing can be printed any more, the disk
/// of its output being full, say. Whatever it did is done by then.
pub fn end_when_unprintable() {
    output::end_when_unprintable();
}

/// Prints `error` on standard error, as text or as JSON.
pub fn print_error(error: &Error, json: bool) {
    output::error(error, json);
}
