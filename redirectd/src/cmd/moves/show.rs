//! `redirect move show`

use anstream::println;
use clap::Args;
use clap_complete::ArgValueCompleter;

use super::{held, path, state};
use crate::{
    api::moves::MoveView,
    cmd::{
        Context, completions,
        output::{self, BOLD},
        units,
    },
    error::Error,
    migrate::{
        carried::{Copied, Followed, Stages, WentAhead},
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
    if let Some(seconds) = moved.flip_seconds {
        output::field("flip", units::short(seconds));
    }
    if let Some(held) = &moved.held {
        held::print_sums(held);
    }
    print_carried(moved);
    if let Some(carried) = &moved.carried {
        output::warnings(&carried.lost);
    }
    if let Some(held) = &moved.held {
        held::print_flows(held);
    }
}

/// How memory goes, and why so.
pub(in crate::cmd) fn memory(choice: &Choice) -> String {
    let way = match choice.way {
        Way::Copy => "with the process",
        Way::Lazy => "after the process",
        Way::Precopy => "ahead of the process",
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
    if let Some(ahead) = &carried.ahead {
        print_ahead(ahead);
    }
    if let Some(Followed { bytes, took_us, lost }) = &carried.followed {
        let took = units::short(*took_us as f64 / 1e6);
        output::field("followed", format!("{} in {took}", units::bytes(*bytes)));
        if let Some(why) = lost {
            output::field("memory lost", why);
        }
    }
    output::field("processes", carried.pids.len());
    output::field("images", format!("{} in {} files", units::bytes(carried.bytes), carried.files));
    for (name, micros) in stages(&carried.stages) {
        output::field(name, units::short(micros as f64 / 1e6));
    }
}

/// What each round has copied while the process ran, and what was left.
fn print_ahead(ahead: &WentAhead) {
    let copied =
        |copied: &Copied| format!("{} in {} pages", units::bytes(copied.bytes), copied.pages);
    for (round, bytes) in ahead.rounds.iter().enumerate() {
        output::field(&format!("round {}", round + 1), copied(bytes));
    }
    output::field("left", format!("{}, as {}", copied(&ahead.left), ahead.why));
}

/// What each stage is called, and how long it took, in microseconds: those of two parts
/// in one, where nobody told them apart.
fn stages(stages: &Stages) -> Vec<(&'static str, u64)> {
    let parts = |names: [&'static str; 3], whole, parts: (Option<u64>, Option<u64>)| match parts {
        (Some(first), Some(second)) => vec![(names[0], first), (names[1], second)],
        _ => vec![(names[2], whole)],
    };
    let revived = ["transferred", "revived", "revived"];
    let delivered = ["flipped", "delivered in", "delivered in"];
    let Stages { transfer_us, restore_us, flip_us, replay_us, .. } = *stages;
    [
        vec![("written", stages.dump_us)],
        parts(revived, stages.transfer_and_restore_us, (transfer_us, restore_us)),
        vec![("ended before", stages.end_us)],
        parts(delivered, stages.flip_and_replay_us, (flip_us, replay_us)),
        vec![("resumed", stages.resume_us), ("frozen in all", stages.frozen_us())],
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_named_as_far_as_they_are_told_apart() {
        let all = Stages {
            dump_us: 1,
            transfer_and_restore_us: 5,
            transfer_us: Some(2),
            restore_us: Some(3),
            end_us: 4,
            flip_and_replay_us: 11,
            flip_us: Some(5),
            replay_us: Some(6),
            resume_us: 7,
        };
        let told = [
            ("written", 1),
            ("transferred", 2),
            ("revived", 3),
            ("ended before", 4),
            ("flipped", 5),
            ("delivered in", 6),
            ("resumed", 7),
            ("frozen in all", 28),
        ];
        assert_eq!(stages(&all), told);
        let some = Stages { transfer_us: None, restore_us: None, flip_us: None, ..all };
        let told = [
            ("written", 1),
            ("revived", 5),
            ("ended before", 4),
            ("delivered in", 11),
            ("resumed", 7),
            ("frozen in all", 28),
        ];
        assert_eq!(stages(&some), told);
    }
}
