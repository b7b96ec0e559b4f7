//! Packets a second through home on one processor.

use anyhow::{Context, Result, ensure};

use super::Effort;
use crate::{
    contestant::{self, Contestant},
    interrupt,
    measure::{Sample, order},
    progress::Progress,
    report::pps::{Measured, Outcome},
    scenario::Scenario,
    topology::Lab,
    track::Track,
};

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

/// Measures every scenario, all contestants side by side; adds each to
/// `outcomes` when it is done.
///
/// # Errors
/// A contestant cannot be set up or does not forward, or the run was interrupted.
pub(crate) fn run(effort: &Effort, outcomes: &mut Vec<Outcome>) -> Result<()> {
    let contestants: Vec<_> = contestant::all()
        .into_iter()
        .filter(|c| effort.only.is_empty() || effort.only.iter().any(|name| name == c.name()))
        .collect();
    ensure!(!contestants.is_empty(), "no contestant is called {}", effort.only.join(" or "));
    let fields: Vec<(Scenario, Vec<&dyn Contestant>)> = scenarios(effort.quick)
        .into_iter()
        .map(|scenario| {
            let field = contestants.iter().map(AsRef::as_ref);
            (scenario, field.filter(|c| c.takes_part(&scenario)).collect())
        })
        .collect();
    let steps = fields.iter().map(|(_, field)| field.len() * (1 + effort.rounds)).sum();
    let mut progress = Progress::new(steps);
    for (scenario, field) in fields {
        outcomes.push(run_one(scenario, &field, effort, &mut progress)?);
    }
    Ok(())
}

fn run_one(
    scenario: Scenario,
    field: &[&dyn Contestant],
    effort: &Effort,
    progress: &mut Progress,
) -> Result<Outcome> {
    let subject = scenario.to_string();
    let mut tracks = Vec::new();
    for contestant in field {
        progress.step(&subject, &format!("setting up {}", contestant.name()));
        tracks.push(
            set_up(*contestant, scenario, effort)
                .with_context(|| format!("{} with {subject}", contestant.name()))?,
        );
    }
    let mut samples = vec![Vec::new(); field.len()];
    for (round, n) in order(field.len(), effort.rounds) {
        let name = field[n].name();
        progress.step(&subject, &format!("round {}, {name}", round + 1));
        let sample = tracks[n].sample(effort.duration, chunk(effort.quick))?;
        ensure!(sample.arrived > 0, "{name} forwarded nothing of {} packets", sample.sent);
        samples[n].push(sample);
    }
    let measured = |(contestant, samples): (&&dyn Contestant, Vec<Sample>)| Measured {
        name: contestant.name(),
        samples,
    };
    Ok(Outcome { scenario, measured: field.iter().zip(samples).map(measured).collect() })
}

fn set_up(contestant: &dyn Contestant, scenario: Scenario, effort: &Effort) -> Result<Track> {
    interrupt::check()?;
    let lab = Lab::new()?;
    let running = contestant.set_up(&lab, &scenario)?;
    Track::new(lab, running, scenario.flows, effort.processor)
}
