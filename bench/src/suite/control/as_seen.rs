//! The figures of single changes, as packets see them.

use anyhow::{Context, Result};

use super::{
    ONE,
    change::{Changes, Way},
    field::{Field, PORT},
};
use crate::{
    measure::order,
    probe::{INTERVAL, Sent},
    recorder::Recorder,
    result::Better,
    scenario::{Scenario, counted},
    statistics::percentile,
    suite::Effort,
    topology::HOME,
};

/// One figure of a change.
type Figure = fn(&Changes) -> f64;

/// The metrics, and the figure of each among [`Changes`].
const TIMES: [(&str, Figure); 6] = [
    ("add: first packet at the host", |c| c.added),
    ("flip: last packet at the old host", |c| c.left),
    ("flip: first packet at the new host", |c| c.moved),
    ("flip: done", |c| c.move_done),
    ("remove: last packet at the host", |c| c.removed),
    ("remove: done", |c| c.remove_done),
];
const BETWEEN: &str = "flip: packets lost or at both hosts";
const LOST: &str = "packets of the stream lost";
const INTERVALS: &str = "interval of the stream";

/// The percentiles shown.
const PERCENTILES: [(&str, f64); 3] = [("median", 0.5), ("p99", 0.99), ("longest", 1.0)];

/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 3;

/// How often the redirect is added, led on and removed in each round.
fn repetitions(effort: &Effort) -> usize {
    if effort.quick { 5 } else { 100 }
}

/// How many steps of progress it has.
pub(super) fn steps(effort: &Effort) -> usize {
    2 + effort.rounds(ROUNDS) * 2 * Way::ALL.len()
}

/// What is measured, for the report.
pub(super) fn introduce(effort: &Effort, recorder: &mut Recorder) {
    for (metric, _) in TIMES {
        recorder.metric(metric, "µs", Better::Lower).digits = 0;
    }
    recorder.metric(BETWEEN, "packets", Better::Lower).digits = 0;
    recorder.metric(LOST, "packets", Better::Lower).digits = 0;
    recorder.metric(INTERVALS, "µs", Better::Lower).digits = 1;
    recorder.parameter(
        "the stream",
        format!(
            "one UDP flow to {HOME}:{PORT}, a packet of 60 bytes each {} µs, if the processor lets \
         it: `{INTERVALS}` is what was kept, and the resolution of what packets see",
            INTERVAL.as_micros()
        ),
    );
    recorder.parameter(
        "changes in a round",
        format!(
            "{} times add, lead to the other host (`flows: follow`), remove with the flow cut",
            repetitions(effort)
        ),
    );
    recorder.parameter("attached", "tc, as `auto` does on veth");
}

/// Measures changes beside 1 redirect and beside `many`, by both ways, in turns.
///
/// # Errors
/// The daemon does not start or refuses, or the run was interrupted.
pub(super) fn run(many: u32, effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let mut fields = Vec::new();
    for redirects in [1, many] {
        let beside = format!("beside {}", counted(redirects, "redirect"));
        recorder.progress.step("single changes", &format!("setting up {beside}"));
        fields.push((Field::new(&Scenario { flows: 1, redirects })?, beside));
    }
    let turns: Vec<_> = fields.iter().flat_map(|field| Way::ALL.map(|way| (field, way))).collect();
    for (round, n) in order(turns.len(), effort.rounds(ROUNDS)) {
        let ((field, beside), way) = turns[n];
        let doing = format!("{beside}, by {}, round {}", way.name(), round + 1);
        recorder.progress.step("single changes", &doing);
        let watched = watch(field, way, effort).with_context(|| doing)?;
        record(recorder, beside, way, &watched);
    }
    Ok(())
}

/// What was seen in one round.
struct Watched {
    changes: Vec<Changes>,
    sent: Sent,
    lost: i64,
}

fn watch(field: &Field, way: Way, effort: &Effort) -> Result<Watched> {
    let mut home = 0;
    field.at_home()?;
    let hosts = field.at_hosts()?;
    let probe = field.probe(effort.processor)?;
    let mut changes = Vec::new();
    for _ in 0..repetitions(effort) {
        changes.push(field.change(way)?);
        home += field.at_home()?;
    }
    let sent = field.finish(probe)?;
    home += field.at_home()?;
    let arrived = home + field.at_hosts()? - hosts;
    Ok(Watched { changes, lost: sent.packets.cast_signed() - arrived.cast_signed(), sent })
}

fn record(recorder: &mut Recorder, beside: &str, way: Way, watched: &Watched) {
    for change in &watched.changes {
        let by = match way {
            Way::Api => "POST /v1/redirects",
            Way::Command => "redirect add",
        };
        recorder.record(ONE, beside, by, change.add_done);
    }
    for (metric, figure) in TIMES {
        let figures: Vec<f64> = watched.changes.iter().map(figure).collect();
        of_percentiles(recorder, metric, beside, way, &figures);
    }
    let intervals: Vec<f64> =
        watched.sent.intervals.iter().map(|&ns| f64::from(ns) / 1e3).collect();
    of_percentiles(recorder, INTERVALS, beside, way, &intervals);
    // The worst, whichever way it is wrong.
    let between = watched.changes.iter().map(|c| c.between).max_by_key(|b| b.abs());
    recorder.record(BETWEEN, beside, way.name(), between.unwrap_or(0) as f64);
    recorder.record(LOST, beside, way.name(), watched.lost as f64);
}

fn of_percentiles(recorder: &mut Recorder, metric: &str, beside: &str, way: Way, figures: &[f64]) {
    for (name, p) in PERCENTILES {
        if let Some(value) = percentile(figures, p) {
            recorder.record(metric, &format!("{beside}, {name}"), way.name(), value);
        }
    }
}
