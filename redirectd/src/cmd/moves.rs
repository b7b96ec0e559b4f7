//! `redirect move`: what engines, and scripts in their place, tell home.

mod begin;
pub(super) mod held;
mod list;
mod returning;
mod show;
mod step;

use anstream::println;
use clap::{Args, Subcommand};

pub(super) use self::show::{memory, print_carried};
use super::{
    Context,
    output::{self, BAD, BOLD, GOOD, WARN},
    table::{self, Cell},
    units,
};
use crate::{api::moves::MoveView, error::Error, migrate::machine::MoveState};

/// Tell home how far the move of a process is: for engines and scripts
///
/// Whoever moves a process freezes it, carries it to another machine and lets it
/// go on there. So that its peers notice nothing but a pause, home is told at each
/// step: `begin` says which redirects lead to it and where it goes; `park`, once it
/// is frozen, has home hold its packets; `return`, before it is restored, prepares
/// its open connections; `commit` gives it to the new host and delivers what was
/// held, or leaves that to `deliver`. Until the commit `abort` leaves everything as
/// it was, and what was held is delivered where the process is. After it there is no
/// way back but another move.
///
/// For a process that is at home, a redirect to `home` says what it listens on:
/// `redirect add web 80 --to home`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ID=$(redirect move begin web --to c --json | jq .id)
  redirect move park $ID      # the process is frozen
  redirect move return $ID --connection tcp,198.51.100.7:40000,192.0.2.1:80
  redirect move commit $ID    # it is restored, and not yet running
  redirect move show $ID      # what was held, and for how long
  redirect move begin web --to home")]
pub(super) struct Move {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    Begin(begin::Begin),
    Park(step::Park),
    Return(returning::Return),
    Commit(step::Commit),
    Deliver(step::Deliver),
    Abort(step::Abort),
    Show(show::Show),
    List(list::List),
}

impl Move {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        match self.step {
            Step::Begin(step) => step.run(context).await,
            Step::Park(step) => step.run(context).await,
            Step::Return(step) => step.run(context).await,
            Step::Commit(step) => step.run(context).await,
            Step::Deliver(step) => step.run(context).await,
            Step::Abort(step) => step.run(context).await,
            Step::Show(step) => step.run(context).await,
            Step::List(step) => step.run(context).await,
        }
    }
}

/// Prints how far a move is, after a step.
fn print(moved: &MoveView, as_json: bool) {
    if as_json {
        output::json(moved);
    } else {
        println!("{} move {BOLD}{}{BOLD:#}: {}", state(moved), moved.id, summary(moved));
    }
}

/// The state of a move, in the colour it deserves.
pub(super) fn state(moved: &MoveView) -> Cell {
    let style = match moved.state {
        MoveState::Prepared | MoveState::Parked => WARN,
        MoveState::Committed => GOOD,
        MoveState::Aborted => BAD,
    };
    table::text(moved.state).style(style)
}

/// A move in a line.
pub(super) fn summary(moved: &MoveView) -> String {
    let names: Vec<&str> = moved.redirects.iter().map(|r| r.from.name.as_str()).collect();
    let label = moved.label.iter().map(|label| format!(" ({label})")).collect::<String>();
    let way = format!("{}{label}, {} -> {}", names.join(", "), moved.from, moved.to);
    let held = moved.held.as_ref().map(|held| units::traffic(held.traffic));
    match (moved.state, held, moved.held_seconds) {
        (MoveState::Prepared, ..) => format!("{way}; packets go to {} as before", moved.from),
        (MoveState::Parked, ..) => format!("{way}; packets are held"),
        (_, _, None) if moved.delivered.is_none() => {
            format!("{way}; being finished, packets are held")
        }
        (MoveState::Aborted, ..) => {
            format!("{way}; it stays at {}: {}", moved.from, moved.why.as_deref().unwrap_or("-"))
        }
        (MoveState::Committed, Some(held), Some(seconds)) => {
            format!("{way}; held {held} in {}", units::short(seconds))
        }
        (MoveState::Committed, ..) => way,
    }
}

/// The path of a move in the API.
fn path(id: u32, step: &str) -> String {
    format!("/v1/moves/{id}{step}")
}
