//! A run as one page that needs nothing beside it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Drawn, absence,
    grid::{self, Cell, Grid, Heading},
    number::{NOTHING, minutes},
    plot,
    verdict::{self, Outcome, Verdict},
    warnings,
};
use crate::result::{Metric, Run, Suite};

/// All of it.
pub(super) fn page(run: &Run, plots: &[Drawn<'_>]) -> String {
    let title = super::title(run);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) (PreEscaped(plot::css())) }
            }
            body {
                main {
                    h1 { (title) }
                    @for warning in warnings(run) { p.warning { (prose(&warning)) } }
                    (targets(run))
                    (contents(run))
                    (machine(run))
                    @for suite in &run.suites { (of_suite(suite, plots)) }
                }
            }
        }
    };
    page.into_string() + "\n"
}

fn targets(run: &Run) -> Markup {
    let verdicts = verdict::of(run);
    let Some(sentence) = verdict::sentence(&verdicts) else { return html! {} };
    html! {
        section id="targets" {
            h2 { "Targets" }
            p { (sentence) " The median is judged; in brackets, the range of all rounds." }
            div.wide {
                table {
                    thead { tr { th { "suite" } th { "target" } th.n { "asked" } th.n { "measured" } th {} } }
                    tbody {
                        @for suite in &verdicts {
                            @for line in &suite.verdicts { (target(line)) }
                            @for cause in &suite.causes {
                                tr.cause { td {} td colspan="4" { (prose(cause)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn target(line: &Verdict) -> Markup {
    html! {
        tr {
            td { a href={ "#" (line.suite) } { (line.suite) } }
            td { (line.what) }
            td.n { (line.asked) }
            td.n { (line.measured) }
            td class={ "outcome " (class(line.outcome)) } {
                (sign(line.outcome)) " " (line.text())
            }
        }
    }
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Reached => "reached",
        Outcome::Missed => "missed",
        Outcome::Unknown | Outcome::NotJudged => "unknown",
    }
}

fn sign(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Reached => "✓",
        Outcome::Missed => "✗",
        Outcome::Unknown | Outcome::NotJudged => "–",
    }
}

fn contents(run: &Run) -> Markup {
    html! {
        nav {
            @for suite in &run.suites {
                a href={ "#" (suite.name) } { b { (suite.name) } " " (suite.title) }
            }
        }
    }
}

fn machine(run: &Run) -> Markup {
    html! {
        section id="machine" {
            h2 { "Machine and command" }
            (pairs(&run.machine.lines()))
            p { "The command that does the same again:" }
            pre { code { (run.command) } }
        }
    }
}

fn of_suite(suite: &Suite, plots: &[Drawn<'_>]) -> Markup {
    let absent: Vec<_> = suite.absent.iter().map(absence).collect();
    html! {
        section.suite id=(suite.name) {
            h2 { (suite.name) span.title { " – " (suite.title) } }
            @for paragraph in suite.about.split("\n\n").filter(|text| !text.trim().is_empty()) {
                p { (prose(paragraph)) }
            }
            @if !suite.parameters.is_empty() {
                h3 { "Parameters" }
                (pairs(&suite.parameters))
            }
            @for metric in &suite.metrics { (of_metric(metric, plots)) }
            (list("Not measured", &absent))
            (list("Notes", &suite.notes))
            p.aside { "The suite took " (minutes(suite.seconds)) "." }
        }
    }
}

fn of_metric(metric: &Metric, plots: &[Drawn<'_>]) -> Markup {
    let figures = grid::figures(metric);
    if figures.rows.is_empty() {
        return html! {};
    }
    let better = match metric.better {
        crate::result::Better::Lower => " – less is better",
        crate::result::Better::Higher => " – more is better",
        crate::result::Better::Neither => "",
    };
    html! {
        h3 { (figures.title) span.title { (better) } }
        (table(&figures))
        @for base in &metric.ratios_to {
            @if let Some(ratios) = grid::ratios(metric, base) {
                p.caption { (ratios.title) }
                (table(&ratios))
            }
        }
        @for drawn in plots.iter().filter(|drawn| std::ptr::eq(drawn.metric, metric)) {
            figure { (drawn.plot.inline()) figcaption { (drawn.plot.title) } }
        }
    }
}

fn table(grid: &Grid) -> Markup {
    let quoted = |heading: &Heading| heading.quoted.then_some("quoted");
    let number = |heading: &Heading| if heading.quoted { "n quoted" } else { "n" };
    // With many columns there is no room for ranges beside the medians.
    let many = (grid.columns.len() > 5).then_some("many");
    html! {
        div.wide {
            table class=[many] {
                thead {
                    tr {
                        th { (grid.rows_are) }
                        @for heading in &grid.columns { th class=(number(heading)) { (name(heading)) } }
                    }
                }
                tbody {
                    @for (row, cells) in &grid.rows {
                        tr class=[quoted(row)] {
                            th { (name(row)) }
                            @for (column, cell) in grid.columns.iter().zip(cells) {
                                td class=(number(column)) { (of_cell(cell.as_ref())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn name(heading: &Heading) -> Markup {
    html! { (heading.name) @if heading.quoted { " " span.tag { "quoted" } } }
}

fn of_cell(cell: Option<&Cell>) -> Markup {
    let Some(Cell { median, range, best }) = cell else { return html! { (NOTHING) } };
    html! {
        @if *best { strong title="the best" { (median) } } @else { (median) }
        @if let Some(range) = range { " " span.range { "(" (range) ")" } }
    }
}

fn pairs(lines: &[(String, String)]) -> Markup {
    html! {
        div.wide {
            table.pairs { tbody { @for (name, value) in lines { tr { th { (name) } td { (value) } } } } }
        }
    }
}

fn list(title: &str, items: &[String]) -> Markup {
    if items.is_empty() {
        return html! {};
    }
    html! { h3 { (title) } ul { @for item in items { li { (prose(item)) } } } }
}

/// Running text, in which `code` stands between backquotes.
fn prose(text: &str) -> Markup {
    html! {
        @for (n, part) in text.split('`').enumerate() {
            @if n % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}
