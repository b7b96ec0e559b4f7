//! Latency at fixed rates.

use std::time::Duration;

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
        Better, Plot, Series,
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

/// Measures every rate, all contestants side by side.
///
/// # Errors
/// The run was interrupted.
pub(super) fn run(field: &Field, effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    introduce(recorder);
    for rate in RATES {
        // They are not measured again.
        let mut failed = Vec::new();
        for (round, contestants) in field.rounds(effort.rounds(ROUNDS)).into_iter().enumerate() {
            for contestant in contestants {
                interrupt::check()?;
                let detail = format!("round {}, {}", round + 1, contestant.name);
                recorder.progress.step(&case(rate), &detail);
                if failed.contains(&contestant.name) {
                    continue;
                }
                let outcome = apply(contestant, rate, effort);
                // It may have ended the servers too.
                interrupt::check()?;
                match outcome {
                    Ok(outcome) => record(&outcome, &case(rate), contestant.name, recorder),
                    Err(error) => {
                        recorder.absent(contestant.name, Some(&case(rate)), &format!("{error:#}"));
                        failed.push(contestant.name);
                    }
                }
            }
            record_added(rate, round, recorder);
        }
        conclude(rate, recorder);
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
pub(super) fn vigil(rate: u32) -> Duration {
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
fn conclude(rate: u32, recorder: &mut Recorder) {
    let case = case(rate);
    let overrun = overrun(rate, recorder);
    for (name, achieved) in &overrun {
        recorder.note(format!(
            "{name} did not keep up with {case}: it achieved {achieved:.0}; its latencies there \
             are those of a queue that grows."
        ));
    }
    let judged = [&[DIRECT, IPTABLES], REDIRECTD].concat();
    if overrun.iter().any(|(name, _)| judged.contains(&name.as_str())) {
        recorder.note(format!("At {case} there is no target: that is no rate below saturation."));
        return;
    }
    let target = Target::ratio(
        &format!("what redirectd's better attach adds to p99, against iptables, {case}"),
        Figure::best(ADDED, &case, REDIRECTD),
        Figure::new(ADDED, &case, IPTABLES),
        Bound::AtMost(BOUND),
    );
    recorder.target(target.because(MOSTLY_THE_MACHINE));
}

/// Why contestants differ by so little, and rounds by so much.
const MOSTLY_THE_MACHINE: &str = "\
p99 is mostly the machine's own: see how late requests were sent by `sent late`, which no \
contestant has a part in, and how far rounds of one contestant are from each other. p50 shows what \
a contestant adds: the work that it does.";

/// Who did not keep up with `rate` in most rounds, and what they achieved.
fn overrun(rate: u32, recorder: &Recorder) -> Vec<(String, f64)> {
    let achieved = recorder.so_far().metric(ACHIEVED);
    let Some(achieved) = achieved.and_then(|metric| metric.case(&case(rate))) else {
        return Vec::new();
    };
    let median = |series: &Series| Some((series.contestant.clone(), series.summary()?.median));
    let medians = achieved.series.iter().filter_map(median);
    medians.filter(|(_, median)| *median < KEEPS_UP * f64::from(rate)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    fn recorder() -> Recorder {
        let mut recorder = Recorder::new("latency", "", Progress::silent());
        introduce(&mut recorder);
        recorder
    }

    #[test]
    fn what_is_added_counts_from_direct_in_the_same_round() {
        let mut recorder = recorder();
        let case = case(1_000);
        for (round, (direct, iptables)) in [(50.0, 60.0), (80.0, 95.0)].into_iter().enumerate() {
            recorder.record(P99, &case, IPTABLES, iptables);
            recorder.record(P99, &case, DIRECT, direct);
            record_added(1_000, round, &mut recorder);
        }
        let suite = recorder.finish();
        let added = suite.metric(ADDED).unwrap();
        assert_eq!(added.rounds(&case, IPTABLES), Some(&[10.0, 15.0][..]));
        assert_eq!(added.rounds(&case, DIRECT), None);
    }

    #[test]
    fn who_does_not_keep_up_is_told_and_a_saturated_rate_has_no_target() {
        let mut recorder = recorder();
        for (rate, socat, iptables) in [(1_000, 900.0, 1_000.0), (5_000, 2_000.0, 4_000.0)] {
            // One round in which something else went wrong does not count.
            for (socat, iptables) in [(socat, iptables), (socat, iptables), (10.0, 10.0)] {
                recorder.record(ACHIEVED, &case(rate), "socat", socat);
                recorder.record(ACHIEVED, &case(rate), IPTABLES, iptables);
            }
            conclude(rate, &mut recorder);
        }
        let suite = recorder.finish();
        assert_eq!(suite.targets.len(), 1);
        assert!(suite.targets[0].what.contains("1,000 requests"), "{}", suite.targets[0].what);
        assert_eq!(suite.targets[0].bound, Bound::AtMost(0.6));
        let told = |name: &str, case: &str| {
            suite.notes.iter().any(|note| note.starts_with(name) && note.contains(case))
        };
        assert!(told("socat", "1,000") && told("socat", "5,000") && told(IPTABLES, "5,000"));
        assert!(!told(IPTABLES, "1,000"));
    }
}
