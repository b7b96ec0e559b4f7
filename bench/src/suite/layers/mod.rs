//! Where a packet's time goes at home, layer by layer: the papers' timing
//! analysis on today's kernel.
//!
//! The papers timed the layers of their kernel with probes in its source. What
//! is done instead, and why, is said in [`crate::profile`]. Three accounts that
//! do not know of each other are kept: the sampled time by layer, the
//! scheduler's account of the same threads (with the sampler and without), and
//! home's own counters of what comes by its layers.

mod passes;
mod round;
mod way;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::{round::Round, way::Way};
use super::Effort;
use crate::{
    interrupt,
    lan::Placement,
    measure::order,
    profile::{
        layer::Layer,
        sampler::{self, Sampler},
        symbols::Symbols,
    },
    recorder::Recorder,
    result::{
        Better, Plot,
        target::{Bound, Figure, Target},
    },
    route::{self, Route},
};

/// The metrics.
const TIME: &str = "time of a packet by layer";
const WHOLE: &str = "time of a packet, two accounts";
const PAPER: &str = "beside the paper";
const SAVED: &str = "saved against the relay's way";
const PASSES: &str = "passes for a packet";
const RATE: &str = "packets a second";
const OTHERS: &str = "others' work on home's processor";

/// The case of [`WHOLE`] that nothing disturbs.
const UNSAMPLED: &str = "scheduler's account, not sampled";

/// The ways that are measured, in the order of reports.
const WAYS: [&str; 6] =
    ["redirectd-xdp", "redirectd-tc", "iptables", "deputy", "deputy-gather", "socat"];

/// What stands for the papers' deputy, the better first.
const RELAYS: [&str; 3] = ["deputy", "deputy-gather", "socat"];

/// The papers' own figures, as a contestant.
const SOURCE: &str = "the paper (Pentium 4, Linux 2.4)";

/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 6;
/// Length of one measurement, if nothing else is asked for.
const DURATION: Duration = Duration::from_millis(1_000);
/// From one look at home's processor to the next: each takes some microseconds.
const PERIOD: Duration = Duration::from_micros(200);
/// As [`PERIOD`], when all that matters is that every layer is seen.
const QUICK_PERIOD: Duration = Duration::from_micros(100);
/// Length of one measurement when all that matters is that there is one.
const QUICK: Duration = Duration::from_millis(300);

const ABOUT: &str = "\
One connection brings bytes from the peer through home to the host, as fast as the way permits, in \
frames of 1,500 bytes (offloads off, as on a wire). All of home's work is done by threads on one \
processor: those that poll its interface, and the relay's, where there is one. A packet is one of \
the peer's that reaches home; its time is all that home does for it, in and out, with the \
acknowledgements that go back. What is lost before home, at the full queue of a way that is slow \
for a moment, is counted among what the peer has sent and nowhere else.

A clock interrupts home's processor some thousand times a second, and the kernel's stack at that instant says in \
which layer it is: that of the innermost function that belongs to a layer, so that each layer has \
the time it spends itself. Ticks in a layer × time of a tick / packets is the figure. Probes at the \
layers' entries and exits would take longer than the packet does in most of them, and there are \
places (a tc program inside of the device layer) where none can be put. Shares of less than a \
percent are a few ticks a round and vary accordingly. What runs with interrupts off is seen where \
they are on again. What the peer's TCP does on home's processor, because home has just let go of a \
packet that counted against its sender's queue, is left out; the same work of a relay's own \
sockets is done by whoever takes the packets from home, and so is not seen.

Two checks: the scheduler's account of the same threads, divided by the same packets, knows \
nothing of ticks (it is taken with the sampler and, just before, without: the difference is what \
sampling costs); and the hosts' own statistics (/proc/net/dev, /proc/net/snmp) count how often \
packets come by the layers, where what GRO has put together counts once.

