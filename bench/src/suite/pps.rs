//! Packets a second through home on one processor.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Effort;
use crate::{
    contestant::{self, Contestant},
    interrupt,
    measure::order,
    recorder::Recorder,
    result::{Better, Plot},
    scenario::Scenario,
    topology::Lab,
    track::Track,
};

/// The metrics.
const RATE: &str = "packets a second";
const LOSS: &str = "lost";

/// Packets made by one system call.
fn chunk(quick: bool) -> u32 {
    if quick { 20_000 } else { 500_000 }
}

/// Few and many flows, few and many redirects.
fn scenarios(quick: bool) -> Vec<Scenario> {
    let many = if quick { 1_000 } else { 100_000 };
    [(1, 1), (many, 1), (1, many), (many, many)]
        .map(|(flows, redirects)| Scenario { flows, redirects })
        .into()
}

/// Measures every scenario, all contestants side by side.
///
/// # Errors
/// A contestant cannot be set up or does not forward, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let contestants: Vec<_> =
        contestant::all().into_iter().filter(|c| effort.wants(c.name())).collect();
    let fields: Vec<(Scenario, Vec<&dyn Contestant>)> = scenarios(effort.quick)
        .into_iter()
        .map(|scenario| {
            let field = contestants.iter().map(AsRef::as_ref);
            (scenario, field.filter(|c| c.takes_part(&scenario)).collect())
        })
        .collect();
    let steps = fields.iter().map(|(_, field)| field.len() * (1 + effort.rounds(ROUNDS))).sum();
    recorder.progress.expect(steps);
    let rate = recorder.metric(RATE, "Mpps", Better::Higher);
    rate.ratios_to = vec!["iptables".into(), "nftables".into(), "drop".into()];
    rate.plot = Plot::Bars;
    recorder.metric(LOSS, "%", Better::Lower).digits = 3;
    fields.iter().try_for_each(|(scenario, field)| run_one(*scenario, field, effort, recorder))
}

/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 9;
/// Length of one measurement, if nothing else is asked for.
const DURATION: Duration = Duration::from_millis(500);

fn run_one(
    scenario: Scenario,
    field: &[&dyn Contestant],
    effort: &Effort,
    recorder: &mut Recorder,
) -> Result<()> {
    let subject = scenario.to_string();
    let mut tracks = Vec::new();
    for contestant in field {
        recorder.progress.step(&subject, &format!("setting up {}", contestant.name()));
        tracks.push(
            set_up(*contestant, scenario, effort)
                .with_context(|| format!("{} with {subject}", contestant.name()))?,
        );
    }
    for (round, n) in order(field.len(), effort.rounds(ROUNDS)) {
        let name = field[n].name();
        recorder.progress.step(&subject, &format!("round {}, {name}", round + 1));
        let sample = tracks[n].sample(effort.duration(DURATION), chunk(effort.quick))?;
        ensure!(sample.arrived > 0, "{name} forwarded nothing of {} packets", sample.sent);
        recorder.record(RATE, &subject, name, sample.mpps());
        recorder.record(LOSS, &subject, name, 100.0 * sample.loss());
    }
    Ok(())
}

fn set_up(contestant: &dyn Contestant, scenario: Scenario, effort: &Effort) -> Result<Track> {
    interrupt::check()?;
    let lab = Lab::new()?;
    let running = contestant.set_up(&lab, &scenario)?;
    Track::new(lab, running, scenario.flows, effort.processor)
}
