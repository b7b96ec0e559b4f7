//! What is said of a move: before, and after.

use anstream::println;
use serde::Serialize;

use crate::{
    cmd::{
        inspect, moves,
        output::{self, BAD, BOLD, GOOD},
    },
    conduct::{journey::Prepared, report::Report},
    migrate::memory::Choice,
    process::{Inventory, Obstacle},
};

/// `--dry-run --json`.
#[derive(Serialize)]
struct Plan<'a> {
    to: &'a str,
    #[serde(flatten)]
    inventory: &'a Inventory,
    /// How that memory goes; none if it cannot go as it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_goes: Option<&'a Choice>,
    obstacles: &'a [Obstacle],
    movable: bool,
}

/// Prints what would move to `to`, and what is in the way.
pub(super) fn plan(prepared: &Prepared, to: &str, as_json: bool) {
    let Prepared { inventory, obstacles, memory, .. } = prepared;
    let movable = !obstacles.iter().any(|obstacle| obstacle.stops);
    if as_json {
        output::json(Plan { to, inventory, memory_goes: memory.as_ref(), obstacles, movable });
        return;
    }
    inspect::print(inventory);
    if let Some(memory) = memory {
        output::field("memory goes", moves::memory(memory));
    }
    inspect::print_obstacles(obstacles);
    match movable {
        true => println!("{GOOD}it can move{GOOD:#} to {to}; nothing was changed"),
        false => println!("{BAD}it cannot move{BAD:#} to {to} as it is; nothing was changed"),
    }
}

/// Prints how a move went.
pub(super) fn report(report: &Report, remarks: &[String], to: &str, as_json: bool) {
    if as_json {
        output::json(report);
        output::warnings(remarks);
        return;
    }
    let pid = report.pids.first().copied().unwrap_or_default();
    println!("{GOOD}process {BOLD}{pid}{BOLD:#}{GOOD} runs on {to}{GOOD:#}");
    if let Some(held) = &report.r#move.held {
        moves::held::print_sums(held);
    }
    moves::print_carried(&report.r#move);
    output::warnings(remarks);
    output::warnings(&report.lost);
    if let Some(held) = &report.r#move.held {
        moves::held::print_flows(held);
    }
}
