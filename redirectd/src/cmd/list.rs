//! `redirect list`

use anstream::println;
use clap::Args;

use super::{
    Context,
    output::{self, WARN},
    table::{self, Cell, Table, number, text},
    units,
};
use crate::{
    api::types::{Moving, RedirectList, RedirectView},
    desired::Origin,
    error::Error,
    migrate::machine::MoveState,
};

/// List all redirects, with what went through them
#[derive(Debug, Args)]
#[command(visible_alias = "ls")]
pub(super) struct List {}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let list: RedirectList = context.client.get("/v1/redirects").await?;
        if context.json {
            output::json(&list);
        } else if list.redirects.is_empty() {
            println!("no redirects; `redirect add web 80 --to HOST:8080` makes the first");
        } else {
            table(&list).print();
        }
        Ok(())
    }
}

fn table(list: &RedirectList) -> Table {
    let mut table =
        Table::new(&["NAME", "PROTO", "HOME", "TO", "STATE", "FROM", "OPEN", "TO HOST", "TO PEER"]);
    for view in &list.redirects {
        let redirect = &view.redirect;
        table.row([
            text(&redirect.name).style(output::BOLD),
            text(redirect.protocol_list()),
            text(redirect.home_endpoint()),
            text(redirect.target_endpoint()),
            state(view),
            text(origin(view.origin)),
            number(units::count(view.open_flows)),
            number(units::bytes(view.counters.to_host.bytes)),
            number(units::bytes(view.counters.to_peer.bytes)),
        ]);
    }
    table
}

/// What a redirect does now, and by which move.
pub(super) fn state(view: &RedirectView) -> Cell {
    match &view.moving {
        None => table::state(view.state),
        Some(Moving { id, state: MoveState::Parked }) => {
            text(format!("parked (move {id})")).style(WARN)
        }
        Some(Moving { id, .. }) => {
            let state = format!("{} (move {id})", table::state(view.state).plain());
            text(state).style(WARN)
        }
    }
}

/// Where a redirect was asked for, in a word.
pub(super) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::File => "file",
        Origin::Api => "added",
        Origin::Removed => "removed",
    }
}
