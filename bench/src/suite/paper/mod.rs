//! The papers' first table on today's kernel: client/server pairs at 100 Mbit/s.

mod quoted;

use anyhow::{Context, Result};

use self::quoted::{AMOUNT, Line, TABLE};
use super::Effort;
use crate::{
    lan::{Placement, Wire},
    measure::order,
    pair::standing::{Measured, Standing},
    recorder::Recorder,
    result::{
        Better, Plot,
        target::{Bound, Figure, Target},
    },
    route::{self, Route},
};

/// The metrics.
const TIME: &str = "time measured";
const EXECUTION: &str = "execution time";
const OVER_DIRECT: &str = "execution time over direct";
const BANDWIDTH: &str = "bandwidth of a connection";
const CPU: &str = "home's CPU";
const LOAD: &str = "home's load";
const PRESSURE: &str = "home's pressure";
const CROSSINGS: &str = "bytes into home for each byte sent";

/// Who takes part, in the order of reports.
const CONTESTANTS: [&str; 6] =
    ["direct", "bounce-tc", "redirectd-tc", "iptables", "deputy", "deputy-gather"];
const DIRECT: &str = "direct";
const BOUNCE: &str = "bounce-tc";
const REDIRECTD: &str = "redirectd-tc";
const DEPUTY: &str = "deputy";

/// The papers' contestants, as series.
const MOSIX_PAPER: &str = "MOSIX (paper)";
const IPTABLES_PAPER: &str = "iptables (paper)";
const DIRECT_PAPER: &str = "direct (paper)";

/// Mbit/s of every link, each way.
pub(super) const RATE: u32 = 100;
/// As the papers' cards: frames of 1,500 bytes with checksums.
pub(super) const WIRE: Wire = Wire { rate: Some(RATE), offloads: false, xdp: false };
/// Bytes of one call of clients and servers. The papers do not say theirs; this
/// is what stdio and the tools of that time used.
pub(super) const BUFFER: usize = 8192;
/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 3;

const ABOUT: &str = "\
The table of the report on NAT redirection against MOSIX's deputy: a client at the peer sends on 3 \
to 50 connections at once, each to a server process of its own, which runs on the host. `direct` \
connects to the host; all others connect to home. The time is the client's, from the common start \
of all connections to the moment when the last server has told it that its program has received \
every byte: so what still waits in buffers counts, for the deputy as for everyone.

Peer, home and host have one link each to a switch, 100 Mbit/s each way, shaped at both ends of \
each link as Ethernet counts (preamble, gap and checksum included). Home's one link carries \
everything twice, in and out, so that on its way in acknowledgements from the host compete with the \
peer's data: `bounce-tc`, which does nothing but change MAC addresses, shows what that costs any \
detour.

redirectd is attached at tc: veth devices get tc from `attach: auto` too, and what XDP sends does not \
pass the queue that shapes home's link. `deputy` is our stand-in for MOSIX: a process at home for \
each server performs the server's socket calls, one by one; `deputy-gather` reads ahead and gathers \
writes. What they keep of the original and what they cannot is in the documentation of \
`bench/src/deputy`.

How it is scaled: the paper sends 400 MB on each connection, two days in all. Here every point sends \
the same amount in all, evenly on its connections. `time measured` is what that took, and what \
targets are held to; `execution time` is the same multiplied up to 400 MB on each connection, \
beside the paper's unchanged figures. The links are busy from start to end in both, so \
that the time is proportional to the amount but for the first and last milliseconds, which weigh \
more here. `execution time over direct` is each contestant's time by direct's of the same round, \
and in the paper's columns the paper's own.

Home has a processor for itself, which receives its packets and runs its processes, and \
nothing else of the suite; its CPU is what the kernel does not count as idle. Its load is the mean \
number of its threads that run or want to: the paper's is the kernel's load average, which tends to \
that. The pressure is the share of time in which one of its processes waited for the processor. \
The paper's processor of 2001 is as busy with 100 Mbit/s as today's with some 50 times that: its CPU \
and load compare with each other, and ours with each other.";

