//! The papers' second table on today's kernel: 400 MB over one connection.

use anyhow::{Context, Result};

use super::{
    Effort,
    paper::{BUFFER, WIRE, routes, state_wire},
};
use crate::{
    lan::Placement,
    measure::order,
    pair::standing::Standing,
    recorder::Recorder,
    result::{Better, Plot},
};

/// The metrics.
const TIME: &str = "time";
const BANDWIDTH: &str = "bandwidth";
const OVER_BASELINE: &str = "time over its own baseline";
const CROSSINGS: &str = "bytes into home for each byte sent";

/// Who takes part, in the order of reports.
const CONTESTANTS: [&str; 4] = ["direct", "redirectd-tc", "deputy", "deputy-gather"];
const DIRECT: &str = "direct";

/// Bytes.
const AMOUNT: u64 = 400_000_000;
/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 2;

/// The paper's own: name, seconds, Mbit/s, and seconds of its own baseline.
const PAPER: [(&str, f64, f64, Option<f64>); 4] = [
    ("direct (paper)", 35.658, 89.74, None),
    ("MOSIX (paper)", 67.918, 47.1204, Some(35.658)),
    ("User-mode Linux, direct (paper)", 51.946, 61.60, None),
    ("User-mode Linux, socket swapped (paper)", 52.786, 60.62, Some(51.946)),
];

const ABOUT: &str = "\
The table of the defence on socket swapping: one client sends 400 MB over one connection to a server \
at 100 Mbit/s. The hosts, links, clients and servers are those of the suite `paper`.

The paper moves the process's socket with it (in User-mode Linux, which is slower by itself) and \
compares with MOSIX, where the socket stays at home. redirectd stands where the paper swaps the \
socket: the process has it on its host, and home hands on packets. So the paper's cost of a swap, \
1.6 % over User-mode Linux without one, compares with redirectd's over `direct`, and MOSIX's 90 % \
over Linux with the deputy's.";

/// Measures all contestants side by side.
///
/// # Errors
/// A contestant cannot be set up or loses bytes, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let placement = Placement::new(effort.processor)?;
    let amount = if effort.quick { 1_500_000 } else { AMOUNT };
    let case = format!("{} MB", amount as f64 / 1e6);
    introduce(effort, amount, recorder);
    if !effort.quick {
        quote(&case, recorder);
    }
    let routes = routes(&CONTESTANTS, effort, recorder);
    let rounds = effort.rounds(ROUNDS);
    recorder.progress.expect(routes.len() * (1 + rounds));
    let mut field = Vec::new();
    for route in &routes {
        recorder.progress.step("setting up", route.name());
        let standing = Standing::new(route.as_ref(), &WIRE, &placement, 1, BUFFER);
        field.push(standing.with_context(|| route.name().to_owned())?);
    }
    let mut seconds = Vec::new();
    for (round, n) in order(field.len(), rounds) {
        let who = field[n].name();
        recorder.progress.step(&case, &format!("round {}, {who}", round + 1));
        let measured = field[n].send(1, amount)?;
        let time = measured.figures.seconds;
        recorder.record(TIME, &case, who, time);
        recorder.record(BANDWIDTH, &case, who, amount as f64 * 8.0 / time / 1e6);
        recorder.record(CROSSINGS, &case, who, measured.into_home as f64 / amount as f64);
        seconds.push((who, time));
        if seconds.len() == field.len() {
            record_over_direct(&case, &seconds, recorder);
            seconds.clear();
        }
    }
    Ok(())
}

fn introduce(effort: &Effort, amount: u64, recorder: &mut Recorder) {
    recorder.about(ABOUT);
    recorder.parameter("rounds", effort.rounds(ROUNDS));
    recorder.parameter("amount", format!("{amount} bytes"));
    recorder.parameter("buffer", format!("{BUFFER} bytes a call, at client and server"));
    state_wire(recorder);
    let time = recorder.metric(TIME, "s", Better::Lower);
    (time.digits, time.plot) = (3, Plot::Bars);
    recorder.metric(BANDWIDTH, "Mbit/s", Better::Higher);
    recorder.metric(OVER_BASELINE, "", Better::Lower).digits = 4;
    recorder.metric(CROSSINGS, "", Better::Neither).digits = 3;
}

fn quote(case: &str, recorder: &mut Recorder) {
    for (source, seconds, bandwidth, baseline) in PAPER {
        recorder.quote(TIME, case, source, seconds);
        recorder.quote(BANDWIDTH, case, source, bandwidth);
        if let Some(baseline) = baseline {
            recorder.quote(OVER_BASELINE, case, source, seconds / baseline);
        }
    }
}

/// What everyone's `seconds` of one round are over direct's: the baseline of all
/// that is measured here.
fn record_over_direct(case: &str, seconds: &[(&str, f64)], recorder: &mut Recorder) {
    let Some(&(_, direct)) = seconds.iter().find(|one| one.0 == DIRECT) else { return };
    for &(who, seconds) in seconds.iter().filter(|one| one.0 != DIRECT) {
        recorder.record(OVER_BASELINE, case, who, seconds / direct);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which also finds a digit that was copied wrongly.
    #[test]
    fn every_line_of_the_paper_is_400_mb() {
        for (source, seconds, bandwidth, _) in PAPER {
            let amount = seconds * bandwidth * 1e6 / 8.0;
            assert!((amount / AMOUNT as f64 - 1.0).abs() < 0.001, "{source}: {amount}");
        }
    }
}
