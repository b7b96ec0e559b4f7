//! A run as text for a terminal.

use super::{
    grid::{self, Cell, Grid},
    number::{NOTHING, minutes},
    paragraph::wrapped,
    table::{Table, WIDTH},
    verdict, warnings,
};
use crate::result::{Metric, Run, Suite};

/// All of it, what matters most last: that is what a terminal shows.
pub(crate) fn text(run: &Run) -> String {
    let mut text = String::new();
    for suite in &run.suites {
        text += &of_suite(suite);
    }
    text += &format!("\n{}\n", heading("targets and machine"));
    text += &targets(run);
    let lines = run.machine.lines();
    // Mitigations and the like are in the files.
    let short: Vec<_> =
        lines.iter().take(6).map(|(what, value)| format!("{what} {value}")).collect();
    text += &wrapped(&format!("Measured on {}: {}.", run.date, short.join("; ")));
    for warning in warnings(run) {
        text += &format!("\n{}", wrapped(&warning));
    }
    text
}

fn heading(title: &str) -> String {
    format!("── {title} {}", "─".repeat(WIDTH.saturating_sub(title.chars().count() + 4)))
}

fn of_suite(suite: &Suite) -> String {
    let mut text = format!("\n{}\n", heading(&format!("{}: {}", suite.name, suite.title)));
    for metric in &suite.metrics {
        text += &of_metric(metric);
    }
    for absent in &suite.absent {
        text += &wrapped(&super::absence(absent));
    }
    for note in &suite.notes {
        text += &wrapped(&format!("Note: {note}"));
    }
    text + &format!("(took {})\n", minutes(suite.seconds))
}

fn of_metric(metric: &Metric) -> String {
    let mut text = String::new();
    let figures = grid::figures(metric);
    if !figures.rows.is_empty() {
        text += &table(&figures, true);
    }
    for base in &metric.ratios_to {
        if let Some(ratios) = grid::ratios(metric, base) {
            text += &table(&ratios, false);
        }
    }
    text
}

/// The best is marked by `*`, quoted figures by quotation marks.
fn table(grid: &Grid, ranges: bool) -> String {
    let name = |heading: &grid::Heading| {
        if heading.quoted { format!("“{}”", heading.name) } else { heading.name.clone() }
    };
    let cell = |cell: &Option<Cell>| {
        let Some(Cell { median, range, best }) = cell else { return NOTHING.to_owned() };
        let mark = if *best { "*" } else { "" };
        match range {
            Some(range) if ranges => format!("{mark}{median} ({range})"),
            _ => format!("{mark}{median}"),
        }
    };
    let mut titles = vec![String::new()];
    titles.extend(grid.columns.iter().map(name));
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let mut table = Table::new(&titles);
    for (heading, cells) in &grid.rows {
        table.row(std::iter::once(name(heading)).chain(cells.iter().map(cell)).collect());
    }
    format!("\n{}\n{}", grid.title, table.text())
}

fn targets(run: &Run) -> String {
    let verdicts = verdict::of(run);
    let Some(sentence) = verdict::sentence(&verdicts) else { return String::new() };
    let mut table = Table::new(&["target", "asked", "measured", ""]);
    let mut causes = String::new();
    for suite in verdicts {
        for verdict in suite.verdicts {
            let (what, outcome) = (format!("{}: {}", verdict.suite, verdict.what), verdict.text());
            table.row(vec![what, verdict.asked, verdict.measured, outcome]);
        }
        suite.causes.iter().for_each(|cause| causes += &wrapped(cause));
    }
    format!("{}{causes}{sentence}\n\n", table.text())
}
