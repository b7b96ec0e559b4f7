//! What was asked, in words, and whether it was reached.

use super::number::{NOTHING, number, telling_digits, with_range, with_unit};
use crate::result::{
    Run, Suite,
    target::{Bound, Target},
};

/// Whether a target was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was.
    Reached,
    /// It was not.
    Missed,
    /// Nothing was measured that could tell.
    Unknown,
    /// The figures mean nothing.
    NotJudged,
}

impl Outcome {
    /// In a word or two.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "not reached",
            Self::Unknown => "not measured",
            Self::NotJudged => "not judged",
        }
    }
}

/// One line of the table of targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Name of the suite.
    pub(super) suite: String,
    /// What was asked of whom.
    pub(super) what: String,
    /// The bound.
    pub(super) asked: String,
    /// Median and range.
    pub(super) measured: String,
    /// Whether it was reached.
    pub(super) outcome: Outcome,
}

/// All targets of `run`, in the order of its suites.
pub(super) fn of(run: &Run) -> Vec<Verdict> {
    let of_suite = |suite| move |target| of_target(suite, target, run.quick);
    run.suites.iter().flat_map(|suite| suite.targets.iter().map(of_suite(suite))).collect()
}

/// How many were reached, in a sentence; `None` if there are no targets.
pub(super) fn sentence(verdicts: &[Verdict]) -> Option<String> {
    let count = |outcome| verdicts.iter().filter(|verdict| verdict.outcome == outcome).count();
    let (reached, missed) = (count(Outcome::Reached), count(Outcome::Missed));
    let (unknown, unjudged) = (count(Outcome::Unknown), count(Outcome::NotJudged));
    match verdicts.len() {
        0 => None,
        all if all == unjudged => {
            Some(format!("{all} targets, none of which a quick run can judge."))
        }
        all => {
            let more =
                if unknown > 0 { format!(", {unknown} not measured") } else { String::new() };
            Some(format!("{reached} of {all} targets reached, {missed} not reached{more}."))
        }
    }
}

fn of_target(suite: &Suite, target: &Target, quick: bool) -> Verdict {
    let (Bound::AtMost(value) | Bound::AtLeast(value)) = target.bound;
    let metric = suite.metric(&target.figure.metric);
    let (unit, digits) = match (&target.over, metric) {
        (Some(_), _) => ("×", telling_digits(value)),
        (None, Some(metric)) => (metric.unit.as_str(), metric.digits.max(telling_digits(value))),
        (None, None) => ("", telling_digits(value)),
    };
    let side = if let Bound::AtMost(_) = target.bound { "at most" } else { "at least" };
    let own_digits = value.to_string().split_once('.').map_or(0, |(_, digits)| digits.len());
    let outcome = match target.reached(suite) {
        _ if quick => Outcome::NotJudged,
        None => Outcome::Unknown,
        Some(true) => Outcome::Reached,
        Some(false) => Outcome::Missed,
    };
    let measured = target.measured(suite);
    Verdict {
        suite: suite.name.clone(),
        what: target.what.clone(),
        asked: format!("{side} {}", with_unit(&number(value, own_digits), unit)),
        measured: measured.map_or(NOTHING.into(), |found| with_range(&found, digits)),
        outcome,
    }
}
