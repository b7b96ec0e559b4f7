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
    /// The number of its cause, if it was missed and that is known.
    cause: Option<usize>,
}

impl Verdict {
    /// Such as `not reached (2)`, with the number of the cause.
    pub(super) fn text(&self) -> String {
        let outcome = self.outcome.text();
        self.cause.map_or(outcome.into(), |number| format!("{outcome} {}", mark(number)))
    }
}

/// The targets of one suite, and why those that were missed were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfSuite {
    /// In their order.
    pub(super) verdicts: Vec<Verdict>,
    /// Each once, with its number before it; running text.
    pub(super) causes: Vec<String>,
}

/// All targets of `run`, in the order of its suites.
pub(super) fn of(run: &Run) -> Vec<OfSuite> {
    let mut numbers = 0;
    run.suites.iter().map(|suite| of_suite(suite, run.quick, &mut numbers)).collect()
}

/// How many were reached, in a sentence; `None` if there are no targets.
pub(super) fn sentence(suites: &[OfSuite]) -> Option<String> {
    let verdicts: Vec<_> = suites.iter().flat_map(|suite| &suite.verdicts).collect();
    let count = |outcome| verdicts.iter().filter(|verdict| verdict.outcome == outcome).count();
    let (reached, missed) = (count(Outcome::Reached), count(Outcome::Missed));
    let (unknown, unjudged) = (count(Outcome::Unknown), count(Outcome::NotJudged));
    match verdicts.len() {
        0 => None,
        all if all == unjudged => {
            Some(format!("{all} targets, none of which a quick run can judge."))
        }
        all => {
            let is_open =
                |verdict: &&&Verdict| verdict.outcome == Outcome::Missed && verdict.cause.is_none();
            let open = match verdicts.iter().filter(is_open).count() {
                0 => String::new(),
                open => format!(" ({open} without a known cause)"),
            };
            let more =
                if unknown > 0 { format!(", {unknown} not measured") } else { String::new() };
            Some(format!("{reached} of {all} targets reached, {missed} not reached{open}{more}."))
        }
    }
}

/// Causes are numbered on from `numbers`.
fn of_suite(suite: &Suite, quick: bool, numbers: &mut usize) -> OfSuite {
    let mut causes: Vec<&str> = Vec::new();
    let verdict = |target| {
        let mut verdict = of_target(suite, target, quick);
        if let (Outcome::Missed, Some(cause)) = (verdict.outcome, &target.cause) {
            let at = causes.iter().position(|known| known == cause).unwrap_or_else(|| {
                causes.push(cause);
                causes.len() - 1
            });
            verdict.cause = Some(*numbers + 1 + at);
        }
        verdict
    };
    let verdicts = suite.targets.iter().map(verdict).collect();
    let numbered = (*numbers + 1..).zip(&causes);
    let told = numbered.map(|(number, cause)| format!("{} {cause}", mark(number))).collect();
    *numbers += causes.len();
    OfSuite { verdicts, causes: told }
}

/// How a cause is referred to.
fn mark(number: usize) -> String {
    format!("({number})")
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
        cause: None,
    }
}
