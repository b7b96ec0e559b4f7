//! The figures of a metric as cells of a table, before anything decides how a
//! table looks.

use super::number::{number, range};
use crate::{
    result::{Better, Case, Metric, Series},
    statistics::Summary,
};

/// Figures in rows and columns: cases and contestants, whichever way round
/// makes the narrower table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grid {
    /// What is in it, with the unit.
    pub(super) title: String,
    /// What the rows are.
    pub(super) rows_are: &'static str,
    /// Above the columns.
    pub(super) columns: Vec<Heading>,
    /// Each with a cell for each column.
    pub(super) rows: Vec<(Heading, Vec<Option<Cell>>)>,
}

/// What a row or a column is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heading {
    /// A case or a contestant.
    pub(super) name: String,
    /// Whether these are a paper's own figures.
    pub(super) quoted: bool,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    /// The middle one.
    pub(super) median: String,
    /// The least and the most, unless they are one.
    pub(super) range: Option<String>,
    /// Whether it is the best of its case.
    pub(super) best: bool,
}

/// The figures of `metric` themselves.
pub(super) fn figures(metric: &Metric) -> Grid {
    let mut contestants = metric.contestants();
    // Papers' figures stand apart.
    contestants.sort_by_key(|name| is_quoted(metric, name));
    let headings = contestants.iter().map(|&name| contestant(metric, name)).collect();
    let rows = metric.cases.iter().map(|case| {
        let best = best(case, metric.better);
        let cells = contestants.iter().map(|name| {
            let series = case.series.iter().find(|series| series.contestant == *name)?;
            let summary = series.summary()?;
            let best = !series.quoted && Some(summary.median) == best;
            Some(cell(&summary, metric.digits, best))
        });
        (heading(&case.name), cells.collect())
    });
    let rows = rows.collect();
    let title = titled(&metric.name, &metric.unit);
    Grid { title, rows_are: "case", columns: headings, rows }.turned_to_fit()
}

/// Digits after the point of a ratio: what is within 1 % is of interest.
const RATIO_DIGITS: usize = 3;

/// The figures of `metric` over those of `base`, round by round; `None` if there
/// are none. Papers' figures have no rounds in common with ours.
pub(super) fn ratios(metric: &Metric, base: &str) -> Option<Grid> {
    let mut names = metric.contestants();
    names.retain(|name| *name != base && !is_quoted(metric, name));
    let columns = names.iter().map(|name| heading(name)).collect();
    let rows = metric.cases.iter().filter_map(|case| {
        let base = case.rounds(base)?;
        let cells: Vec<_> = names
            .iter()
            .map(|name| {
                Some(cell(&Summary::of_ratios(case.rounds(name)?, base)?, RATIO_DIGITS, false))
            })
            .collect();
        cells.iter().any(Option::is_some).then(|| (heading(&case.name), cells))
    });
    let rows: Vec<_> = rows.collect();
    let title = format!("{} as a multiple of {base}, round by round", metric.name);
    let grid = Grid { title, rows_are: "case", columns, rows };
    (!grid.rows.is_empty()).then(|| grid.without_empty_columns().turned_to_fit())
}

/// Such as `execution time, s`.
pub(super) fn titled(name: &str, unit: &str) -> String {
    if unit.is_empty() { name.to_owned() } else { format!("{name}, {unit}") }
}

impl Grid {
    /// Contestants in rows, if there are more of them than cases.
    fn turned_to_fit(self) -> Self {
        if self.columns.len() <= self.rows.len().max(3) {
            return self;
        }
        let (columns, cells): (Vec<_>, Vec<_>) = self.rows.into_iter().unzip();
        let column = |n: usize| cells.iter().map(|row| row[n].clone()).collect();
        let rows = self.columns.into_iter().enumerate();
        Self {
            title: self.title,
            rows_are: "contestant",
            columns,
            rows: rows.map(|(n, heading)| (heading, column(n))).collect(),
        }
    }

    fn without_empty_columns(mut self) -> Self {
        let filled: Vec<bool> = (0..self.columns.len())
            .map(|n| self.rows.iter().any(|(_, cells)| cells[n].is_some()))
            .collect();
        keep(&mut self.columns, &filled);
        self.rows.iter_mut().for_each(|(_, cells)| keep(cells, &filled));
        self
    }
}

fn keep<T>(list: &mut Vec<T>, which: &[bool]) {
    let mut which = which.iter();
    list.retain(|_| *which.next().expect("one for each"));
}

fn heading(name: &str) -> Heading {
    Heading { name: name.to_owned(), quoted: false }
}

fn contestant(metric: &Metric, name: &str) -> Heading {
    Heading { name: name.to_owned(), quoted: is_quoted(metric, name) }
}

/// Whether all figures of `name` are a paper's.
pub(super) fn is_quoted(metric: &Metric, name: &str) -> bool {
    let mut series = metric.cases.iter().flat_map(|case| &case.series);
    series.all(|series| series.contestant != name || series.quoted)
}

/// The best median of `case`, if there is more than one to choose from.
fn best(case: &Case, better: Better) -> Option<f64> {
    let measured = case.series.iter().filter(|series| !series.quoted);
    let medians: Vec<f64> =
        measured.filter_map(Series::summary).map(|summary| summary.median).collect();
    if medians.len() < 2 {
        return None;
    }
    match better {
        Better::Lower => medians.into_iter().min_by(f64::total_cmp),
        Better::Higher => medians.into_iter().max_by(f64::total_cmp),
        Better::Neither => None,
    }
}

fn cell(summary: &Summary, digits: usize, best: bool) -> Cell {
    Cell { median: number(summary.median, digits), range: range(summary, digits), best }
}
