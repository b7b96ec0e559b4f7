//! A run as Markdown, with its plots as files beside it.

use super::{
    Drawn, absence,
    grid::{self, Cell, Grid, Heading},
    number::{NOTHING, minutes},
    verdict, warnings,
};
use crate::result::{Metric, Run, Suite};

/// All of it.
pub(super) fn text(run: &Run, plots: &[Drawn<'_>]) -> String {
    let mut text = format!("# {}\n\n", super::title(run));
    for warning in warnings(run) {
        text += &format!("> **{}**\n\n", escaped(&warning));
    }
    text += &targets(run);
    text += "## Machine and command\n\n";
    let command = ("command".to_owned(), format!("`{}`", run.command.replace('`', "'")));
    let machine = run.machine.lines();
    let lines = std::iter::once(command)
        .chain(machine.into_iter().map(|(what, value)| (escaped(&what), escaped(&value))));
    text += &pairs(lines);
    for suite in &run.suites {
        text += &of_suite(suite, plots);
    }
    text
}

fn targets(run: &Run) -> String {
    let verdicts = verdict::of(run);
    let Some(sentence) = verdict::sentence(&verdicts) else { return String::new() };
    let mut text = format!("## Targets\n\n{sentence}\n\n");
    text += "| suite | target | asked | measured | |\n|---|---|---|---|---|\n";
    for suite in verdicts {
        for line in suite.verdicts {
            let outcome = line.text();
            let cells = [line.suite, line.what, line.asked, line.measured];
            let cells = cells.map(|cell| escaped(&cell)).join(" | ");
            text += &format!("| {cells} | {outcome} |\n");
        }
        for cause in suite.causes {
            text += &format!("| | {} | | | |\n", prose(&cause));
        }
    }
    text + "\n"
}

fn of_suite(suite: &Suite, plots: &[Drawn<'_>]) -> String {
    let mut text = format!("## {}: {}\n\n", escaped(&suite.name), escaped(&suite.title));
    if !suite.about.is_empty() {
        text += &format!("{}\n\n", prose(&suite.about));
    }
    text += &pairs(suite.parameters.iter().map(|(name, value)| (escaped(name), escaped(value))));
    for metric in &suite.metrics {
        text += &of_metric(metric);
        for drawn in plots.iter().filter(|drawn| std::ptr::eq(drawn.metric, metric)) {
            text += &format!("![{}]({})\n\n", escaped(&drawn.plot.title), drawn.plot.file);
        }
    }
    let absent = suite.absent.iter().map(absence);
    let list: Vec<_> = absent.chain(suite.notes.iter().cloned()).collect();
    for item in &list {
        text += &format!("- {}\n", prose(item));
    }
    if !list.is_empty() {
        text.push('\n');
    }
    text + &format!("The suite took {}.\n\n", minutes(suite.seconds))
}

fn of_metric(metric: &Metric) -> String {
    let figures = grid::figures(metric);
    if figures.rows.is_empty() {
        return String::new();
    }
    let mut text = format!("### {}\n\n{}", escaped(&figures.title), table(&figures));
    for base in &metric.ratios_to {
        if let Some(ratios) = grid::ratios(metric, base) {
            text += &format!("{}:\n\n{}", escaped(&ratios.title), table(&ratios));
        }
    }
    text
}

fn table(grid: &Grid) -> String {
    let name = |heading: &Heading| {
        let name = escaped(&heading.name);
        if heading.quoted { format!("*{name} (quoted)*") } else { name }
    };
    let cell = |cell: &Option<Cell>| {
        let Some(Cell { median, range, best }) = cell else { return NOTHING.to_owned() };
        let median = if *best { format!("**{median}**") } else { median.clone() };
        range.as_ref().map_or(median.clone(), |range| format!("{median} ({range})"))
    };
    let titles: Vec<_> = grid.columns.iter().map(name).collect();
    let mut text = format!("| {} | {} |\n|---|", grid.rows_are, titles.join(" | "));
    text += &format!("{}\n", "---:|".repeat(titles.len()));
    for (heading, cells) in &grid.rows {
        let cells: Vec<_> = cells.iter().map(cell).collect();
        text += &format!("| {} | {} |\n", name(heading), cells.join(" | "));
    }
    text + "\n"
}

fn pairs(lines: impl Iterator<Item = (String, String)>) -> String {
    let rows: Vec<_> = lines.map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    match rows.len() {
        0 => String::new(),
        _ => format!("| | |\n|---|---|\n{}\n", rows.concat()),
    }
}

/// Running text, in which `code` stands between backquotes.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(n, part)| if n % 2 == 1 { format!("`{part}`") } else { escaped(part) });
    parts.collect()
}

/// `text` without what Markdown would take for its own.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_[]<>|#".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
