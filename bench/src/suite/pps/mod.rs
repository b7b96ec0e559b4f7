//! Packets a second through home on one processor.

mod explain;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Effort;
use crate::{
    contestant::{self, Contestant, conntrack},
    interrupt,
    measure::{Sample, order},
    recorder::Recorder,
    result::{Better, Plot},
    scenario::Scenario,
    topology::Lab,
    track::Track,
};

/// Packets that arrive, by the clock of the program that makes them.
const RATE: &str = "packets a second";
/// What a packet costs beyond being made and dropped.
const MARGINAL: &str = "marginal cost of a packet";
/// As [`RATE`], by the time of the system calls.
const WALL: &str = "packets a second by wall clock";
/// Packets that do not arrive.
const LOSS: &str = "lost";
/// How often the measuring thread was pushed off its processor.
const PUSHED: &str = "interruptions of a measurement";
/// What it took to set a contestant up and open all flows, once.
const SET_UP: &str = "time to set up";

/// Who shows what it costs to make packets and bring them to home.
const FLOOR: &str = "drop";

/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 4;
/// Length of one measurement, if nothing else is asked for.
const DURATION: Duration = Duration::from_millis(400);

/// Packets made by one system call.
fn chunk(quick: bool) -> u32 {
    if quick { 20_000 } else { 500_000 }
}

/// One redirect with ever more flows; then few and many flows among many redirects.
fn scenarios(quick: bool) -> Vec<Scenario> {
    let cases: &[(u32, u32)] = if quick {
        &[(1, 1), (1_000, 1), (1_000, 1_000)]
    } else {
        &[
            (1, 1),
            (1_000, 1),
            (32_768, 1),
            (100_000, 1),
            (1_000_000, 1),
            (1, 100_000),
            (100_000, 100_000),
        ]
    };
    cases.iter().map(|&(flows, redirects)| Scenario { flows, redirects }).collect()
}

/// Measures every scenario, all contestants side by side.
///
/// # Errors
/// A contestant cannot be set up or does not forward, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let mut contestants = contestant::all();
    contestants.retain(|c| effort.wants(c.name()));
    contestants.retain(|c| {
        let reason = c.unavailable();
        reason.as_ref().inspect(|reason| recorder.absent(c.name(), None, reason)).is_none()
    });
    let scenarios = scenarios(effort.quick);
    let mut fields = Vec::new();
    for scenario in &scenarios {
        let mut field: Vec<&dyn Contestant> = Vec::new();
        for contestant in contestants.iter().map(AsRef::as_ref) {
            match contestant.absent(scenario) {
                None => field.push(contestant),
                Some(why) => {
                    recorder.absent(contestant.name(), Some(&scenario.to_string()), why);
                }
            }
        }
        fields.push((*scenario, field));
    }
    let rounds = effort.rounds(ROUNDS);
    recorder.progress.expect(fields.iter().map(|(_, field)| field.len() * (1 + rounds)).sum());
    explain::method(recorder, effort);
    explain::targets(recorder, &scenarios);
    introduce(recorder);
    fields.iter().try_for_each(|(scenario, field)| run_one(*scenario, field, effort, recorder))
}

fn introduce(recorder: &mut Recorder) {
    let floors = ["iptables", "nftables", FLOOR, "bounce-xdp"].map(str::to_owned);
    let rate = recorder.metric(RATE, "Mpps", Better::Higher);
    rate.ratios_to = floors.into();
    rate.plot = Plot::Bars;
    let marginal = recorder.metric(MARGINAL, "ns", Better::Lower);
    marginal.digits = 0;
    marginal.plot = Plot::Lines;
    let wall = recorder.metric(WALL, "Mpps", Better::Higher);
    wall.ratios_to = vec!["iptables".into(), FLOOR.into()];
    recorder.metric(LOSS, "%", Better::Lower).digits = 3;
    recorder.metric(PUSHED, "", Better::Neither).digits = 0;
    recorder.metric(SET_UP, "s", Better::Neither).digits = 1;
}

fn run_one(
    scenario: Scenario,
    field: &[&dyn Contestant],
    effort: &Effort,
    recorder: &mut Recorder,
) -> Result<()> {
    let subject = scenario.to_string();
    // Both of those that use it have their flows at the same time.
    let room = conntrack::Room::new(scenario.flows, 2)?;
    let (limit, buckets) = room.now();
    recorder.parameter(
        &format!("{subject}: conntrack's limit, buckets"),
        format!("{limit}, {buckets}"),
    );
    let mut tracks = Vec::new();
    for contestant in field {
        let name = contestant.name();
        recorder.progress.step(&subject, &format!("setting up {name}"));
        let start = Instant::now();
        tracks.push(
            set_up(*contestant, scenario, effort)
                .with_context(|| format!("{name} with {subject}"))?,
        );
        recorder.record(SET_UP, &subject, name, start.elapsed().as_secs_f64());
    }
    let mut rates = Vec::new();
    for (round, n) in order(field.len(), effort.rounds(ROUNDS)) {
        let name = field[n].name();
        recorder.progress.step(&subject, &format!("round {}, {name}", round + 1));
        let sample = tracks[n].sample(effort.duration(DURATION), chunk(effort.quick))?;
        ensure!(sample.arrived > 0, "{name} forwarded nothing of {} packets", sample.sent);
        record(recorder, &subject, name, &sample);
        rates.push((name, sample.mpps()));
        if rates.len() == field.len() {
            // In the order of the report, whoever began.
            rates.rotate_right(round % field.len());
            record_marginal(recorder, scenario, &std::mem::take(&mut rates));
        }
    }
    Ok(())
}

