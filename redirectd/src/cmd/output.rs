//! How things are printed: JSON, tables, colours and units.

use std::fmt;

use anstream::{ColorChoice, eprintln, print, println};
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    api::types::{ChangeReport, Document, Failure, Step},
    dataplane::{Change, Removal, State, Traffic},
    error::Error,
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
    } else {
        report.changes.iter().for_each(done);
    }
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

/// One field of a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

/// Text as it is.
pub(super) fn text(text: impl ToString) -> Cell {
    Cell { text: text.to_string(), style: PLAIN, right: false }
}

/// A number, to the right.
pub(super) fn number(text: impl ToString) -> Cell {
    Cell { text: text.to_string(), style: PLAIN, right: true }
}

impl Cell {
    /// The same, in `style`.
    pub(super) fn style(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// A state, in the colour it deserves.
pub(super) fn state(state: State) -> Cell {
    match state {
        State::Active => text("active").style(GOOD),
        State::Draining => text("draining").style(WARN),
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{0}{1}{0:#}", self.style, self.text)
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

/// Rows under a header, each column as wide as its widest field.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub(super) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|&name| text(name).style(BOLD)).collect()] }
    }

    /// One more row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it.
    pub(super) fn print(&self) {
        for line in self.lines() {
            println!("{line}");
        }
    }

    /// Its lines, with colours.
    pub(super) fn lines(&self) -> Vec<String> {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(move |row| row.get(column))
                .map(|cell| cell.text.chars().count())
        };
        let widths: Vec<usize> = (0..columns).map(|c| width(c).max().unwrap_or(0)).collect();
        // Headers stand over their numbers: to the right if the column does.
        let right: Vec<bool> =
            (0..columns).map(|c| self.rows.get(1).is_some_and(|row| row[c].right)).collect();
        let line = |row: &Vec<Cell>| {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - cell.text.chars().count());
                let (before, after) = if right[column] { (&*padding, "") } else { ("", &*padding) };
                let style = cell.style;
                line.push_str(&format!("{before}{style}{}{style:#}{after}  ", cell.text));
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Bytes in decimal units: `999 B`, `1.5 kB`, `2.0 GB`.
pub(super) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1_000.0, " B", &[" kB", " MB", " GB", " TB", " PB", " EB"])
}

/// A count, shortened from ten thousand on: `9999`, `12.3k`, `4.6M`.
pub(super) fn count(count: u64) -> String {
    if count < 10_000 {
        return count.to_string();
    }
    scaled(count as f64, 1_000.0, "", &["k", "M", "G", "T", "P", "E"])
}

fn scaled(value: f64, step: f64, unit: &str, larger: &[&str]) -> String {
    let (mut value, mut unit, mut larger) = (value, unit, larger.iter());
    if value < step {
        return format!("{value:.0}{unit}");
    }
    while value >= step {
        let Some(next) = larger.next() else { break };
        value /= step;
        unit = next;
    }
    format!("{value:.1}{unit}")
}

/// Packets and bytes in one field.
pub(super) fn traffic(traffic: Traffic) -> String {
    format!("{} packets, {}", count(traffic.packets), bytes(traffic.bytes))
}

/// Seconds as people say them: `0.2s`, `59s`, `2m 5s`, `1h 3m`, `4d 2h`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (minutes, hours, days) {
        (0, ..) => format!("{seconds}s"),
        (_, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (_, _, 0) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_readable() {
        let cases = [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2_000_000_000, "2.0 GB")];
        for (value, expected) in cases {
            assert_eq!(bytes(value), expected);
        }
        for (value, expected) in [(0, "0"), (9_999, "9999"), (12_345, "12.3k"), (4_560_000, "4.6M")]
        {
            assert_eq!(count(value), expected);
        }
        assert!(bytes(u64::MAX).ends_with(" EB"));
        let cases = [(0.25, "0.2s"), (59.9, "59s"), (125.0, "2m 5s"), (3_780.0, "1h 3m")];
        for (value, expected) in cases {
            assert_eq!(duration(value), expected);
        }
        assert_eq!(duration(352_800.0), "4d 2h");
    }

    #[test]
    fn columns_are_aligned_whatever_their_colour() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row([text("web").style(GOOD), number(7)]);
        table.row([text("mail-server"), number(1_234)]);
        let plain: Vec<String> = table
            .lines()
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(plain, ["NAME            N", "web             7", "mail-server  1234"]);
    }
}
