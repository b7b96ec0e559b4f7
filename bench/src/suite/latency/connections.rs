//! Connections a second.

use anyhow::Result;

use super::{
    BYTES, CLIENTS, DURATION, Effort, PATIENCE, ROUNDS,
    field::{Contestant, Field},
    rates::{DIRECT, IPTABLES},
    warm_up,
};
use crate::{
    interrupt,
    recorder::Recorder,
    requests::churn::{Churn, Tally},
    result::{Better, Plot},
};

/// The metrics.
const RATE: &str = "connections a second";
const FAILED: &str = "failed connections";

/// Measures all contestants side by side.
///
/// # Errors
/// The run was interrupted.
pub(super) fn run(field: &Field, effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let metric = recorder.metric(RATE, "1/s", Better::Higher);
    metric.digits = 0;
    metric.ratios_to = vec![DIRECT.into(), IPTABLES.into()];
    metric.plot = Plot::Bars;
    recorder.metric(FAILED, "", Better::Lower).digits = 0;
    let case = format!("{CLIENTS} clients");
    let seconds = effort.duration(DURATION).as_secs_f64();
    for (round, contestants) in field.rounds(effort.rounds(ROUNDS)).into_iter().enumerate() {
        for contestant in contestants {
            interrupt::check()?;
            let name = contestant.name;
            recorder.progress.step(RATE, &format!("round {}, {name}", round + 1));
            let tally = apply(contestant, effort)?;
            // It may have ended the servers too.
            interrupt::check()?;
            recorder.record(RATE, &case, name, tally.completed as f64 / seconds);
            recorder.record(FAILED, &case, name, tally.failed as f64);
            if let Some(failure) = tally.failure {
                recorder.note(format!(
                    "{name}, round {}: {} connections failed, such as: {failure}",
                    round + 1,
                    tally.failed
                ));
            }
        }
    }
    Ok(())
}

fn apply(contestant: &Contestant, effort: &Effort) -> Result<Tally> {
    let churn = Churn {
        servers: contestant.servers[..CLIENTS].to_vec(),
        request: BYTES.get() as usize,
        response: BYTES.get() as usize,
        warm_up: warm_up(effort),
        duration: effort.duration(DURATION),
        patience: PATIENCE,
    };
    contestant.lan.peer.enter(|| Ok(churn.run()))
}
