//! Latency at fixed rates.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use super::{
    BYTES, CONNECTIONS, DURATION, Effort, PATIENCE, RATES, ROUNDS,
    field::{Contestant, Field},
    warm_up,
};
use crate::{
    interrupt,
    recorder::Recorder,
    requests::{Outcome, Requests, Sockets, generate},
    result::{
        Better, Plot,
        target::{Bound, Figure, Target},
    },
    scenario::counted,
};

/// Whose figures others are set against.
pub(super) const DIRECT: &str = "direct";
/// As [`DIRECT`].
pub(super) const IPTABLES: &str = "iptables";
/// Of which the better counts.
const REDIRECTD: &[&str] = &["redirectd-tc", "redirectd-xdp"];

/// The metrics.
const ADDED: &str = "p99 added over direct";
const ANSWERED: &str = "answered";
const ACHIEVED: &str = "achieved rate";
const LATE: &str = "sent late, p99";

/// Latencies that are shown, and the part of all requests that is not slower.
const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)];
/// The one that is held to the target.
const P99: &str = "p99";

/// What `ADDED` may be of what iptables adds.
const BOUND: f64 = 0.60;

/// Whose rate is less than this part of what was asked did not keep up.
const KEEPS_UP: f64 = 0.95;

/// Who has not done what was asked at one rate.
#[derive(Debug, Default)]
struct Verdicts {
    /// The least that those who did not keep up achieved, in requests a second.
    overrun: BTreeMap<&'static str, f64>,
    /// Those who failed altogether, and are not measured again.
    failed: Vec<&'static str>,
}

/// Measures every rate, all contestants side by side.
///
/// # Errors
/// The run was interrupted.
pub(super) fn run(field: &Field, effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    introduce(recorder);
    for rate in RATES {
        let mut verdicts = Verdicts::default();
        for (round, contestants) in field.rounds(effort.rounds(ROUNDS)).into_iter().enumerate() {
            for contestant in contestants {
                interrupt::check()?;
                let detail = format!("round {}, {}", round + 1, contestant.name);
                recorder.progress.step(&case(rate), &detail);
                if !verdicts.failed.contains(&contestant.name) {
                    measure(contestant, rate, effort, recorder, &mut verdicts);
                }
            }
            record_added(rate, round, recorder);
        }
        conclude(rate, &verdicts, recorder);
    }
    Ok(())
}

fn introduce(recorder: &mut Recorder) {
    for (name, _) in QUANTILES {
        let metric = recorder.metric(name, "µs", Better::Lower);
        metric.digits = 1;
        metric.ratios_to = vec![DIRECT.into(), IPTABLES.into()];
        if name == P99 {
            metric.plot = Plot::Bars;
        }
    }
    let added = recorder.metric(ADDED, "µs", Better::Lower);
    added.digits = 1;
    added.ratios_to = vec![IPTABLES.into()];
    recorder.metric(ANSWERED, "%", Better::Higher).digits = 3;
    recorder.metric(ACHIEVED, "1/s", Better::Higher).digits = 0;
    recorder.metric(LATE, "µs", Better::Lower).digits = 1;
}

fn case(rate: u32) -> String {
    format!("{} a second", counted(rate, "request"))
}

/// Measures `contestant` once, and records its figures; should it fail, why.
fn measure(
    contestant: &Contestant,
    rate: u32,
    effort: &Effort,
    recorder: &mut Recorder,
    verdicts: &mut Verdicts,
) {
    let name = contestant.name;
    match apply(contestant, rate, effort) {
        Ok(outcome) => {
            record(&outcome, &case(rate), name, recorder);
            if outcome.achieved < KEEPS_UP * f64::from(rate) {
                let least = verdicts.overrun.entry(name).or_insert(f64::MAX);
                *least = least.min(outcome.achieved);
            }
        }
        Err(error) => {
            recorder.absent(name, Some(&case(rate)), &format!("{error:#}"));
            verdicts.failed.push(name);
        }
    }
}

/// By connections of its own, so that what one measurement leaves unanswered
/// does not reach into the next.
fn apply(contestant: &Contestant, rate: u32, effort: &Effort) -> Result<Outcome> {
    let asked = Requests {
        rate,
        connections: usize::from(CONNECTIONS),
        request: BYTES.get() as usize,
        response: BYTES.get() as usize,
        warm_up: warm_up(effort),
        duration: effort.duration(DURATION),
        patience: PATIENCE,
    };
    let servers = &contestant.servers;
    contestant.lan.peer.enter(|| {
        let mut sockets = Sockets::connect(servers, vigil(rate))?;
        generate(&asked, &mut sockets)
    })
}

/// For how long before a request is due its sender does not sleep: a sleeper
/// wakes up to 50 µs late on a virtual machine. A quarter of the time at most,
/// which leaves the processor to the others.
fn vigil(rate: u32) -> Duration {
    Duration::from_micros(50).min(Duration::from_secs(1) / rate / 4)
}

fn record(outcome: &Outcome, case: &str, name: &str, recorder: &mut Recorder) {
    let us = |ns: u64| ns as f64 / 1e3;
    for (metric, quantile) in QUANTILES {
        recorder.record(metric, case, name, us(outcome.latency.value_at_quantile(quantile)));
    }
    let answered = 100.0 * outcome.answered as f64 / outcome.requests as f64;
    recorder.record(ANSWERED, case, name, answered);
    recorder.record(ACHIEVED, case, name, outcome.achieved);
    recorder.record(LATE, case, name, us(outcome.lateness.value_at_quantile(0.99)));
}

/// What each adds to direct, in the round (from 0) that has just been measured.
fn record_added(rate: u32, round: usize, recorder: &mut Recorder) {
    let case = case(rate);
    let p99 = recorder.so_far().metric(P99).and_then(|metric| metric.case(&case));
    let Some(p99) = p99.cloned() else { return };
    let Some(direct) = p99.rounds(DIRECT).and_then(|rounds| rounds.get(round)) else { return };
    for series in p99.series.iter().filter(|series| series.contestant != DIRECT) {
        if let Some(value) = series.rounds.get(round) {
            recorder.record(ADDED, &case, &series.contestant, value - direct);
        }
    }
}

/// Says who did not keep up, and holds the others to the target.
fn conclude(rate: u32, verdicts: &Verdicts, recorder: &mut Recorder) {
    let case = case(rate);
    for (name, achieved) in &verdicts.overrun {
        recorder.note(format!(
            "{name} did not keep up with {case}: it achieved {achieved:.0} in its worst round; \
             its latencies there are those of a growing queue."
        ));
    }
    let judged = [&[DIRECT, IPTABLES], REDIRECTD].concat();
    if judged.iter().any(|name| verdicts.overrun.contains_key(name)) {
        recorder.note(format!("At {case} there is no target: that is no rate below saturation."));
        return;
    }
    recorder.target(Target::ratio(
        &format!("what redirectd's better attach adds to p99, against iptables, {case}"),
        Figure::best(ADDED, &case, REDIRECTD),
        Figure::new(ADDED, &case, IPTABLES),
        Bound::AtMost(BOUND),
    ));
}
