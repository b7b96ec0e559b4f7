//! `redirect ps`

use anstream::println;
use clap::Args;
use humantime::format_rfc3339_seconds;

use super::{
    Context,
    output::{self, BOLD, WARN},
    table::{Table, text},
};
use crate::{
    api::processes::{AwayView, GuestView, ProcessList},
    error::Error,
    migrate::record::Moment,
};

/// List the processes that have left this home, and those that are guests here
///
/// Of those that have left: where they are, and by which redirects their peers reach
/// them; their hosts are asked whether they still run. One that has ended is listed
/// once more, and then forgotten. Of guests: whose they are.
#[derive(Debug, Args)]
pub(super) struct Ps {}

impl Ps {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let list: ProcessList = context.client.get("/v1/processes").await?;
        if context.json {
            output::json(&list);
            return Ok(());
        }
        if list == ProcessList::default() {
            println!("no process has left, is a guest here, or is locked");
            return Ok(());
        }
        print(&list);
        Ok(())
    }
}

fn print(list: &ProcessList) {
    if !list.away.is_empty() || !list.locked.is_empty() {
        let mut table = Table::new(&["PID", "NAME", "IS ON", "SINCE", "STATE", "REDIRECTS"]);
        for away in &list.away {
            let locked = list.locked.contains(&away.process);
            row(&mut table, away, locked);
        }
        let away = |pid| list.away.iter().any(|away| away.process.pid == pid);
        for process in list.locked.iter().filter(|process| !away(process.pid)) {
            let blank = || text("");
            let name = text(process.name.escape_debug());
            let pid = text(process.pid).style(BOLD);
            table.row([pid, name, text("home"), blank(), text("locked"), blank()]);
        }
        table.print();
    }
    if list.guests.is_empty() {
        return;
    }
    if !list.away.is_empty() || !list.locked.is_empty() {
        println!();
    }
    let mut table = Table::new(&["GUEST", "NAME", "HOME", "SINCE"]);
    for GuestView { process, home, since } in &list.guests {
        let name = text(process.name.escape_debug());
        table.row([text(process.pid).style(BOLD), name, text(home), text(moment(*since))]);
    }
    table.print();
}

fn row(table: &mut Table, away: &AwayView, locked: bool) {
    let state = match (away.running, locked) {
        (Some(false), _) => text("ended").style(WARN),
        (None, _) => text("unknown").style(WARN),
        (Some(true), true) => text("runs, locked"),
        (Some(true), false) => text("runs"),
    };
    table.row([
        text(away.process.pid).style(BOLD),
        text(away.process.name.escape_debug()),
        text(&away.place),
        text(moment(away.since)),
        state,
        text(away.redirects.join(",")),
    ]);
}

fn moment(moment: Moment) -> String {
    format_rfc3339_seconds(moment.time()).to_string()
}
