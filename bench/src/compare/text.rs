//! A comparison as text for a terminal.

use super::{
    Change, Comparison, Name, Side, Verdict,
    rank_sum::{COUNTED, ENOUGH},
};
use crate::report::{number::number, table::Table, wrapped};

/// All of it.
pub(super) fn text(comparison: &Comparison) -> String {
    let Comparison { warnings, changes, only_before, only_after } = comparison;
    let mut text = String::new();
    if !warnings.is_empty() {
        text += "Warning: this differs too, and changes may come from it:\n";
        text +=
            &warnings.iter().map(|warning| wrapped(&format!("- {warning}"))).collect::<String>();
    }
    for verdict in [
        Verdict::Worse,
        Verdict::Better,
        Verdict::Changed,
        Verdict::WithinNoise,
        Verdict::TooFewRounds,
    ] {
        let these: Vec<_> = changes.iter().filter(|change| change.verdict == verdict).collect();
        text += &group(verdict, &these);
    }
    text += &names("Only in the first run", only_before);
    text += &names("Only in the second run", only_after);
    text + &summary(changes)
}

fn title(verdict: Verdict) -> String {
    match verdict {
        Verdict::Worse => "Worse beyond the noise".into(),
        Verdict::Better => "Better beyond the noise".into(),
        Verdict::Changed => "Changed beyond the noise (neither good nor bad)".into(),
        Verdict::WithinNoise => "Within the noise".into(),
        Verdict::TooFewRounds => format!("Too few rounds to tell (fewer than {ENOUGH} in a run)"),
    }
}

fn group(verdict: Verdict, changes: &[&Change]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[&title(verdict), "before", "after", "change"]);
    for change in changes {
        let percent = change.percent.map_or("from 0".into(), |percent| {
            let sign = if percent < 0.0 { "" } else { "+" };
            format!("{sign}{} %", number(percent, 1))
        });
        let side = |side: &Side| number(side.median, change.digits);
        let (before, after) = (side(&change.before), side(&change.after));
        table.row(vec![shown(&change.name, &change.unit), before, after, percent]);
    }
    format!("\n{}", table.in_one_piece())
}

fn shown(name: &Name, unit: &str) -> String {
    let Name { suite, metric, case, contestant } = name;
    let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
    format!("{suite}: {metric}{unit}, {case}, {contestant}")
}

fn names(title: &str, names: &[Name]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let lines = names.iter().map(|name| format!("{}\n", shown(name, "")));
    format!("\n{title}\n{}", lines.collect::<String>())
}

/// How it was judged, and what to make of it.
fn summary(changes: &[Change]) -> String {
    let count = |verdict| changes.iter().filter(|change| change.verdict == verdict).count();
    let (worse, better) = (count(Verdict::Worse), count(Verdict::Better));
    let judged = changes.len() - count(Verdict::TooFewRounds);
    let verdicts =
        format!("{worse} worse and {better} better of {judged} figures that can be judged.");
    let method = format!(
        "A change exceeds the noise if the rounds of one run lie so much above those of the other \
         that chance alone would do it in less than 5 % of cases (Mann-Whitney U test, exact up to \
         {COUNTED} rounds). Of {judged} figures, about {:.0} would do so although nothing has \
         changed: doubt single ones, and small ones, and measure again.",
        judged as f64 * 0.05
    );
    format!("\n{}{}", wrapped(&verdicts), wrapped(&method))
}
