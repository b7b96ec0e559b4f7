//! What the audience sees: chapters, commands, counters, and a table at the end;
//! in colour on a terminal that wants it.

use std::{
    collections::BTreeMap,
    env,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use serde_json::Value;

const BOLD: &str = "1";
const DIM: &str = "2";
const COMMAND: &str = "1;36";
const GOOD: &str = "1;32";
const CHART: &str = "36";
/// How often counters are shown where each stays on a line of its own.
const SELDOM: Duration = Duration::from_secs(1);

/// Tells the story.
pub(super) struct Narrator {
    terminal: bool,
    colour: bool,
    chapters: u32,
    seen: Vec<[String; 3]>,
    counters: Counters,
    shown: Option<Instant>,
}

impl Narrator {
    /// One that suits the standard output.
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let counters = Counters::default();
        Self { terminal, colour, chapters: 0, seen: Vec::new(), counters, shown: None }
    }

    /// Begins a chapter.
    pub(super) fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        println!("\n{}", self.paint(BOLD, &format!("{}. {title}", self.chapters)));
    }

    /// Introduces a host.
    pub(super) fn host(&self, name: &str, address: &str, what: &str) {
        println!("   {}  {address:10} {what}", self.paint(BOLD, &format!("{name:4}")));
    }

    /// Says a sentence.
    pub(super) fn say(&self, sentence: &str) {
        println!("   {}", self.paint(DIM, sentence));
    }

    /// Shows a command that is run on `host` now.
    pub(super) fn command(&self, host: &str, line: &str) {
        println!("   {}", self.paint(COMMAND, &format!("{host}# {line}")));
    }

    /// Shows what a command or a file says.
    pub(super) fn output(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("     {line}");
        }
    }

    /// Shows counters, on a terminal in place of the last ones.
    pub(super) fn counters(&mut self, stats: &Value) {
        if !self.terminal && self.shown.is_some_and(|at| at.elapsed() < SELDOM) {
            return;
        }
        let line = self.counters.line(stats, Instant::now());
        if self.terminal {
            print!("\r\x1b[K   {}", self.paint(DIM, &line));
            // A terminal that has gone is told by the next line.
            let _ = io::stdout().flush();
        } else {
            println!("   {line}");
        }
        self.shown = Some(Instant::now());
    }

    /// Leaves the last counters where they are.
    pub(super) fn end_counters(&mut self) {
        if self.shown.take().is_some() && self.terminal {
            println!();
        }
    }

    /// Keeps what was seen for the table: when, what was done, what came of it.
    pub(super) fn record(&mut self, when: &str, what: &str, outcome: &str) {
        self.seen.push([when, what, outcome].map(str::to_owned));
    }

    /// Shows the table of all that was seen.
    pub(super) fn table(&self) {
        self.rows(["WHEN", "WHAT", "SEEN"], &self.seen);
    }

    /// Shows a table.
    pub(super) fn rows<const N: usize>(&self, heads: [&str; N], rows: &[[String; N]]) {
        let heads = heads.map(str::to_owned);
        let width = |column: usize| {
            let rows = rows.iter().chain([&heads]);
            rows.map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        // The last column, which is what came of it all, is as wide as it is.
        let first = |row: &[String; N]| -> String {
            let columns = row.iter().enumerate().take(N - 1);
            columns.map(|(column, text)| format!("{text:0$}  ", width(column))).collect()
        };
        println!("   {}", self.paint(BOLD, &format!("{}{}", first(&heads), heads[N - 1])));
        for row in rows {
            println!("   {}{}", first(row), self.paint(GOOD, &row[N - 1]));
        }
    }

    /// Leaves a line empty.
    pub(super) fn blank(&self) {
        println!();
    }

    /// Shows the lines of a chart.
    pub(super) fn chart(&self, lines: &[String]) {
        for line in lines {
            println!("   {}", self.paint(CHART, line));
        }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What the counters were when they were read last, for the rate.
#[derive(Default)]
struct Counters(BTreeMap<String, (Instant, u64)>);

impl Counters {
    /// One line of what `redirect stats --json` says: each redirect with the
    /// flows it has taken, and what it carries.
    fn line(&mut self, stats: &Value, now: Instant) -> String {
        let redirects = stats["redirects"].as_array().into_iter().flatten();
        redirects.map(|redirect| self.one(redirect, now)).collect::<Vec<_>>().join("   ")
    }

    fn one(&mut self, redirect: &Value, now: Instant) -> String {
        let counters = &redirect["counters"];
        let sum = |unit: &str| {
            let of = |side: &str| counters[side][unit].as_u64().unwrap_or_default();
            of("to_host") + of("to_peer")
        };
        let name = redirect["name"].as_str().unwrap_or_default();
        let flows = counters["flows_opened"].as_u64().unwrap_or_default();
        let (packets, bytes) = (sum("packets"), sum("bytes"));
        let before = self.0.insert(name.to_owned(), (now, bytes));
        let rate = before.map_or(0.0, |(at, before)| {
            bytes.saturating_sub(before) as f64 * 8.0 / (now - at).as_secs_f64().max(0.001) / 1e9
        });
        match bytes / 1_000_000 {
            0 => format!("{name}: {flows} flows, {packets} packets"),
            some => {
                format!("{name}: {flows} flows, {packets} packets, {some} MB, {rate:.1} Gbit/s")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(bytes: u64) -> Value {
        serde_json::json!({ "redirects": [
            { "name": "bulk", "counters": {
                "flows_opened": 2,
                "to_host": { "packets": 10, "bytes": bytes },
                "to_peer": { "packets": 5, "bytes": 1_500_000 },
            } },
        ] })
    }

    #[test]
    fn counters_come_with_their_rate() {
        let (mut counters, begin) = (Counters::default(), Instant::now());
        let first = counters.line(&stats(9_000_000), begin);
        assert_eq!(first, "bulk: 2 flows, 15 packets, 10 MB, 0.0 Gbit/s");
        let second = counters.line(&stats(259_000_000), begin + Duration::from_secs(1));
        assert_eq!(second, "bulk: 2 flows, 15 packets, 260 MB, 2.0 Gbit/s");
        assert_eq!(counters.line(&Value::Null, begin), "");
    }
}