/// Why no detour comes nearer to direct.
const BEHIND_DIRECT: &str = "\
On home's one link, each two frames of data (1,538 bytes each, as Ethernet counts) come with one \
acknowledgement (90 bytes), which alone makes 2.9 %. `bounce-tc` shows it.";

/// Why home's CPU is no less than the deputy's.
const BUSY: &str = "\
Home's CPU is mostly not the forwarder's: at this rate frames come one by one, and for each one \
home's processor is woken, sets a timer for the shaped link, and wakes the switch's processor; in a \
virtual machine each of these calls the hypervisor. `bounce-tc`, which does nothing else, shows that \
floor. The deputy sends several frames at a time and so pays it less often. What the ways cost where \
packets do not come one by one is in the suite `layers`.";

/// Measures every point, all contestants side by side.
///
/// # Errors
/// A contestant cannot be set up or loses bytes, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let placement = Placement::new(effort.processor)?;
    let lines = lines(effort.quick);
    introduce(effort, &placement, &lines, recorder);
    let routes = routes(&CONTESTANTS, effort, recorder);
    let rounds = effort.rounds(ROUNDS);
    recorder.progress.expect(routes.len() * (1 + rounds * lines.len()));
    let pairs = lines.iter().map(|line| line.connections).max().unwrap_or(1);
    let mut field = Vec::new();
    for route in &routes {
        recorder.progress.step("setting up", route.name());
        let standing = Standing::new(route.as_ref(), &WIRE, &placement, pairs, BUFFER);
        field.push(standing.with_context(|| route.name().to_owned())?);
    }
    let mut turns = order(field.len(), rounds).peekable();
    while let Some(&(round, _)) = turns.peek() {
        let everyone: Vec<usize> = std::iter::from_fn(|| turns.next_if(|turn| turn.0 == round))
            .map(|turn| turn.1)
            .collect();
        for line in &lines {
            let mut seconds = Vec::new();
            for &n in &everyone {
                let who = field[n].name();
                recorder.progress.step(&case(line), &format!("round {}, {who}", round + 1));
                let amount = amount(line, effort.quick);
                let measured = field[n].send(line.connections, amount)?;
                record(line, who, amount, &measured, recorder);
                seconds.push((who, measured.figures.seconds));
            }
            record_over_direct(line, &seconds, recorder);
        }
    }
    Ok(())
}

/// The points to be measured.
fn lines(quick: bool) -> Vec<&'static Line> {
    TABLE.iter().filter(|line| !quick || matches!(line.connections, 3 | 12)).collect()
}

/// Bytes on each connection.
fn amount(line: &Line, quick: bool) -> u64 {
    let all = if quick { 1_500_000 } else { 45_000_000 };
    all / u64::from(line.connections)
}

/// Those of `names` that are asked for and can be set up; the others' absence is
/// recorded with its reason.
pub(super) fn routes(
    names: &[&str],
    effort: &Effort,
    recorder: &mut Recorder,
) -> Vec<Box<dyn Route>> {
    let mut chosen: Vec<_> = route::all().into_iter().chain(route::deputies()).collect();
    chosen.retain(|route| names.contains(&route.name()) && effort.wants(route.name()));
    chosen.retain(|route| {
        let reason = route.unavailable().or_else(|| route.unfit(&WIRE));
        reason.as_ref().inspect(|reason| recorder.absent(route.name(), None, reason)).is_none()
    });
    chosen.sort_by_key(|route| names.iter().position(|name| *name == route.name()));
    chosen
}

