//! What comes out: tables for people, JSON for programs, a plot for documents.

pub(crate) mod control;
pub(crate) mod machine;
pub(crate) mod plot;
pub(crate) mod pps;
pub(crate) mod program;
mod table;

use serde::Serialize;
use serde_json::{Value, json};

/// Version of the JSON; raised when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// All results of one run.
pub(crate) struct Report {
    /// Where it ran.
    pub(crate) machine: machine::Machine,
    /// Whether the figures are those of a smoke test and mean nothing.
    pub(crate) quick: bool,
    /// Packets a second, if measured.
    pub(crate) pps: Vec<pps::Outcome>,
    /// Times of the control plane, if measured.
    pub(crate) control: Option<control::Outcome>,
    /// Nanoseconds in the programs, if measured.
    pub(crate) program: Vec<program::Timed>,
}

impl Report {
    /// One without results.
    pub(crate) fn new(machine: machine::Machine, quick: bool) -> Self {
        Self { machine, quick, pps: Vec::new(), control: None, program: Vec::new() }
    }

    /// The whole report, for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "version": VERSION,
            "quick": self.quick,
            "machine": self.machine,
            "pps": self.pps.iter().map(pps::Outcome::json).collect::<Vec<_>>(),
            "control": self.control.as_ref().map(control::Outcome::json),
            "program": program::json(&self.program),
        })
    }

    /// The whole report, for a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = self.machine.text();
        for outcome in &self.pps {
            text += &format!("\n{}", outcome.text());
        }
        if let Some(control) = &self.control {
            text += &format!("\n{}", control.text());
        }
        if !self.program.is_empty() {
            text += &format!("\n{}", program::text(&self.program));
        }
        if self.quick {
            text += "\nA quick run: it shows that everything works; its figures mean nothing.\n";
        }
        text
    }
}

/// A JSON form of `value`, which has no map keys that JSON does not know.
fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data always has a JSON form")
}
