//! How long redirects take to be in force: many at once, and one among many.

use std::time::Instant;

use anyhow::Result;
use redirectd::{
    api::types::{AddRequest, ApplyRequest, ChangeReport, RemoveRequest, RulesText},
    config::Spec,
    dataplane::Removal,
};

use super::Effort;
use crate::{
    daemon::{Daemon, rules},
    interrupt,
    recorder::Recorder,
    result::Better,
    scenario::{Scenario, counted},
    stream::HOST_PORT,
    topology::{HOME, HOST, Lab},
};

/// A home port that no other redirect has.
const PORT: u16 = 7777;

/// The metrics.
const APPLY: &str = "many at once";
const ADD: &str = "one more";

/// Measures all of it.
///
/// # Errors
/// The daemon does not start or refuses, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let (redirects, adds) = if effort.quick { (1_000, 20) } else { (100_000, 500) };
    let rounds = effort.rounds(5);
    let lab = Lab::new()?;
    recorder.progress.expect(2 * rounds + 2);
    recorder.metric(APPLY, "s", Better::Lower).digits = 3;
    recorder.metric(ADD, "ms", Better::Lower).digits = 3;
    let many = Scenario { flows: 1, redirects };
    let case = counted(redirects, "redirect");
    for round in 1..=rounds {
        interrupt::check()?;
        recorder.progress.step("control", &format!("{case} by the command, round {round}"));
        recorder.record(APPLY, &case, "redirect apply -f", apply(&lab, &many)?);
        recorder.progress.step("control", &format!("{case} by the API, round {round}"));
        recorder.record(APPLY, &case, "POST /v1/apply", request(&lab, &many)?);
    }
    for present in [Scenario { flows: 1, redirects: 1 }, many] {
        let case = format!("beside {}", counted(present.redirects, "redirect"));
        recorder.progress.step("control", &format!("one more {case}"));
        for milliseconds in add(&lab, &present, adds)? {
            recorder.record(ADD, &case, "POST /v1/redirects", milliseconds);
        }
    }
    Ok(())
}

/// Seconds that `redirect apply -f FILE` takes to put all redirects in force.
fn apply(lab: &Lab, scenario: &Scenario) -> Result<f64> {
    let daemon = Daemon::start(&lab.home, "tc", scenario)?;
    let file = daemon.rule_file("rules.yaml", &rules(scenario))?;
    let start = Instant::now();
    daemon.apply(&file)?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds from the same request over the API to its answer: the daemon's part.
fn request(lab: &Lab, scenario: &Scenario) -> Result<f64> {
    let daemon = Daemon::start(&lab.home, "tc", scenario)?;
    let text = RulesText { source: "bench".into(), text: rules(scenario) };
    let request = ApplyRequest { rules: Some(text), dry_run: false };
    let start = Instant::now();
    let _: ChangeReport = daemon.post("/v1/apply", &request)?;
    Ok(start.elapsed().as_secs_f64())
}

/// Milliseconds of each of `times` requests that add a redirect to those of
/// `present`; it is removed again each time.
fn add(lab: &Lab, present: &Scenario, times: usize) -> Result<Vec<f64>> {
    let daemon = Daemon::start(&lab.home, "tc", present)?;
    daemon.apply(&daemon.rule_file("rules.yaml", &rules(present))?)?;
    let addition = addition();
    let remove = RemoveRequest { names: vec!["one".into()], removal: Removal::Cut };
    let mut milliseconds = Vec::with_capacity(times);
    for _ in 0..times {
        interrupt::check()?;
        let start = Instant::now();
        let _: ChangeReport = daemon.post("/v1/redirects", &addition)?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        let _: ChangeReport = daemon.post("/v1/remove", &remove)?;
    }
    Ok(milliseconds)
}

fn addition() -> AddRequest {
    AddRequest {
        name: "one".into(),
        redirect: Spec {
            protocol: vec!["udp".into()],
            home: format!("{HOME}:{PORT}"),
            to: format!("{HOST}:{HOST_PORT}"),
            peers: Vec::new(),
            mode: None,
            flows: None,
        },
        replace: false,
        check: false,
    }
}
