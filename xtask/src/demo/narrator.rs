//! What the audience sees: chapters, commands, counters, and a table at the end;
//! in colour on a terminal that wants it.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
};

use serde_json::Value;

const BOLD: &str = "1";
const DIM: &str = "2";
const COMMAND: &str = "1;36";
const GOOD: &str = "1;32";

/// Tells the story.
pub(super) struct Narrator {
    terminal: bool,
    colour: bool,
    chapters: u32,
    seen: Vec<[String; 3]>,
    counters_shown: bool,
}

impl Narrator {
    /// One that suits the standard output.
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { terminal, colour, chapters: 0, seen: Vec::new(), counters_shown: false }
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
        let line = counters_line(stats);
        if self.terminal {
            print!("\r\x1b[K   {}", self.paint(DIM, &line));
            // A terminal that has gone is told by the next line.
            let _ = io::stdout().flush();
            self.counters_shown = true;
        } else {
            println!("   {line}");
        }
    }

    /// Leaves the last counters where they are.
    pub(super) fn end_counters(&mut self) {
        if std::mem::take(&mut self.counters_shown) {
            println!();
        }
    }

    /// Keeps what was seen for the table: when, what was done, what came of it.
    pub(super) fn record(&mut self, when: &str, what: &str, outcome: &str) {
        self.seen.push([when, what, outcome].map(str::to_owned));
    }

    /// Shows the table of all that was seen.
    pub(super) fn table(&self) {
        let width = |column: usize| {
            self.seen.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let (when, what) = (width(0), width(1));
        for row in &self.seen {
            println!("   {:when$}  {:what$}  {}", row[0], row[1], self.paint(GOOD, &row[2]));
        }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// One line of what `redirect stats --json` says: each redirect with its flows
/// and what it has carried.
fn counters_line(stats: &Value) -> String {
    let one = |redirect: &Value| {
        let sum = |unit: &str| {
            let of = |side: &str| redirect["counters"][side][unit].as_u64().unwrap_or_default();
            of("to_host") + of("to_peer")
        };
        let name = redirect["name"].as_str().unwrap_or_default();
        let flows = redirect["open_flows"].as_u64().unwrap_or_default();
        let (packets, megabytes) = (sum("packets"), sum("bytes") / 1_000_000);
        format!("{name}: {flows} flows, {packets} packets, {megabytes} MB")
    };
    let redirects = stats["redirects"].as_array().into_iter().flatten();
    redirects.map(one).collect::<Vec<_>>().join("   ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_fit_on_a_line() {
        let stats = serde_json::json!({ "redirects": [
            { "name": "bulk", "open_flows": 2, "counters": {
                "to_host": { "packets": 10, "bytes": 9_000_000 },
                "to_peer": { "packets": 5, "bytes": 1_500_000 },
            } },
        ] });
        assert_eq!(counters_line(&stats), "bulk: 2 flows, 15 packets, 10 MB");
        assert_eq!(counters_line(&Value::Null), "");
    }
}
