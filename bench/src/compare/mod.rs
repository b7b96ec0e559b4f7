//! What changed between two runs, and whether it exceeds the noise.

mod conditions;
mod rank_sum;
mod text;

use std::{
    fs,
    io::{Write, stdout},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::{
    result::{Better, Run},
    statistics::Summary,
};

/// Two runs side by side.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// What makes the comparison doubtful.
    warnings: Vec<String>,
    /// The figures in both runs, those that got worse first.
    changes: Vec<Change>,
    /// Figures that only the first run has.
    only_before: Vec<Name>,
    /// Figures that only the second run has.
    only_after: Vec<Name>,
}

/// The place of a figure in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Name {
    suite: String,
    metric: String,
    case: String,
    contestant: String,
}

/// A figure in both runs.
#[derive(Debug, Serialize)]
struct Change {
    #[serde(flatten)]
    name: Name,
    unit: String,
    #[serde(skip)]
    digits: usize,
    before: Side,
    after: Side,
    /// From the median before to the one after; `None` from 0.
    percent: Option<f64>,
    verdict: Verdict,
}

/// A figure in one of the runs.
#[derive(Debug, Serialize)]
struct Side {
    rounds: usize,
    median: f64,
    min: f64,
    max: f64,
}

/// What a change amounts to, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// Worse beyond the noise.
    Worse,
    /// Better beyond the noise.
    Better,
    /// Beyond the noise, of a figure that is neither good nor bad.
    Changed,
    /// Nothing that chance would not do.
    WithinNoise,
    /// Nobody can tell.
    TooFewRounds,
}

/// Reads the runs in the files `before` and `after`, prints what changed, and
/// writes it to `json` if that is given. Returns whether something got worse.
///
/// # Errors
/// A file is no run of the bench, or one whose figures mean nothing; or the runs
/// have nothing in common.
pub(crate) fn run(before: &Path, after: &Path, json: Option<&Path>) -> Result<bool> {
    let (old, new) = (read(before)?, read(after)?);
    let comparison = Comparison::of(&old, &new);
    ensure!(
        !comparison.changes.is_empty(),
        "the runs have no figure in common: {} has the suites {}, {} has {}",
        before.display(),
        old.suite_names(),
        after.display(),
        new.suite_names()
    );
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&comparison)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // Whoever has closed the pipe has seen enough.
    let _ = stdout().write_all(text::text(&comparison).as_bytes());
    Ok(comparison.changes.iter().any(|change| change.verdict == Verdict::Worse))
}

fn read(path: &Path) -> Result<Run> {
    let run = Run::read(path)?;
    ensure!(
        !run.quick,
        "{} is of a quick run, whose figures mean nothing; measure without --quick",
        path.display()
    );
    Ok(run)
}

impl Comparison {
    fn of(before: &Run, after: &Run) -> Self {
        let (olds, news) = (figures(before), figures(after));
        let find = |all: &[Figure], name: &Name| all.iter().position(|one| one.name == *name);
        let mut changes: Vec<_> =
            olds.iter().filter_map(|old| Change::of(old, &news[find(&news, &old.name)?])).collect();
        changes.sort_by(|a, b| a.verdict.cmp(&b.verdict).then(b.size().total_cmp(&a.size())));
        let only = |these: &[Figure], others: &[Figure]| {
            let names = these.iter().map(|figure| figure.name.clone());
            names.filter(|name| find(others, name).is_none()).collect()
        };
        Self {
            warnings: conditions::warnings(before, after),
            changes,
            only_before: only(&olds, &news),
            only_after: only(&news, &olds),
        }
    }
}

impl Change {
    fn of(old: &Figure, new: &Figure) -> Option<Self> {
        let (before, after) = (Side::of(&old.rounds)?, Side::of(&new.rounds)?);
        let percent = (before.median != 0.0)
            .then(|| 100.0 * (after.median - before.median) / before.median.abs());
        Some(Self {
            name: new.name.clone(),
            unit: new.unit.clone(),
            digits: new.digits,
            verdict: verdict(old, new, after.median > before.median),
            before,
            after,
            percent,
        })
    }

    /// How large it is, whichever way.
    fn size(&self) -> f64 {
        self.percent.map_or(f64::INFINITY, f64::abs)
    }
}

impl Side {
    fn of(rounds: &[f64]) -> Option<Self> {
        let Summary { median, min, max } = Summary::of(rounds)?;
        Some(Self { rounds: rounds.len(), median, min, max })
    }
}

fn verdict(old: &Figure, new: &Figure, more: bool) -> Verdict {
    match (rank_sum::differ(&old.rounds, &new.rounds), new.better) {
        (None, _) => Verdict::TooFewRounds,
        (Some(false), _) => Verdict::WithinNoise,
        (Some(true), Better::Neither) => Verdict::Changed,
        (Some(true), Better::Higher) if more => Verdict::Better,
        (Some(true), Better::Lower) if !more => Verdict::Better,
        (Some(true), _) => Verdict::Worse,
    }
}

/// What one contestant yielded in one case.
struct Figure {
    name: Name,
    unit: String,
    digits: usize,
    better: Better,
    rounds: Vec<f64>,
}

