//! `redirect move list`

use anstream::println;
use clap::Args;

use super::state;
use crate::{
    api::moves::{MoveList, MoveView},
    cmd::{
        Context, output,
        table::{Table, number, text},
        units,
    },
    error::Error,
};

/// List the moves under way, and the last hundred that are over
#[derive(Debug, Args)]
#[command(visible_alias = "ls")]
pub(super) struct List {}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let list: MoveList = context.client.get("/v1/moves").await?;
        if context.json {
            output::json(&list);
        } else if list.moves.is_empty() {
            println!("no moves; `redirect move begin NAME… --to HOST` begins the first");
        } else {
            table(&list.moves).print();
        }
        Ok(())
    }
}

fn table(moves: &[MoveView]) -> Table {
    let mut table =
        Table::new(&["MOVE", "STATE", "REDIRECTS", "FROM", "TO", "BEGUN", "HELD", "FOR"]);
    for moved in moves {
        let names: Vec<&str> = moved.redirects.iter().map(|r| r.from.name.as_str()).collect();
        let held = moved.held.as_ref().map_or(0, |held| held.traffic.packets);
        table.row([
            text(moved.id).style(output::BOLD),
            state(moved),
            text(names.join(",")),
            text(&moved.from),
            text(&moved.to),
            text(moved.begun.get(..19).unwrap_or(&moved.begun)),
            number(units::count(held)),
            number(moved.held_seconds.map_or_else(|| "-".to_owned(), units::short)),
        ]);
    }
    table
}
