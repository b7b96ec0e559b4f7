//! What a run yields: figures by suite, metric, case and contestant, as they
//! are written to JSON, read again for comparisons, and shown in reports.
//!
//! Suites fill this in and know nothing of reports; reports show it and know
//! nothing of suites.

#[cfg(test)]
pub(crate) mod fixture;
mod read;
pub(crate) mod target;

use serde::{Deserialize, Serialize};

use self::target::Target;
use crate::{machine::Machine, statistics::Summary};

/// Version of the JSON; raised when a field changes its meaning or goes.
pub(crate) const VERSION: u32 = 2;

/// One run of the bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// See [`VERSION`].
    pub(crate) version: u32,
    /// Whether the figures are those of a smoke test and mean nothing.
    pub(crate) quick: bool,
    /// The command that does the same again.
    pub(crate) command: String,
    /// The day it began, as `2026-07-01` (UTC).
    pub(crate) date: String,
    /// Why it ended early, if it did; what was measured before is here.
    pub(crate) ended_early: Option<String>,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// In the order they ran.
    pub(crate) suites: Vec<Suite>,
}

/// The figures of one suite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suite {
    /// Its name on the command line.
    pub(crate) name: String,
    /// What it is about, in a few words.
    pub(crate) title: String,
    /// What is measured and how, for someone who doubts it; paragraphs are
    /// parted by an empty line.
    pub(crate) about: String,
    /// Every parameter and its value.
    pub(crate) parameters: Vec<(String, String)>,
    /// In the order of the report.
    pub(crate) metrics: Vec<Metric>,
    /// Who could not be measured, and why.
    pub(crate) absent: Vec<Absent>,
    /// What was asked of the figures.
    pub(crate) targets: Vec<Target>,
    /// What the figures alone do not say.
    pub(crate) notes: Vec<String>,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// One kind of figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metric {
    /// Such as `execution time`; unique in its suite.
    pub(crate) name: String,
    /// Such as `s`; empty for plain numbers.
    pub(crate) unit: String,
    /// Which way is good.
    pub(crate) better: Better,
    /// Digits after the point in tables.
    pub(crate) digits: usize,
    /// Contestants are also shown as ratios to these, round by round.
    pub(crate) ratios_to: Vec<String>,
    /// How it is drawn.
    pub(crate) plot: Plot,
    /// In the order of the report.
    pub(crate) cases: Vec<Case>,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Better {
    /// Less.
    Lower,
    /// More.
    Higher,
    /// Neither: a fact.
    Neither,
}

/// How a metric is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Plot {
    /// Not at all.
    None,
    /// A bar for each contestant, grouped by case.
    Bars,
    /// A line for each contestant over [`Case::x`].
    Lines,
}

/// What was asked of every contestant alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// Such as `50 connections`; unique in its metric.
    pub(crate) name: String,
    /// Where it stands on the axis of a plot of lines.
    pub(crate) x: Option<f64>,
    /// In the order of the report.
    pub(crate) series: Vec<Series>,
}

/// The figures of one contestant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// Who.
    pub(crate) contestant: String,
    /// Whether it was not measured here but is a paper's own figure.
    pub(crate) quoted: bool,
    /// One for each round; the n-th of all contestants of a case were measured
    /// in the same round. JSON has `null` for what is no number.
    #[serde(deserialize_with = "read::numbers")]
    pub(crate) rounds: Vec<f64>,
}

/// A contestant that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Absent {
    /// Who.
    pub(crate) contestant: String,
    /// In which case; none means all.
    pub(crate) case: Option<String>,
    /// Why.
    pub(crate) reason: String,
}

impl Run {
    /// Such as `paper, pps`.
    pub(crate) fn suite_names(&self) -> String {
        self.suites.iter().map(|suite| suite.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Suite {
    /// Whether there is a figure that is not a paper's.
    pub(crate) fn is_measured(&self) -> bool {
        let mut series = self.metrics.iter().flat_map(|m| &m.cases).flat_map(|c| &c.series);
        series.any(|series| !series.quoted && !series.rounds.is_empty())
    }

    /// The metric of this name.
    pub(crate) fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

impl Metric {
    /// The figures of `contestant` in `case`, round by round.
    pub(crate) fn rounds(&self, case: &str, contestant: &str) -> Option<&[f64]> {
        self.case(case)?.rounds(contestant)
    }

    /// The case of this name.
    pub(crate) fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }

    /// Every contestant of any case, in the order of their first appearance.
    pub(crate) fn contestants(&self) -> Vec<&str> {
        let mut all = Vec::new();
        for series in self.cases.iter().flat_map(|case| &case.series) {
            if !all.contains(&series.contestant.as_str()) {
                all.push(&series.contestant);
            }
        }
        all
    }
}

impl Case {
    /// The figures of `contestant`, round by round.
    pub(crate) fn rounds(&self, contestant: &str) -> Option<&[f64]> {
        let series = self.series.iter().find(|series| series.contestant == contestant)?;
        Some(&series.rounds)
    }
}

impl Series {
    /// Median and range.
    pub(crate) fn summary(&self) -> Option<Summary> {
        Summary::of(&self.rounds)
    }
}
