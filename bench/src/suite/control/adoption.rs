//! The daemon ends, and starts again among its flows, while packets of all of
//! them pass.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use redirectd::api::types::Status;

use crate::{
    daemon::{Daemon, rules},
    interrupt, processor,
    recorder::Recorder,
    result::Better,
    scenario::{Scenario, counted},
    stream::{self, Turns, at_host},
    suite::Effort,
    topology::{HOST0, Lab, PEER0},
    track::establish,
    traffic::{Generator, Role, Sink},
};

/// The metrics.
const READY: &str = "restart: from the start until ready";
const GONE: &str = "restart: from the signal until gone";
const LOST: &str = "restart: packets lost";
const FLOWS: &str = "restart: flows lost";
const PASSED: &str = "restart: packets that passed meanwhile";

/// How it ends, and what that is called.
const ENDS: [(Signal, &str); 2] = [(Signal::SIGKILL, "killed"), (Signal::SIGTERM, "stopped")];

/// Restarts of each kind, if nothing else is asked for.
const ROUNDS: usize = 2;
/// Packets pass for so long before the end and after the start.
const MARGIN: Duration = Duration::from_millis(100);

/// Packets made by one system call; about 10 ms of them.
const CHUNK: u32 = 10_000;

/// Few flows and many; few redirects and many.
fn scenarios(effort: &Effort) -> Vec<Scenario> {
    let all: &[(u32, u32)] = if effort.quick {
        &[(1_000, 1_000)]
    } else {
        &[(1, 1), (1_000_000, 1), (1_000_000, 100_000)]
    };
    all.iter().map(|&(flows, redirects)| Scenario { flows, redirects }).collect()
}

/// How many steps of progress it has.
pub(super) fn steps(effort: &Effort) -> usize {
    scenarios(effort).len() * (1 + ENDS.len() * effort.rounds(ROUNDS))
}

/// What is measured, for the report.
pub(super) fn introduce(recorder: &mut Recorder) {
    recorder.metric(READY, "s", Better::Lower).digits = 3;
    recorder.metric(GONE, "s", Better::Lower).digits = 3;
    recorder.metric(LOST, "packets", Better::Lower).digits = 0;
    recorder.metric(FLOWS, "flows", Better::Lower).digits = 0;
    recorder.metric(PASSED, "packets", Better::Neither).digits = 0;
    recorder.parameter(
        "restart",
        "XDP with tc behind it; killed (SIGKILL) or stopped (SIGTERM), and started again at once; \
         ready is when /v1/status answers. Packets of all flows in turn pass all the time, as fast \
         as one processor makes and forwards them",
    );
}

/// Measures all of it.
///
/// # Errors
/// The daemon does not start again, or the run was interrupted.
pub(super) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    for scenario in scenarios(effort) {
        let case = scenario.to_string();
        recorder
            .progress
            .step("restart", &format!("establishing {}", counted(scenario.flows, "flow")));
        let mut site = Site::new(&scenario, effort.processor)?;
        for round in 1..=effort.rounds(ROUNDS) {
            for (signal, name) in ENDS {
                recorder.progress.step("restart", &format!("{case}, {name}, round {round}"));
                let restart =
                    site.restart(signal).with_context(|| format!("{name} with {case}"))?;
                recorder.record(READY, &case, name, restart.ready.as_secs_f64());
                recorder.record(GONE, &case, name, restart.gone.as_secs_f64());
                recorder.record(LOST, &case, name, restart.lost as f64);
                recorder.record(FLOWS, &case, name, restart.flows_lost as f64);
                recorder.record(PASSED, &case, name, restart.passed as f64);
            }
        }
    }
    Ok(())
}

/// A daemon with established flows. Dropped in the order of its fields: the lab
/// goes last.
struct Site {
    daemon: Daemon,
    generator: Generator,
    sink: Sink,
    lab: Lab,
    flows: u32,
    processor: usize,
}

/// What one restart was like.
struct Restart {
    gone: Duration,
    ready: Duration,
    passed: u64,
    lost: i64,
    flows_lost: i64,
}

impl Site {
    fn new(scenario: &Scenario, processor: usize) -> Result<Self> {
        let lab = Lab::new()?;
        let daemon = Daemon::start(&lab.home, "xdp", scenario)?;
        daemon.apply(&daemon.rule_file("rules.yaml", &rules(scenario))?)?;
        let flows = scenario.flows;
        let mut generator = lab.peer.enter(|| Generator::new(PEER0, &stream::stream(flows)))?;
        establish(&lab, &mut generator, processor)?;
        let counted = daemon.established()?;
        ensure!(counted == u64::from(flows), "{counted} of {flows} flows are established");
        let sink = Sink::attach(&lab.host, HOST0, Role::Sink, &at_host())?;
        Ok(Self { daemon, generator, sink, lab, flows, processor })
    }

    fn restart(&mut self, signal: Signal) -> Result<Restart> {
        let before = self.sink.settled_counts()?.expected;
        let Self { daemon, generator, sink, lab, processor, flows } = self;
        let (stop, processor) = (AtomicBool::new(false), *processor);
        let (times, sent) = thread::scope(|scope| {
            let traffic = scope.spawn(|| lab.peer.enter(|| pass(generator, processor, &stop)));
            thread::sleep(MARGIN);
            let times = again(daemon, &lab.home, signal);
            thread::sleep(MARGIN);
            stop.store(true, Ordering::Relaxed);
            (times, traffic.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let ((gone, ready), sent) = (times?, sent?);
        let after = daemon.established()?;
        // Each flow has its turn: what is counted also forwards.
        let all = lab.peer.enter(|| {
            processor::occupy(processor)?;
            generator.send(*flows, Turns::InOrder)
        });
        all?;
        let passed = sink.settled_counts()?.expected - before;
        let lost = (sent + u64::from(*flows)).cast_signed() - passed.cast_signed();
        let flows_lost = i64::from(*flows) - after.cast_signed();
        Ok(Restart { gone, ready, passed, lost, flows_lost })
    }
}

/// Ends the daemon and starts it again: the time until it was gone, and from its
/// start until it answered.
fn again(
    daemon: &mut Daemon,
    home: &crate::netns::Netns,
    signal: Signal,
) -> Result<(Duration, Duration)> {
    let start = Instant::now();
    daemon.end(signal)?;
    let gone = start.elapsed();
    let start = Instant::now();
    daemon.again(home)?;
    let _: Status = daemon.get("/v1/status")?;
    Ok((gone, start.elapsed()))
}

/// Sends packets of all flows in turn until told to stop; says how many.
fn pass(generator: &mut Generator, processor: usize, stop: &AtomicBool) -> Result<u64> {
    processor::occupy(processor)?;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        interrupt::check()?;
        generator.send(CHUNK, Turns::FarApart)?;
        sent += u64::from(CHUNK);
    }
    Ok(sent)
}
