//! Many redirects at once: put in force, and taken out again.

use std::{fmt::Write as _, process::Command, time::Instant};

use anyhow::Result;
use redirectd::{
    api::types::{ApplyRequest, ChangeReport, RemoveRequest, RulesText},
    dataplane::Removal,
};

use super::ONE;
use crate::{
    command,
    contestant::netfilter,
    daemon::{Daemon, rules},
    measure::order,
    netns::Netns,
    recorder::Recorder,
    result::Better,
    scenario::{Scenario, counted},
    suite::Effort,
    topology::{HOME, HOST, Lab},
};

/// The metrics.
const LOAD: &str = "many at once";
const UNLOAD: &str = "all removed at once";

/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 5;

/// Who is asked, and how.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// The command line with a rule file.
    Command,
    /// The same rules over the API: the daemon's part of it.
    Api,
    /// The elements of one map of nftables, by `nft -f`.
    Nft,
}

impl Way {
    const ALL: [Self; 3] = [Self::Command, Self::Api, Self::Nft];

    fn name(self) -> &'static str {
        match self {
            Self::Command => "redirect",
            Self::Api => "API",
            Self::Nft => "nft",
        }
    }
}

/// How often one element is added to nftables, in each round.
fn repetitions(effort: &Effort) -> usize {
    if effort.quick { 5 } else { 100 }
}

/// How many steps of progress it has.
pub(super) fn steps(effort: &Effort) -> usize {
    effort.rounds(ROUNDS) * Way::ALL.len()
}

/// What is measured, for the report.
pub(super) fn introduce(recorder: &mut Recorder) {
    recorder.metric(LOAD, "s", Better::Lower).digits = 3;
    recorder.metric(UNLOAD, "s", Better::Lower).digits = 3;
    recorder.parameter(
        LOAD,
        "`redirect apply -f` of a rule file; the same text to /v1/apply; `nft -f` of a table whose \
         map has an element for each of them. From the start of the command, or from the request",
    );
    recorder.parameter(
        UNLOAD,
        "`redirect apply -f` of a file without redirects; all names to /v1/remove, flows cut; \
         `nft flush map`",
    );
}

/// Measures all ways in turns.
///
/// # Errors
/// The daemon does not start or refuses, or the run was interrupted.
pub(super) fn run(many: u32, effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let scenario = Scenario { flows: 1, redirects: many };
    let case = counted(many, "redirect");
    let lab = Lab::new()?;
    for (round, n) in order(Way::ALL.len(), effort.rounds(ROUNDS)) {
        let way = Way::ALL[n];
        recorder.progress.step("many at once", &format!("{}, round {}", way.name(), round + 1));
        let (load, unload) = match way {
            Way::Command => by_command(&lab, &scenario)?,
            Way::Api => by_api(&lab, &scenario)?,
            Way::Nft => by_nft(&scenario, effort, recorder)?,
        };
        recorder.record(LOAD, &case, way.name(), load);
        recorder.record(UNLOAD, &case, way.name(), unload);
    }
    Ok(())
}

fn by_command(lab: &Lab, scenario: &Scenario) -> Result<(f64, f64)> {
    let daemon = Daemon::start(&lab.home, "tc", scenario)?;
    let all = daemon.rule_file("rules.yaml", &rules(scenario))?;
    let none = daemon.rule_file("none.yaml", "version: 1\nredirects: {}\n")?;
    Ok((seconds(|| daemon.apply(&all))?, seconds(|| daemon.apply(&none))?))
}

fn by_api(lab: &Lab, scenario: &Scenario) -> Result<(f64, f64)> {
    let daemon = Daemon::start(&lab.home, "tc", scenario)?;
    let text = RulesText { source: "bench".into(), text: rules(scenario) };
    let apply = ApplyRequest { rules: Some(text), dry_run: false };
    let idle = (1..scenario.redirects).map(|n| format!("idle-{}", n - 1));
    let names = std::iter::once("busy".to_owned()).chain(idle).collect();
    let remove = RemoveRequest { names, removal: Removal::Cut };
    let load = seconds(|| daemon.post("/v1/apply", &apply).map(|_: ChangeReport| ()))?;
    let unload = seconds(|| daemon.post("/v1/remove", &remove).map(|_: ChangeReport| ()))?;
    Ok((load, unload))
}

/// Also adds one element at a time, beside one and beside all.
fn by_nft(scenario: &Scenario, effort: &Effort, recorder: &mut Recorder) -> Result<(f64, f64)> {
    let netns = Netns::new("nft")?;
    netns.enter(|| {
        let nft = |arguments: &str, input: &str| {
            command::run(Command::new("nft").args(arguments.split_whitespace()), input).map(drop)
        };
        let one = |recorder: &mut Recorder, redirects: u32| -> Result<()> {
            let beside = format!("beside {}", counted(redirects, "redirect"));
            for _ in 0..repetitions(effort) {
                let mut element = format!("ip redirects targets {{ {HOME} . 7777");
                let delete = format!("delete element {element} }}");
                let _ = write!(element, " : {HOST} . 8000 }}");
                let took = seconds(|| nft(&format!("add element {element}"), ""))?;
                recorder.record(ONE, &beside, "nft add element", took * 1e6);
                nft(&delete, "")?;
            }
            Ok(())
        };
        nft("-f -", &netfilter::ruleset(&Scenario { flows: 1, redirects: 1 }))?;
        one(recorder, 1)?;
        nft("delete table ip redirects", "")?;
        let rules = netfilter::ruleset(scenario);
        let load = seconds(|| nft("-f -", &rules))?;
        one(recorder, scenario.redirects)?;
        let unload = seconds(|| nft("flush map ip redirects targets", ""))?;
        Ok((load, unload))
    })
}

fn seconds(step: impl FnOnce() -> Result<()>) -> Result<f64> {
    crate::interrupt::check()?;
    let start = Instant::now();
    step()?;
    Ok(start.elapsed().as_secs_f64())
}