fn introduce(effort: &Effort, placement: &Placement, lines: &[&Line], recorder: &mut Recorder) {
    recorder.about(ABOUT);
    recorder.parameter("rounds", effort.rounds(ROUNDS));
    for line in lines {
        let bytes = amount(line, effort.quick);
        let part = AMOUNT as f64 / bytes as f64;
        recorder.parameter(
            &format!("amount with {}", case(line)),
            format!("{bytes} bytes on each, the paper's by {part:.1}"),
        );
    }
    recorder.parameter("buffer", format!("{BUFFER} bytes a call, at client and server"));
    state_wire(recorder);
    recorder.parameter("home's processor", placement.home);
    recorder.parameter("everyone else's processors", format!("{:?}", placement.others));
    metrics(recorder);
    for line in lines {
        quote(line, recorder);
        judge(line, recorder);
        for metric in [EXECUTION, BANDWIDTH, CPU, LOAD] {
            recorder.place(metric, &case(line), line.connections.into());
        }
    }
}

/// What both suites of the papers say about their links.
pub(super) fn state_wire(recorder: &mut Recorder) {
    recorder.parameter("links", format!("{RATE} Mbit/s each way (tbf), MTU 1500, no offloads"));
    recorder.parameter("congestion control, socket buffers", "the kernel's defaults");
}

fn metrics(recorder: &mut Recorder) {
    let time = recorder.metric(TIME, "s", Better::Lower);
    (time.digits, time.ratios_to) = (3, vec![DIRECT.into(), BOUNCE.into()]);
    let mut lines = |name: &str, unit: &str, better| {
        recorder.metric(name, unit, better).plot = Plot::Lines;
    };
    lines(EXECUTION, "s", Better::Lower);
    lines(BANDWIDTH, "Mbit/s", Better::Higher);
    lines(CPU, "%", Better::Lower);
    lines(LOAD, "threads", Better::Lower);
    recorder.metric(OVER_DIRECT, "", Better::Lower).digits = 4;
    recorder.metric(PRESSURE, "%", Better::Lower);
    recorder.metric(CROSSINGS, "", Better::Neither).digits = 3;
}

fn quote(line: &Line, recorder: &mut Recorder) {
    let case = case(line);
    for (metric, figures) in [(EXECUTION, &line.seconds), (BANDWIDTH, &line.bandwidth)] {
        recorder.quote(metric, &case, MOSIX_PAPER, figures.mosix);
        recorder.quote(metric, &case, IPTABLES_PAPER, figures.iptables);
        recorder.quote(metric, &case, DIRECT_PAPER, figures.direct);
    }
    let direct = line.seconds.direct;
    recorder.quote(OVER_DIRECT, &case, MOSIX_PAPER, line.seconds.mosix / direct);
    recorder.quote(OVER_DIRECT, &case, IPTABLES_PAPER, line.seconds.iptables / direct);
    for (metric, figures) in [(CPU, &line.cpu), (LOAD, &line.load)] {
        recorder.quote(metric, &case, MOSIX_PAPER, figures.mosix);
        recorder.quote(metric, &case, IPTABLES_PAPER, figures.iptables);
    }
}

/// What is asked of redirectd at this point.
fn judge(line: &Line, recorder: &mut Recorder) {
    let case = case(line);
    let at_most = |metric: &str, over: &str, most: f64| {
        Target::ratio(
            &format!("redirectd's {metric} against {over}, {case}"),
            Figure::new(metric, &case, REDIRECTD),
            Figure::new(metric, &case, over),
            Bound::AtMost(most),
        )
    };
    recorder.target(at_most(TIME, BOUNCE, 1.005));
    recorder.target(at_most(TIME, DIRECT, 1.03).because(BEHIND_DIRECT));
    recorder.target(at_most(CPU, DEPUTY, 0.2).because(BUSY));
}

fn record(line: &Line, who: &str, amount: u64, measured: &Measured, recorder: &mut Recorder) {
    let case = case(line);
    let seconds = measured.figures.seconds;
    let mut record = |metric, value| recorder.record(metric, &case, who, value);
    record(TIME, seconds);
    record(EXECUTION, seconds * AMOUNT as f64 / amount as f64);
    // As in the paper, where it is the amount by the execution time.
    record(BANDWIDTH, amount as f64 * 8.0 / seconds / 1e6);
    record(CPU, 100.0 * measured.cpu);
    record(LOAD, measured.load);
    let sent = amount as f64 * f64::from(line.connections);
    record(CROSSINGS, measured.into_home as f64 / sent);
    match &measured.pressure {
        Ok(share) => record(PRESSURE, 100.0 * share),
        Err(reason) => {
            let note = format!("There is no {PRESSURE} of {who}: {reason:#}.");
            if !recorder.so_far().notes.contains(&note) {
                recorder.note(note);
            }
        }
    }
}

