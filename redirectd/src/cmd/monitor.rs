//! `redirect monitor`

use anstream::println;
use clap::Args;

use super::{
    Context, moves,
    output::{self, BAD, BOLD, DIM, GOOD, WARN},
};
use crate::{
    api::events::{Event, Happening},
    dataplane::Removal,
    error::Error,
};

/// Print what happens, as it happens, until interrupted
#[derive(Debug, Args)]
pub(super) struct Monitor {}

impl Monitor {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let mut events = context.client.events().await?;
        while let Some(event) = events.next().await? {
            if context.json {
                output::json_line(&event);
            } else {
                print(&event);
            }
        }
        Ok(())
    }
}

fn print(event: &Event) {
    let line = match &event.what {
        Happening::RedirectAdded { redirect } => {
            format!("{GOOD}added{GOOD:#} {BOLD}{}{BOLD:#}: {redirect}", redirect.name)
        }
        Happening::RedirectChanged { redirect, .. } => {
            format!("{GOOD}changed{GOOD:#} {BOLD}{}{BOLD:#}: {redirect}", redirect.name)
        }
        Happening::RedirectRemoved { redirect, removal } => {
            let fate = match removal {
                Removal::Drain => "open flows go on",
                Removal::Cut => "open flows cut",
            };
            format!("{WARN}removed{WARN:#} {BOLD}{}{BOLD:#}; {fate}", redirect.name)
        }
        Happening::RedirectDrained { name } => {
            format!("{GOOD}drained{GOOD:#} {BOLD}{name}{BOLD:#}; its last flow has ended")
        }
        Happening::ConfigurationReloaded { changes } => {
            format!("{GOOD}configuration reloaded{GOOD:#}; {changes} changes")
        }
        Happening::ConfigurationRefused { error } => {
            format!("{BAD}configuration refused{BAD:#}: {}", error.what)
        }
        Happening::InterfaceAttached { attached } => {
            format!("{GOOD}attached{GOOD:#} {}: {}", attached.interface, attached.running)
        }
        Happening::InterfaceDetached { interface } => format!("{WARN}detached{WARN:#} {interface}"),
        Happening::TableFilling { table } => format!(
            "{WARN}table {} fills{WARN:#}: {} of {} entries",
            table.table, table.used, table.size
        ),
        Happening::Move { moved } => format!(
            "{} move {BOLD}{}{BOLD:#}: {}",
            moves::state(moved),
            moved.id,
            moves::summary(moved)
        ),
        Happening::Missed { events } => {
            format!("{WARN}missed{WARN:#} {events} events; this reader is too slow")
        }
        Happening::Stopping => {
            format!("{WARN}redirectd stops{WARN:#}; redirects and flows stay in the kernel")
        }
    };
    println!("{DIM}{}{DIM:#} {line}", event.at);
}
