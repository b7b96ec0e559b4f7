//! `redirect status`

use anstream::println;
use clap::Args;

use super::{
    Context,
    output::{self, BAD, BOLD, GOOD},
    units,
};
use crate::{api::types::Status as State, error::Error};

/// Say how the daemon and the packet path are
#[derive(Debug, Args)]
pub(super) struct Status {}

impl Status {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let state: State = context.client.get("/v1/status").await?;
        if context.json {
            output::json(&state);
        } else {
            print(&state);
        }
        Ok(())
    }
}

fn print(state: &State) {
    let State { daemon, configuration, redirects, .. } = state;
    let uptime = units::duration(daemon.uptime_seconds as f64);
    println!(
        "{BOLD}redirectd {}{BOLD:#} {GOOD}runs{GOOD:#} for {uptime}, process {}",
        daemon.release, daemon.pid
    );
    output::field(
        "configuration",
        format!("{}, read {}", configuration.path.display(), configuration.loaded),
    );
    if let Some(refused) = &configuration.refused {
        output::field("", format!("{BAD}refused since:{BAD:#} {}", refused.what));
    }
    output::field(
        "redirects",
        format!(
            "{} from files, {} added, {} draining",
            redirects.file, redirects.api, redirects.draining
        ),
    );
    for attached in &state.interfaces {
        let mut line = format!("{}: {}", attached.interface, attached.running);
        if !attached.neighbours.is_empty() {
            line.push_str(&format!(", beside {}", attached.neighbours.join(", ")));
        }
        output::field("interface", line);
    }
    for table in &state.tables {
        let share = (table.used * 100).checked_div(table.size).unwrap_or(0);
        let line = format!("{} {} of {} ({share} %)", table.table, table.used, table.size);
        output::field("table", line);
    }
    output::warnings(&state.warnings);
}
