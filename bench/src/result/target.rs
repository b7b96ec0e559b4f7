//! What is asked of the figures, and whether they fulfil it.

use serde::{Deserialize, Serialize};

use super::{Better, Suite};
use crate::statistics::Summary;

/// A bound on a figure, or on its ratio to another one of the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// In words, such as `XDP against iptables, 1 flow`.
    pub(crate) what: String,
    /// What is held to the bound.
    pub(crate) figure: Figure,
    /// What it is divided by, round by round.
    pub(crate) over: Option<Figure>,
    /// The bound.
    pub(crate) bound: Bound,
    /// What is known to keep figures from it; told only where it is missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
}

/// A figure, by its place in the suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Name of the metric.
    pub(crate) metric: String,
    /// Name of the case.
    pub(crate) case: String,
    /// Names of contestants, of which the one with the best median counts.
    pub(crate) best_of: Vec<String>,
}

/// On which side of what.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Bound {
    /// Whether `value` fulfils it.
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl Figure {
    /// The figure of `contestant`.
    pub(crate) fn new(metric: &str, case: &str, contestant: &str) -> Self {
        Self::best(metric, case, &[contestant])
    }

    /// The figure of the best of `contestants`.
    pub(crate) fn best(metric: &str, case: &str, contestants: &[&str]) -> Self {
        let best_of = contestants.iter().map(|&name| name.to_owned()).collect();
        Self { metric: metric.into(), case: case.into(), best_of }
    }

    /// Its rounds in `suite`, if it was measured.
    fn rounds<'a>(&self, suite: &'a Suite) -> Option<&'a [f64]> {
        let metric = suite.metric(&self.metric)?;
        let measured =
            self.best_of.iter().filter_map(|contestant| metric.rounds(&self.case, contestant));
        let median = |rounds: &&[f64]| Summary::of(rounds).map_or(f64::NAN, |s| s.median);
        let by_median = |a: &&[f64], b: &&[f64]| median(a).total_cmp(&median(b));
        match metric.better {
            Better::Higher => measured.max_by(by_median),
            Better::Lower | Better::Neither => measured.min_by(by_median),
        }
    }
}

impl Target {
    /// That `figure` is within `bound`.
    pub(crate) fn figure(what: &str, figure: Figure, bound: Bound) -> Self {
        Self { what: what.into(), figure, over: None, bound, cause: None }
    }

    /// That `figure` divided by `over` is within `bound`.
    pub(crate) fn ratio(what: &str, figure: Figure, over: Figure, bound: Bound) -> Self {
        Self { what: what.into(), figure, over: Some(over), bound, cause: None }
    }

    /// The same, with what is known to be the `cause` where it is missed: running
    /// text, in which `code` stands between backquotes.
    pub(crate) fn because(self, cause: &str) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// What was measured in `suite`; `None` if nothing was. The median is held
    /// to the bound.
    pub(crate) fn measured(&self, suite: &Suite) -> Option<Summary> {
        let rounds = self.figure.rounds(suite)?;
        match &self.over {
            None => Summary::of(rounds),
            Some(over) => Summary::of_ratios(rounds, over.rounds(suite)?),
        }
    }

    /// Whether what was measured in `suite` is within the bound; `None` if
    /// nothing was measured.
    pub(crate) fn reached(&self, suite: &Suite) -> Option<bool> {
        Some(self.bound.holds(self.measured(suite)?.median))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Case, Metric, Plot, Series};

    fn suite(better: Better) -> Suite {
        let series = |contestant: &str, rounds: &[f64]| Series {
            contestant: contestant.into(),
            quoted: false,
            rounds: rounds.into(),
        };
        let case = Case {
            name: "c".into(),
            x: None,
            series: vec![
                series("tc", &[2.0, 4.0, 6.0]),
                series("xdp", &[3.0, 3.0, 3.0]),
                series("base", &[1.0, 2.0, 3.0]),
            ],
        };
        let metric = Metric {
            name: "m".into(),
            unit: "s".into(),
            better,
            digits: 1,
            ratios_to: Vec::new(),
            plot: Plot::None,
            cases: vec![case],
        };
        Suite { metrics: vec![metric], ..Suite::default() }
    }

    #[test]
    fn ratios_are_taken_round_by_round_and_the_median_is_judged() {
        let over = Figure::new("m", "c", "base");
        let target = |bound| Target::ratio("", Figure::new("m", "c", "tc"), over.clone(), bound);
        let suite = suite(Better::Lower);
        let measured = target(Bound::AtMost(2.0)).measured(&suite).unwrap();
        assert_eq!(measured, Summary { median: 2.0, min: 2.0, max: 2.0 });
        assert_eq!(target(Bound::AtMost(2.0)).reached(&suite), Some(true));
        assert_eq!(target(Bound::AtMost(1.9)).reached(&suite), Some(false));
        assert_eq!(target(Bound::AtLeast(2.0)).reached(&suite), Some(true));
        assert_eq!(target(Bound::AtLeast(2.1)).reached(&suite), Some(false));
    }

    #[test]
    fn the_best_is_the_one_with_the_better_median() {
        let best = Figure::best("m", "c", &["tc", "xdp", "gone"]);
        let target = Target::figure("", best, Bound::AtLeast(0.0));
        assert_eq!(target.measured(&suite(Better::Higher)).unwrap().median, 4.0);
        assert_eq!(target.measured(&suite(Better::Lower)).unwrap().median, 3.0);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let target = Target::figure("", Figure::new("m", "c", "gone"), Bound::AtMost(1e9));
        assert_eq!(target.reached(&suite(Better::Lower)), None);
    }
}
