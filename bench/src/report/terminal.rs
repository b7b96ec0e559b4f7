//! A run as text for a terminal.

use super::table::Table;
use crate::result::{Metric, Run, Suite};

/// All of it.
pub(crate) fn text(run: &Run) -> String {
    let mut text = run.machine.text();
    for suite in &run.suites {
        text += &of_suite(suite);
    }
    if let Some(reason) = &run.ended_early {
        text += &format!("\nThe run ended early: {reason}\n");
    }
    if run.quick {
        text += "\n--quick: these figures mean nothing.\n";
    }
    text
}

fn of_suite(suite: &Suite) -> String {
    let mut text = format!("\n{}: {}\n", suite.name, suite.title);
    for metric in &suite.metrics {
        text += &of_metric(metric);
    }
    for absent in &suite.absent {
        let case = absent.case.as_deref().map(|case| format!(" with {case}")).unwrap_or_default();
        text += &format!("{} was not measured{case}: {}\n", absent.contestant, absent.reason);
    }
    for note in &suite.notes {
        text += &format!("{note}\n");
    }
    text
}

fn of_metric(metric: &Metric) -> String {
    let contestants = metric.contestants();
    let heading = match metric.unit.as_str() {
        "" => metric.name.clone(),
        unit => format!("{}, {unit}", metric.name),
    };
    let mut titles = vec![heading.as_str()];
    titles.extend(&contestants);
    let mut table = Table::new(&titles);
    for case in &metric.cases {
        let mut row = vec![case.name.clone()];
        for contestant in &contestants {
            let series = case.series.iter().find(|series| series.contestant == *contestant);
            let summary = series.and_then(|series| series.summary());
            row.push(summary.map_or("–".into(), |s| format!("{:.*}", metric.digits, s.median)));
        }
        table.row(row);
    }
    table.text()
}