/// What everyone's `seconds` of one round are over direct's.
fn record_over_direct(line: &Line, seconds: &[(&str, f64)], recorder: &mut Recorder) {
    let Some(&(_, direct)) = seconds.iter().find(|one| one.0 == DIRECT) else { return };
    for &(who, seconds) in seconds.iter().filter(|one| one.0 != DIRECT) {
        recorder.record(OVER_DIRECT, &case(line), who, seconds / direct);
    }
}

fn case(line: &Line) -> String {
    format!("{} connections", line.connections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pair::figures::{Connection, Figures},
        progress::Progress,
    };

    /// What is asked at each of the points, as was set in advance.
    #[test]
    fn the_targets_are_those_that_were_set() {
        let mut recorder = Recorder::new("paper", "", Progress::silent());
        TABLE.iter().for_each(|line| judge(line, &mut recorder));
        let targets = recorder.finish().targets;
        assert_eq!(targets.len(), 7 * 3);
        for line in &TABLE {
            let case = case(line);
            let asked = |what: &str| {
                let what = format!("redirectd's {what}, {case}");
                let target = targets.iter().find(|target| target.what == what);
                target.unwrap_or_else(|| panic!("nobody asks for {what}")).bound
            };
            assert_eq!(asked("time measured against bounce-tc"), Bound::AtMost(1.005));
            assert_eq!(asked("time measured against direct"), Bound::AtMost(1.03));
            assert_eq!(asked("home's CPU against deputy"), Bound::AtMost(0.2));
        }
    }

    #[test]
    fn every_point_sends_the_same_amount_in_all() {
        for (quick, all) in [(false, 45_000_000), (true, 1_500_000)] {
            for line in &TABLE {
                let connections = u64::from(line.connections);
                let sent = connections * amount(line, quick);
                assert!(sent <= all && sent + connections > all, "{connections}: {sent}");
            }
        }
    }

    #[test]
    fn what_was_measured_is_multiplied_up_to_the_papers_amount() {
        let mut recorder = Recorder::new("paper", "", Progress::silent());
        metrics(&mut recorder);
        let line = &TABLE[0];
        let connection = |port| Connection { port, seconds: 2.0, sent: 0, arrived: 0, returned: 8 };
        let figures = Figures { seconds: 4.0, connections: vec![connection(1), connection(2)] };
        let measured =
            Measured { figures, cpu: 0.5, load: 0.25, pressure: Ok(0.125), into_home: 45_000_000 };
        // A 40th of the paper's 400 MB.
        record(line, "deputy", 10_000_000, &measured, &mut recorder);
        record_over_direct(line, &[("deputy", 4.4), (DIRECT, 4.0)], &mut recorder);
        record_over_direct(line, &[("deputy", 4.4)], &mut recorder);
        let suite = recorder.finish();
        let figure = |metric| suite.metric(metric).unwrap().rounds(&case(line), "deputy").unwrap();
        assert_eq!(figure(TIME), [4.0]);
        assert_eq!(figure(EXECUTION), [160.0]);
        // On each connection, over the time until the last has ended.
        assert_eq!(figure(BANDWIDTH), [20.0]);
        assert_eq!(
            (figure(CPU), figure(LOAD), figure(PRESSURE)),
            (&[50.0][..], &[0.25][..], &[12.5][..])
        );
        assert_eq!(figure(CROSSINGS), [1.5]);
        assert_eq!(figure(OVER_DIRECT), [1.1]);
    }
}
