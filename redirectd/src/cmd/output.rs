//! How things are printed: JSON, tables, colours and units.

use std::{
    fmt,
    io::{self, Write as _},
    panic, process,
};

use anstream::{ColorChoice, eprintln, print, println};
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    api::types::{ChangeReport, Document, Failure, Step},
    dataplane::{Change, Removal},
    error::{Error, Kind},
    plan,
};

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Makes it hold for all that is printed.
    pub(super) fn set(self) {
        let choice = match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::AlwaysAnsi,
            Self::Never => ColorChoice::Never,
        };
        choice.write_global();
    }
}

pub(super) const PLAIN: Style = Style::new();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Prints `body` as a JSON document with its version.
pub(super) fn json<T: Serialize>(body: T) {
    println!("{}", text_of(&body, serde_json::to_string_pretty));
}

/// Prints `body` as a JSON document on one line.
pub(super) fn json_line<T: Serialize>(body: T) {
    println!("{}", text_of(&body, serde_json::to_string));
}

fn text_of<T: Serialize>(body: T, write: fn(&Document<T>) -> serde_json::Result<String>) -> String {
    // Maps with keys that are not text, the one thing that can fail, do not occur.
    write(&Document::new(body)).unwrap_or_default()
}

/// Prints `error` on standard error.
pub(super) fn error(error: &Error, as_json: bool) {
    if as_json {
        eprintln!("{}", text_of(Failure { error: error.clone() }, serde_json::to_string_pretty));
    } else {
        eprintln!("{BAD}error:{BAD:#} {error}");
    }
}

/// See [`super::end_when_unprintable`]: `println!` has no way but a panic to tell that.
pub(super) fn end_when_unprintable() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let why = panic.payload_as_str().and_then(|text| text.strip_prefix("failed printing to "));
        let Some(why) = why else { return default(panic) };
        // Standard error may be what failed.
        let _ = writeln!(
            io::stderr(),
            "error: cannot print to {why}\n  cure: make room where that goes, or send it elsewhere"
        );
        process::exit(Kind::Failed.exit_code().into());
    }));
}

/// Prints what ought to be looked at, on standard error.
pub(super) fn warnings(warnings: &[String]) {
    for warning in warnings {
        eprintln!("{WARN}warning:{WARN:#} {warning}");
    }
}

/// Prints what a change did, or would do; `unchanged` says that there was
/// nothing to do.
pub(super) fn report(report: &ChangeReport, as_json: bool, unchanged: &str) {
    if as_json {
        json(report);
        return;
    }
    warnings(&report.warnings);
    if report.changes.is_empty() {
        println!("{unchanged}");
    } else if report.dry_run {
        let changes: Vec<Change> = report.changes.iter().cloned().map(Into::into).collect();
        print!("{}", plan::render(&changes));
    } else if report.changes.len() <= MOST_LINES {
        report.changes.iter().for_each(done);
    } else {
        summary(&report.changes);
    }
}

/// More changes than this are counted, not listed.
const MOST_LINES: usize = 40;

fn summary(changes: &[Step]) {
    let count = |of: fn(&Step) -> bool| changes.iter().filter(|&step| of(step)).count();
    println!(
        "{GOOD}done:{GOOD:#} {} added, {} changed, {} removed",
        count(|step| matches!(step, Step::Add { .. })),
        count(|step| matches!(step, Step::Update { .. })),
        count(|step| matches!(step, Step::Remove { .. })),
    );
}

fn done(step: &Step) {
    match step {
        Step::Add { redirect } => {
            println!("{GOOD}added{GOOD:#} {BOLD}{}{BOLD:#}: {redirect}", redirect.name);
        }
        Step::Update { redirect, .. } => {
            println!("{GOOD}changed{GOOD:#} {BOLD}{}{BOLD:#}: {redirect}", redirect.name);
        }
        Step::Remove { redirect, removal } => {
            let fate = match removal {
                Removal::Drain => "its open flows go on to their end",
                Removal::Cut => "its open flows were cut",
            };
            println!("{GOOD}removed{GOOD:#} {BOLD}{}{BOLD:#}; {fate}", redirect.name);
        }
    }
}

/// Prints one line of a description.
pub(super) fn field(name: &str, value: impl fmt::Display) {
    println!("  {DIM}{name:<14}{DIM:#} {value}");
}

/// `text` as one segment of a path of the API.
pub(super) fn path_segment(text: &str) -> String {
    let mut segment = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                segment.push(char::from(byte));
            }
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}
