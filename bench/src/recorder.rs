//! What a suite writes its figures to while it runs, so that those measured
//! before an error or an interruption are kept.

use std::time::Instant;

use crate::{
    progress::Progress,
    result::{Absent, Better, Case, Metric, Plot, Series, Suite, target::Target},
};

/// The figures of a suite under way.
pub(crate) struct Recorder {
    suite: Suite,
    started: Instant,
    /// What is being done, for whoever waits.
    pub(crate) progress: Progress,
}

impl Recorder {
    /// For the suite `name`, which is about `title`.
    pub(crate) fn new(name: &str, title: &str, progress: Progress) -> Self {
        let suite = Suite { name: name.into(), title: title.into(), ..Suite::default() };
        Self { suite, started: Instant::now(), progress }
    }

    /// What is measured and how.
    pub(crate) fn about(&mut self, text: &str) {
        self.suite.about = text.into();
    }

    /// States a parameter.
    pub(crate) fn parameter(&mut self, name: &str, value: impl ToString) {
        self.suite.parameters.push((name.into(), value.to_string()));
    }

    /// Introduces a metric, before its first figure.
    pub(crate) fn metric(&mut self, name: &str, unit: &str, better: Better) -> &mut Metric {
        self.suite.metrics.push(Metric {
            name: name.into(),
            unit: unit.into(),
            better,
            digits: 2,
            ratios_to: Vec::new(),
            plot: Plot::None,
            cases: Vec::new(),
        });
        self.suite.metrics.last_mut().expect("one was pushed")
    }

    /// Adds the next round's figure of `contestant`.
    ///
    /// # Panics
    /// Nobody has introduced the metric.
    pub(crate) fn record(&mut self, metric: &str, case: &str, contestant: &str, value: f64) {
        self.series(metric, case, contestant).rounds.push(value);
    }

    /// Adds a paper's own figure.
    ///
    /// # Panics
    /// Nobody has introduced the metric.
    pub(crate) fn quote(&mut self, metric: &str, case: &str, source: &str, value: f64) {
        let series = self.series(metric, case, source);
        series.quoted = true;
        series.rounds = vec![value];
    }

    /// Says where `case` stands on the axis of a plot.
    ///
    /// # Panics
    /// Nobody has introduced the metric.
    pub(crate) fn place(&mut self, metric: &str, case: &str, x: f64) {
        self.case(metric, case).x = Some(x);
    }

    /// `contestant` could not be measured (in `case`, or at all).
    pub(crate) fn absent(&mut self, contestant: &str, case: Option<&str>, reason: &str) {
        let absent = Absent {
            contestant: contestant.into(),
            case: case.map(str::to_owned),
            reason: reason.into(),
        };
        if !self.suite.absent.contains(&absent) {
            self.suite.absent.push(absent);
        }
    }

    /// Adds what is asked of the figures.
    pub(crate) fn target(&mut self, target: Target) {
        self.suite.targets.push(target);
    }

    /// Adds what the figures alone do not say.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.suite.notes.push(text.into());
    }

    /// What was measured so far, for figures that are made of others.
    pub(crate) fn so_far(&self) -> &Suite {
        &self.suite
    }

    /// The suite is over, or has failed.
    pub(crate) fn finish(mut self) -> Suite {
        self.suite.seconds = self.started.elapsed().as_secs_f64();
        self.suite
    }

    fn case(&mut self, metric: &str, case: &str) -> &mut Case {
        let metric = self
            .suite
            .metrics
            .iter_mut()
            .find(|known| known.name == metric)
            .unwrap_or_else(|| panic!("the suite has introduced no metric `{metric}`"));
        let at = metric.cases.iter().position(|known| known.name == case).unwrap_or_else(|| {
            metric.cases.push(Case { name: case.into(), x: None, series: Vec::new() });
            metric.cases.len() - 1
        });
        &mut metric.cases[at]
    }

    fn series(&mut self, metric: &str, case: &str, contestant: &str) -> &mut Series {
        let case = self.case(metric, case);
        let known = case.series.iter().position(|series| series.contestant == contestant);
        let at = known.unwrap_or_else(|| {
            let contestant = contestant.into();
            case.series.push(Series { contestant, quoted: false, rounds: Vec::new() });
            case.series.len() - 1
        });
        &mut case.series[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_again_by_metric_case_and_contestant() {
        let mut recorder = Recorder::new("s", "a suite", Progress::silent());
        recorder.metric("time", "s", Better::Lower).digits = 3;
        for value in [1.0, 2.0] {
            recorder.record("time", "one", "a", value);
            recorder.record("time", "one", "b", 10.0 * value);
        }
        recorder.quote("time", "one", "the paper", 5.0);
        recorder.place("time", "one", 1.0);
        let suite = recorder.finish();
        let time = suite.metric("time").unwrap();
        assert_eq!(time.rounds("one", "b"), Some(&[10.0, 20.0][..]));
        assert_eq!(time.contestants(), ["a", "b", "the paper"]);
        assert_eq!(time.case("one").unwrap().x, Some(1.0));
        assert!(time.case("one").unwrap().series[2].quoted);
    }

    #[test]
    fn the_same_absence_is_told_once() {
        let mut recorder = Recorder::new("s", "a suite", Progress::silent());
        recorder.absent("haproxy", None, "not installed");
        recorder.absent("haproxy", None, "not installed");
        assert_eq!(recorder.finish().absent.len(), 1);
    }
}
