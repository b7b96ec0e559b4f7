//! `redirect ps`

use anstream::println;
use clap::Args;
use humantime::format_rfc3339_seconds;

use super::{
    Context,
    output::{self, BOLD, WARN},
    table::{Table, text},
    units,
};
use crate::{
    api::processes::{AwayView, Dependent, GuestView, ProcessList},
    error::Error,
    migrate::{away::Traveller, record::Moment},
    rule::AT_HOME,
};

/// List the processes that have left this home, and those that are guests here
///
/// Of those that have left: where they are, and by which redirects their peers reach
/// them; their hosts are asked whether they still run. One that has ended is listed
/// once more, and then forgotten. Those whose memory is not all where they are still
/// depend on the machine they have left. Of guests: whose they are.
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
    let own = !list.away.is_empty() || !list.locked.is_empty() || !list.dependent.is_empty();
    if own {
        print_own(list);
    }
    if list.guests.is_empty() {
        return;
    }
    if own {
        println!();
    }
    let mut table = Table::new(&["GUEST", "NAME", "HOME", "SINCE"]);
    for GuestView { process, home, since } in &list.guests {
        let name = text(process.name.escape_debug());
        table.row([text(process.pid).style(BOLD), name, text(home), text(moment(*since))]);
    }
    table.print();
}

/// Those of this home.
fn print_own(list: &ProcessList) {
    let dependence = |pid: i32| {
        let dependent = list.dependent.iter().find(|one| one.process.pid == pid);
        dependent.map(|one| format!(", {}", still_there(one))).unwrap_or_default()
    };
    let mut table = Table::new(&["PID", "NAME", "IS ON", "SINCE", "STATE", "REDIRECTS"]);
    for away in &list.away {
        let locked = list.locked.contains(&away.process);
        row(&mut table, away, locked, &dependence(away.process.pid));
    }
    let away = |pid| list.away.iter().any(|away| away.process.pid == pid);
    let at_home = |process: &Traveller, state: String| {
        let name = text(process.name.escape_debug());
        [text(process.pid).style(BOLD), name, text(AT_HOME), text(""), text(state), text("")]
    };
    for process in list.locked.iter().filter(|process| !away(process.pid)) {
        table.row(at_home(process, format!("locked{}", dependence(process.pid))));
    }
    let shown = |pid| away(pid) || list.locked.iter().any(|process| process.pid == pid);
    for one in list.dependent.iter().filter(|one| !shown(one.process.pid)) {
        table.row(at_home(&one.process, format!("runs, {}", still_there(one))));
    }
    table.print();
}

/// What of its memory is elsewhere, in a few words.
pub(super) fn still_there(one: &Dependent) -> String {
    let amount = one.bytes.map_or("some".to_owned(), units::bytes);
    format!("{amount} of its memory still on {}", one.on)
}

fn row(table: &mut Table, away: &AwayView, locked: bool, dependence: &str) {
    let state = match (away.running, locked) {
        (Some(false), _) => text("ended").style(WARN),
        (None, _) => text(format!("unknown{dependence}")).style(WARN),
        (Some(true), true) => text(format!("runs, locked{dependence}")),
        (Some(true), false) => text(format!("runs{dependence}")),
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