What differs from the paper: veth in place of a network card (its wake-up of the other end stands \
for a card's doorbell and is `scheduler`; with XDP it copies a packet into a page, which cards do \
not), polling threads in place of interrupts, and many packets at a time where the paper's machine \
had one: a relay reads many packets with one call.";

/// Measures every way, side by side.
///
/// # Errors
/// A way cannot be set up or nothing gets through it, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    introduce(recorder);
    name_missing(recorder)?;
    let placement = Placement::new(effort.processor)?;
    let routes = routes(effort, recorder);
    let rounds = effort.rounds(ROUNDS);
    let duration = effort.duration.unwrap_or(if effort.quick { QUICK } else { DURATION });
    let period = if effort.quick { QUICK_PERIOD } else { PERIOD };
    let most = sampler::most(period);
    ensure!(duration <= most, "at most {most:?} can be sampled at a time");
    recorder.parameter("sampling period", format!("{period:?}"));
    state_parameters(&placement, rounds, duration, recorder);
    recorder.progress.expect(routes.len() * (1 + rounds));
    let mut ways = Vec::new();
    for route in &routes {
        interrupt::check()?;
        recorder.progress.step("layers", &format!("setting up {}", route.name()));
        let way = Way::new(route.as_ref(), &placement).context(route.name())?;
        ways.push(way);
    }
    let mut sampler = Sampler::new(effort.processor, period)?;
    let mut round = Round::default();
    for (number, n) in order(ways.len(), rounds) {
        let way = &ways[n];
        recorder.progress.step("layers", &format!("round {}, {}", number + 1, way.name()));
        let (alone, sampled, ticks) =
            way.measure(duration, most / 2, &mut sampler).with_context(|| way.name())?;
        round.record(recorder, way.name(), &alone, &sampled, &ticks);
        if round.len() == ways.len() {
            std::mem::take(&mut round).compare(recorder);
        }
    }
    Ok(())
}

fn introduce(recorder: &mut Recorder) {
    recorder.about(ABOUT);
    for redirectd in ["redirectd-tc", "redirectd-xdp"] {
        recorder.target(Target::ratio(
            &format!("home's time of a packet, {redirectd} against deputy"),
            Figure::new(WHOLE, UNSAMPLED, redirectd),
            Figure::new(WHOLE, UNSAMPLED, "deputy"),
            Bound::AtMost(0.2),
        ));
    }
    let time = recorder.metric(TIME, "ns", Better::Lower);
    time.digits = 0;
    time.plot = Plot::Bars;
    recorder.metric(WHOLE, "ns", Better::Lower).digits = 0;
    recorder.metric(PAPER, "µs", Better::Lower).digits = 2;
    recorder.metric(SAVED, "µs", Better::Higher).digits = 2;
    recorder.metric(PASSES, "a packet", Better::Neither).digits = 3;
    recorder.metric(RATE, "thousand/s", Better::Higher).digits = 1;
    recorder.metric(OTHERS, "%", Better::Lower).digits = 1;
    recorder.note(
        "The paper: redirecting below TCP saves (24.22 + 2.9 + M) µs one way and \
         2 × (24.22 + 2.9) + M through and back, M being MOSIX's own decision, for which no \
         figure is given. A packet through a relay goes up through TCP and socket and down \
         again, so its figures are set beside twice the paper's; copying, which Linux 2.4 did \
         within TCP, is counted with TCP there.",
    );
}

/// Those that are wanted and can be measured here; says why the others cannot.
fn routes(effort: &Effort, recorder: &mut Recorder) -> Vec<Box<dyn Route>> {
    let mut known: Vec<_> = route::all().into_iter().chain(route::deputies()).collect();
    let mut routes = Vec::new();
    for name in WAYS {
        if !effort.wants(name) {
            continue;
        }
        let Some(at) = known.iter().position(|route| route.name() == name) else { continue };
        let route = known.swap_remove(at);
        match route.unavailable().or_else(|| route.unfit(&way::WIRE)) {
            Some(reason) => recorder.absent(name, None, &reason),
            None => routes.push(route),
        }
    }
    routes
}

fn state_parameters(
    placement: &Placement,
    rounds: usize,
    duration: Duration,
    recorder: &mut Recorder,
) {
    recorder.parameter("rounds", rounds);
    recorder.parameter(
        "length of a measurement",
        format!("{duration:?} without, as long with the sampler"),
    );
    recorder.parameter("before it", format!("{:?} of the same transfer", way::START));
    recorder.parameter("connections", 1);
    recorder.parameter("bytes of one call of client and server", way::BUFFER);
    recorder.parameter("home's processor", placement.home);
    recorder.parameter("everyone else's processors", format!("{:?}", placement.others));
    recorder.parameter("links", "frames of 1,500 bytes, offloads off, not shaped");
}

/// Names the layers whose functions this kernel does not have under the names
/// that they are known by: their time is among others'.
fn name_missing(recorder: &mut Recorder) -> Result<()> {
    let symbols = Symbols::now()?;
    for layer in Layer::ALL {
        for function in layer.entries().iter().filter(|function| !symbols.has(function)) {
            let reason = format!("this kernel has no function {function}: its time is in others");
            recorder.absent("every way", Some(layer.name()), &reason);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    #[test]
    fn the_targets_are_those_that_were_set() {
        let mut recorder = Recorder::new("layers", "", Progress::silent());
        introduce(&mut recorder);
        let targets = recorder.finish().targets;
        assert_eq!(targets.len(), 2);
        assert!(targets.iter().all(|target| target.bound == Bound::AtMost(0.2)), "{targets:?}");
    }
}