/// All measured figures of `run`; papers' own do not change.
fn figures(run: &Run) -> Vec<Figure> {
    let mut figures = Vec::new();
    for suite in &run.suites {
        for metric in &suite.metrics {
            for case in &metric.cases {
                for series in case.series.iter().filter(|series| !series.quoted) {
                    figures.push(Figure {
                        name: Name {
                            suite: suite.name.clone(),
                            metric: metric.name.clone(),
                            case: case.name.clone(),
                            contestant: series.contestant.clone(),
                        },
                        unit: metric.unit.clone(),
                        digits: metric.digits,
                        better: metric.better,
                        rounds: series.rounds.clone(),
                    });
                }
            }
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::fixture;

    /// A figure of the fixture's first metric, of which less is better.
    fn set(run: &mut Run, contestant: &str, rounds: &[f64]) {
        let case = &mut run.suites[0].metrics[0].cases[0];
        let series = case.series.iter_mut().find(|series| series.contestant == contestant);
        series.unwrap().rounds = rounds.into();
    }

    fn verdict_of(before: &[f64], after: &[f64], better: Better) -> (Verdict, Option<f64>) {
        let (mut old, mut new) = (fixture::run(), fixture::run());
        set(&mut old, "direct", before);
        set(&mut new, "direct", after);
        new.suites[0].metrics[0].better = better;
        let comparison = Comparison::of(&old, &new);
        let is_it = |change: &&Change| {
            let first = &new.suites[0].metrics[0];
            change.name.metric == first.name
                && change.name.case == first.cases[0].name
                && change.name.contestant == "direct"
        };
        let change = comparison.changes.iter().find(is_it).unwrap();
        (change.verdict, change.percent)
    }

    const FIRST: [f64; 4] = [100.0, 101.0, 99.0, 100.0];
    const HIGHER: [f64; 4] = [110.0, 111.0, 109.0, 110.0];

    #[test]
    fn a_change_beyond_the_noise_is_judged_by_the_metrics_direction() {
        let judged = |better| verdict_of(&FIRST, &HIGHER, better);
        assert_eq!(judged(Better::Lower), (Verdict::Worse, Some(10.0)));
        assert_eq!(judged(Better::Higher), (Verdict::Better, Some(10.0)));
        assert_eq!(judged(Better::Neither), (Verdict::Changed, Some(10.0)));
        assert_eq!(verdict_of(&HIGHER, &FIRST, Better::Lower).0, Verdict::Better);
    }

    #[test]
    fn a_change_within_the_noise_is_none() {
        let again = [101.0, 102.0, 98.0, 100.0];
        assert_eq!(verdict_of(&FIRST, &again, Better::Lower).0, Verdict::WithinNoise);
    }

    #[test]
    fn three_rounds_cannot_tell_however_large_the_change() {
        let (verdict, percent) = verdict_of(&FIRST[..3], &[900.0; 3], Better::Lower);
        assert_eq!((verdict, percent), (Verdict::TooFewRounds, Some(800.0)));
    }

    #[test]
    fn a_change_from_nothing_has_no_percentage() {
        assert_eq!(verdict_of(&[0.0; 4], &FIRST, Better::Lower), (Verdict::Worse, None));
    }

    #[test]
    fn what_got_worse_comes_first_and_the_larger_before_the_smaller() {
        let (mut old, mut new) = (fixture::run(), fixture::run());
        for (name, after) in [("direct", [80.0; 4]), ("deputy", [130.0; 4]), ("bounce", [120.0; 4])]
        {
            set(&mut old, name, &FIRST);
            set(&mut new, name, &after);
        }
        let comparison = Comparison::of(&old, &new);
        let first: Vec<_> = comparison.changes[..3]
            .iter()
            .map(|change| (change.name.contestant.as_str(), change.verdict))
            .collect();
        let expected =
            [("deputy", Verdict::Worse), ("bounce", Verdict::Worse), ("direct", Verdict::Better)];
        assert_eq!(first, expected);
    }

    #[test]
    fn figures_of_one_run_alone_are_listed_and_quoted_ones_left_out() {
        let (mut old, mut new) = (fixture::run(), fixture::run());
        old.suites[0].metrics[0].cases[0].series[0].contestant = "former".into();
        new.suites[0].metrics[0].cases[0].series[0].contestant = "newcomer".into();
        let comparison = Comparison::of(&old, &new);
        let names = |names: &[Name]| -> Vec<String> {
            names.iter().map(|name| name.contestant.clone()).collect()
        };
        assert_eq!(names(&comparison.only_before), ["former"]);
        assert_eq!(names(&comparison.only_after), ["newcomer"]);
        let quoted = |change: &Change| change.name.contestant == fixture::QUOTED;
        assert!(!comparison.changes.iter().any(quoted));
        let text = text::text(&comparison);
        assert!(text.contains("former") && text.contains("newcomer"), "{text}");
    }

    #[test]
    fn every_change_and_its_verdict_is_told() {
        let (mut old, mut new) = (fixture::run(), fixture::run());
        set(&mut old, "direct", &FIRST);
        set(&mut new, "direct", &HIGHER);
        let text = text::text(&Comparison::of(&old, &new));
        let line = text.lines().find(|line| line.contains("+10.0 %")).expect("the change is told");
        for part in ["paper", "direct", "100.0", "110.0"] {
            assert!(line.contains(part), "{line}");
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_quick_run_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quick.json");
        let run = Run { quick: true, ..fixture::run() };
        fs::write(&path, serde_json::to_vec(&run).unwrap()).unwrap();
        let refusal = read(&path).unwrap_err().to_string();
        assert!(refusal.contains("quick") && refusal.contains("quick.json"), "{refusal}");
    }
}
