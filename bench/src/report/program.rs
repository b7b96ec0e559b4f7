//! Nanoseconds for each packet in a program, and how they are shown.

use std::fmt;

use serde_json::{Value, json};

use super::table::Table;
use crate::{statistics::Summary, suite::program::Entry};

/// One of the things measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    /// The program's hook.
    pub(crate) entry: Entry,
    /// What it was given.
    pub(crate) name: String,
}

/// A case with its measurements; the n-th of each was in the same round.
#[derive(Debug)]
pub(crate) struct Timed {
    /// The case.
    pub(crate) case: Case,
    /// Nanoseconds for one packet, wrapper included; one for each round.
    pub(crate) ns: Vec<f64>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = match self.entry {
            Entry::Xdp => "XDP",
            Entry::Tc => "tc",
        };
        write!(f, "{entry}, {}", self.name)
    }
}

/// What a case takes beyond the first of the same entry, which is the empty
/// program, round by round.
fn beyond_empty(timed: &Timed, all: &[Timed]) -> Option<Summary> {
    let empty = all.iter().find(|other| other.case.entry == timed.case.entry)?;
    let differences: Vec<f64> =
        timed.ns.iter().zip(&empty.ns).map(|(ns, floor)| ns - floor).collect();
    Summary::of(&differences)
}

pub(super) fn json(all: &[Timed]) -> Value {
    let case = |timed: &Timed| {
        json!({
            "case": timed.case.to_string(),
            "ns": Summary::of(&timed.ns),
            "ns_beyond_empty": beyond_empty(timed, all),
            "samples_ns": timed.ns,
        })
    };
    all.iter().map(case).collect()
}

pub(super) fn text(all: &[Timed]) -> String {
    let mut table = Table::new(&["program", "ns", "range", "ns beyond empty"]);
    for timed in all {
        let Some(ns) = Summary::of(&timed.ns) else { continue };
        table.row(vec![
            timed.case.to_string(),
            format!("{:.1}", ns.median),
            format!("{:.1}–{:.1}", ns.min, ns.max),
            beyond_empty(timed, all).map_or("–".into(), |s| format!("{:.1}", s.median)),
        ]);
    }
    format!(
        "Nanoseconds for one 60-byte UDP packet in the program alone (and the wrapper that makes \
         the packet anew), one processor\n{}",
        table.text()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(entry: Entry, name: &str, ns: &[f64]) -> Timed {
        Timed { case: Case { entry, name: name.into() }, ns: ns.into() }
    }

    #[test]
    fn each_entry_has_an_empty_program_of_its_own() {
        let all = [
            timed(Entry::Xdp, "empty", &[20.0, 30.0]),
            timed(Entry::Xdp, "flow", &[50.0, 70.0]),
            timed(Entry::Tc, "empty", &[40.0, 40.0]),
            timed(Entry::Tc, "flow", &[100.0, 120.0]),
        ];
        let beyond = |n: usize| beyond_empty(&all[n], &all).unwrap();
        assert_eq!(beyond(1), Summary { median: 35.0, min: 30.0, max: 40.0 });
        assert_eq!(beyond(3).median, 70.0);
        assert!(text(&all).contains("tc, flow"));
        assert_eq!(json(&all)[3]["ns_beyond_empty"]["median"], 70.0);
    }
}
