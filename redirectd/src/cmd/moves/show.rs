//! `redirect move show`

use anstream::println;
use clap::Args;
use clap_complete::ArgValueCompleter;

use super::{path, state};
use crate::{
    api::moves::{HeldView, MoveView},
    cmd::{
        Context, completions,
        output::{self, BOLD},
        table::{Table, number, text},
        units,
    },
    error::Error,
    migrate::{
        carried::Followed,
        machine::Owner,
        memory::{Choice, Way},
    },
};

/// Show a move in full: how far it is, when it came so far, and what was held
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The number of the move
    #[arg(add = ArgValueCompleter::new(completions::move_ids))]
    id: u32,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let moved: MoveView = context.client.get(&path(self.id, "")).await?;
        if context.json {
            output::json(&moved);
        } else {
            print(&moved);
        }
        Ok(())
    }
}

fn print(moved: &MoveView) {
    println!("{BOLD}move {}{BOLD:#}", moved.id);
    if let Some(label) = &moved.label {
        output::field("label", label);
    }
    output::field("state", state(moved));
    if let Some(why) = &moved.why {
        output::field("because", why);
    }
    let whose = match moved.owner {
        Owner::Old => "as before",
        Owner::New => "for good",
    };
    output::field("process is at", format!("{} ({whose})", moved.place()));
    for redirect in &moved.redirects {
        let way =
            format!("{} -> {}", redirect.from.target_endpoint(), redirect.to.target_endpoint());
        output::field("redirect", format!("{}: {way}", redirect.from.name));
    }
    output::field("begun", &moved.begun);
    let times = [
        ("parked", &moved.parked),
        ("way back", &moved.returned),
        ("decided", &moved.decided),
        ("delivered", &moved.delivered),
    ];
    for (name, time) in times {
        output::field(name, time.as_deref().unwrap_or("-"));
    }
    output::field("timeout", units::short(moved.timeout_seconds));
    if let Some(seconds) = moved.held_seconds {
        output::field("held for", units::short(seconds));
    }
    if let Some(held) = &moved.held {
        print_held(held);
    }
    print_carried(moved);
    if let Some(carried) = &moved.carried {
        output::warnings(&carried.lost);
    }
}

/// How memory goes, and why so.
pub(in crate::cmd) fn memory(choice: &Choice) -> String {
    let way = match choice.way {
        Way::Copy => "with the process",
        Way::Lazy => "after the process",
    };
    format!("{way}: {}", choice.why)
}

/// What our own engine tells of a move.
pub(in crate::cmd) fn print_carried(moved: &MoveView) {
    if let Some(choice) = &moved.memory {
        output::field("memory goes", memory(choice));
    }
    if let Some(follows) = &moved.follows {
        let behind = match follows.behind() {
            Some(bytes) => units::bytes(bytes),
            None => "some".to_owned(),
        };
        let depends = format!("depends on {}", moved.from);
        output::field("memory", format!("{behind} of it still on {}; it {depends}", moved.from));
    }
    let Some(carried) = &moved.carried else { return };
    if let Some(Followed { bytes, took_us, lost }) = &carried.followed {
        let took = units::short(*took_us as f64 / 1e6);
        output::field("followed", format!("{} in {took}", units::bytes(*bytes)));
        if let Some(why) = lost {
            output::field("memory lost", why);
        }
    }
    output::field("processes", carried.pids.len());
    output::field("images", format!("{} in {} files", units::bytes(carried.bytes), carried.files));
    let stages = &carried.stages;
    for (name, micros) in [
        ("written", stages.dump_us),
        ("revived", stages.transfer_and_restore_us),
        ("ended before", stages.end_us),
        ("delivered in", stages.flip_and_replay_us),
        ("resumed", stages.resume_us),
        ("frozen in all", stages.frozen_us()),
    ] {
        output::field(name, units::short(micros as f64 / 1e6));
    }
}

fn print_held(held: &HeldView) {
    output::field("held", units::traffic(held.traffic));
    output::field("overflow", units::traffic(held.overflow));
    output::field("lost", format!("{} packets", held.lost));
    if let Some(seconds) = held.replay_seconds {
        output::field("delivering", units::short(seconds));
    }
    if held.flows.is_empty() {
        return;
    }
    println!();
    let mut table = Table::new(&["PROTO", "PEER", "HOME", "PACKETS", "BYTES"]);
    for flow in &held.flows {
        table.row([
            text(flow.protocol),
            text(flow.peer),
            text(flow.home),
            number(units::count(flow.traffic.packets)),
            number(units::bytes(flow.traffic.bytes)),
        ]);
    }
    table.print();
    if held.flow_count > held.flows.len() {
        println!("… and {} flows more", held.flow_count - held.flows.len());
    }
}