fn set_up(contestant: &dyn Contestant, scenario: Scenario, effort: &Effort) -> Result<Track> {
    interrupt::check()?;
    let lab = Lab::new()?;
    let running = contestant.set_up(&lab, &scenario)?;
    Track::new(lab, running, scenario.flows, effort.processor)
}

fn record(recorder: &mut Recorder, case: &str, name: &str, sample: &Sample) {
    recorder.record(RATE, case, name, sample.mpps());
    recorder.record(WALL, case, name, sample.mpps_by_wall_clock());
    recorder.record(LOSS, case, name, 100.0 * sample.loss());
    recorder.record(PUSHED, case, name, sample.switches as f64);
}

/// What follows from the rates of one round, in Mpps.
fn record_marginal(recorder: &mut Recorder, scenario: Scenario, rates: &[(&str, f64)]) {
    let Some(&(_, floor)) = rates.iter().find(|(name, _)| *name == FLOOR) else { return };
    let case = scenario.to_string();
    for &(name, rate) in rates.iter().filter(|(name, _)| *name != FLOOR) {
        recorder.record(MARGINAL, &case, name, marginal(rate, floor));
    }
    if scenario.redirects == 1 && rates.len() > 1 {
        recorder.place(MARGINAL, &case, scenario.flows.into());
    }
}

/// Nanoseconds that a packet takes longer at `rate` than at `floor`, both in Mpps.
fn marginal(rate: f64, floor: f64) -> f64 {
    1e3 / rate - 1e3 / floor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        progress::Progress,
        result::target::{Bound, Target},
    };

    #[test]
    fn the_marginal_cost_is_that_of_the_same_round_beyond_the_floor() {
        let mut recorder = Recorder::new("pps", "", Progress::silent());
        introduce(&mut recorder);
        let scenario = Scenario { flows: 1_000, redirects: 1 };
        // The machine was half as fast in the second round.
        for (floor, rate) in [(4.0, 2.0), (2.0, 1.0)] {
            record_marginal(&mut recorder, scenario, &[(FLOOR, floor), ("nftables", rate)]);
        }
        let suite = recorder.finish();
        let marginal = suite.metric(MARGINAL).unwrap();
        let case = "1,000 flows, 1 redirect";
        assert_eq!(marginal.rounds(case, "nftables"), Some(&[250.0, 500.0][..]));
        assert_eq!(marginal.contestants(), ["nftables"]);
        assert_eq!(marginal.case(case).unwrap().x, Some(1_000.0));
    }

    #[test]
    fn the_targets_are_those_that_were_set() {
        let mut recorder = Recorder::new("pps", "", Progress::silent());
        explain::targets(&mut recorder, &scenarios(false));
        let targets = recorder.finish().targets;
        let asked = |what: &str| {
            let bound = |target: &Target| (target.what == what).then_some(target.bound);
            targets.iter().find_map(bound).unwrap_or_else(|| panic!("nobody asks for {what}"))
        };
        for (flows, xdp) in [("1 flow", 2.7), ("100,000 flows", 2.7), ("1,000,000 flows", 2.5)] {
            let against = |who| asked(&format!("{who} against iptables, {flows}, 1 redirect"));
            assert_eq!(against("redirectd-xdp"), Bound::AtLeast(xdp));
            assert_eq!(against("redirectd-tc"), Bound::AtLeast(1.5));
        }
        for clock in ["by the generator's clock", "by wall clock"] {
            let what = format!("redirectd-xdp against drop, 1 flow, 1 redirect, {clock}");
            assert_eq!(asked(&what), Bound::AtLeast(0.8));
        }
        for who in ["redirectd-xdp", "redirectd-tc"] {
            let what = format!("{who}: marginal cost with 32,768 flows against 1 flow");
            assert_eq!(asked(&what), Bound::AtMost(1.5));
        }
    }

    #[test]
    fn every_case_can_be_made() {
        for scenario in scenarios(false).into_iter().chain(scenarios(true)) {
            assert!(scenario.flows == 1 || crate::stream::stream(scenario.flows).targets >= 4);
        }
    }
}
