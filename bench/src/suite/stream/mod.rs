//! TCP throughput from the peer to a server on the host, and what it costs.

mod transfer;

use std::{any::Any, net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};

use self::transfer::{CHUNK, PORT, Transfer};
use super::Effort;
use crate::{
    interrupt,
    lan::{HOME, Lan, Wire},
    measure::order,
    pair::{
        process::{self, Process},
        server::Behaviour,
    },
    recorder::Recorder,
    result::{
        Better, Plot,
        target::{Bound, Figure, Target},
    },
    route::{self, Route},
};

/// The metrics.
const THROUGHPUT: &str = "throughput";
const CPU: &str = "CPU time per gigabyte";
const BEYOND: &str = "CPU time per gigabyte beyond direct";

/// Connections at once.
const STREAMS: [u16; 2] = [1, MOST_STREAMS];
const MOST_STREAMS: u16 = 8;
/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 5;
/// Length of one measurement, if nothing else is asked for.
const DURATION: Duration = Duration::from_millis(1200);

/// Both kinds of links, by name.
const WIRES: [(&str, Wire); 2] = [
    (WIRE_LIKE, Wire { rate: None, offloads: false, xdp: true }),
    (GSO, Wire { rate: None, offloads: true, xdp: false }),
];
const WIRE_LIKE: &str = "wire-like";
const GSO: &str = "GSO";

const DIRECT: &str = "direct";
const IPTABLES: &str = "iptables";
const BOUNCES: [&str; 2] = ["bounce-tc", "bounce-xdp"];
const REDIRECTDS: [&str; 2] = ["redirectd-tc", "redirectd-xdp"];

const ABOUT: &str = "\
Connections from the peer send as fast as they can to servers on the host, each to a process of \
its own, for a fixed time; then each waits until its server has told it how many bytes it got, \
which must be all of them. The throughput is these bytes by the time until the last of these answers. All hosts are network \
namespaces of this machine, each with one veth to a bridge; home's carries everything twice, in \
and out.

`wire-like`: every packet is a frame of 1,500 bytes with its checksums, as on a wire (checksum \
offload, TSO, GSO and GRO off at both ends of every link). `GSO`: veth as it comes, where packets of \
up to 64 KB travel whole. There XDP takes no part: it is for frames as a card delivers them.

The CPU time is that of the whole machine, peer, host and switch included: wall time by the number \
of processors, less what the kernel counts as idle or stolen. What is beyond that of `direct` in the \
same round is what the detour costs: home's work, and the second passage through the switch. \
Whatever else the machine does meanwhile is in it too.

The labs of all contestants stand side by side while one kind of links is measured, so that \
contestants take turns within seconds; those that wait have no traffic and no work.";

/// Measures both kinds of links, all routes side by side.
///
/// # Errors
/// A route cannot be set up or loses bytes, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    introduce(effort, recorder);
    let routes = route::all().into_iter().chain(route::deputies());
    let routes: Vec<_> = routes.filter(|route| effort.wants(route.name())).collect();
    let fields: Vec<_> = WIRES
        .iter()
        .map(|(name, wire)| (*name, wire, field(&routes, name, wire, recorder)))
        .collect();
    let each = 1 + STREAMS.len() * effort.rounds(ROUNDS);
    recorder.progress.expect(fields.iter().map(|(.., field)| each * field.len()).sum());
    for (name, wire, field) in fields {
        measure(name, wire, &field, effort, recorder)?;
    }
    Ok(())
}

fn introduce(effort: &Effort, recorder: &mut Recorder) {
    recorder.about(ABOUT);
    recorder.parameter("rounds", effort.rounds(ROUNDS));
    recorder.parameter("length of one measurement", format!("{:?}", effort.duration(DURATION)));
    recorder.parameter("connections at once", STREAMS.map(|n| n.to_string()).join(", "));
    recorder.parameter("bytes of one write, and at most of one read, of client and server", CHUNK);
    recorder.parameter("links", "as fast as the machine, MTU 1500");
    recorder.parameter("congestion control, buffers", "the kernel's defaults");
    recorder.parameter("processors", "not bound");
    recorder.parameter("haproxy", "mode tcp, nbthread 1, no splicing asked for");
    recorder.parameter("socat", "TCP-LISTEN with fork, its own buffer of 8 KiB");
    let throughput = recorder.metric(THROUGHPUT, "Mbit/s", Better::Higher);
    throughput.digits = 0;
    throughput.plot = Plot::Bars;
    throughput.ratios_to =
        [IPTABLES, DIRECT].into_iter().chain(BOUNCES).map(str::to_owned).collect();
    let cpu = recorder.metric(CPU, "s/GB", Better::Lower);
    (cpu.digits, cpu.ratios_to) = (3, vec![IPTABLES.into()]);
    let beyond = recorder.metric(BEYOND, "s/GB", Better::Lower);
    (beyond.digits, beyond.plot, beyond.ratios_to) = (3, Plot::Bars, vec![IPTABLES.into()]);
    for streams in STREAMS {
        judge(streams, recorder);
    }
}

/// Why so little is gained or lost by what home does.
const SMALL_SHARE: &str = "\
Sender, receiver, switch and home share this machine's processors, all of them busy, so that the \
throughput is the inverse of all their work together; home's own is a small part of it. The \
bounces, which only write MAC addresses, show how much of the detour no program at home can help.";

/// Why redirectd is behind a bounce.
const MORE_THAN_A_BOUNCE: &str = "\
A bounce looks nothing up, changes no checksum and counts nothing; what that takes for each packet \
is in suite pps, as the marginal cost beyond that of a bounce. The processors are busy all the \
time here, so that all of it costs throughput.";

/// What is asked of the figures with `streams` connections.
fn judge(streams: u16, recorder: &mut Recorder) {
    let mut ask = |wire: &str, over: &[&str], over_name: &str, least: f64, cause: &str| {
        let case = case(wire, streams);
        let target = Target::ratio(
            &format!("redirectd's best against {over_name}, {case}"),
            Figure::best(THROUGHPUT, &case, &REDIRECTDS),
            Figure::best(THROUGHPUT, &case, over),
            Bound::AtLeast(least),
        );
        recorder.target(target.because(cause));
    };
    ask(WIRE_LIKE, &[IPTABLES], IPTABLES, 1.25, SMALL_SHARE);
    ask(WIRE_LIKE, &BOUNCES, "the best bounce", 0.97, MORE_THAN_A_BOUNCE);
    ask(GSO, &[IPTABLES], IPTABLES, 1.05, SMALL_SHARE);
    ask(GSO, &[DIRECT], DIRECT, 0.93, SMALL_SHARE);
}

fn case(wire: &str, streams: u16) -> String {
    format!("{wire}, {streams} stream{}", if streams == 1 { "" } else { "s" })
}

/// Those of `routes` that can be measured on `wire`; the others' absence is
/// recorded with its reason.
fn field<'a>(
    routes: &'a [Box<dyn Route>],
    name: &str,
    wire: &Wire,
    recorder: &mut Recorder,
) -> Vec<&'a dyn Route> {
    let mut field = Vec::new();
    for route in routes {
        if let Some(reason) = route.unavailable() {
            recorder.absent(route.name(), None, &reason);
        } else if let Some(reason) = route.unfit(wire) {
            for streams in STREAMS {
                recorder.absent(route.name(), Some(&case(name, streams)), &reason);
            }
        } else {
            field.push(route.as_ref());
        }
    }
    field
}

/// A route ready to be measured; taken away in this order.
struct Ready {
    _servers: Vec<Process>,
    _running: Box<dyn Any>,
    target: Ipv4Addr,
    lan: Lan,
}

impl Ready {
    fn set_up(route: &dyn Route, wire: &Wire) -> Result<Self> {
        interrupt::check()?;
        let lan = Lan::new(wire)?;
        let ports: Vec<_> = (PORT..PORT + MOST_STREAMS).collect();
        let running = route.set_up(&lan, &ports)?;
        let servers = process::servers(&lan, route, &ports, Behaviour::Receive, CHUNK)?;
        Ok(Self { _servers: servers, _running: running, target: route.target(), lan })
    }

    /// One measurement.
    ///
    /// # Errors
    /// Not every byte arrives, or not by the way it should.
    fn transfer(&self, streams: u16, duration: Duration) -> Result<Transfer> {
        let before = self.lan.bytes_into_home()?;
        let transfer = transfer::run(&self.lan, self.target, streams, duration)?;
        let home = self.lan.bytes_into_home()? - before;
        let by_home = home >= transfer.bytes;
        ensure!(
            by_home == (self.target == HOME),
            "of {} bytes to {}, home has received {home}",
            transfer.bytes,
            self.target
        );
        Ok(transfer)
    }
}

fn measure(
    name: &str,
    wire: &Wire,
    field: &[&dyn Route],
    effort: &Effort,
    recorder: &mut Recorder,
) -> Result<()> {
    let mut labs = Vec::new();
    for route in field {
        recorder.progress.step(name, &format!("setting up {}", route.name()));
        labs.push(Ready::set_up(*route, wire).with_context(|| route.name().to_owned())?);
    }
    let mut rounds = order(field.len(), effort.rounds(ROUNDS)).peekable();
    while let Some(&(round, _)) = rounds.peek() {
        let contestants: Vec<_> =
            std::iter::from_fn(|| rounds.next_if(|next| next.0 == round)).map(|o| o.1).collect();
        for streams in STREAMS {
            let case = case(name, streams);
            let mut cpu = Vec::new();
            for &n in &contestants {
                interrupt::check()?;
                let who = field[n].name();
                recorder.progress.step(&case, &format!("round {}, {who}", round + 1));
                let transfer = labs[n]
                    .transfer(streams, effort.duration(DURATION))
                    .with_context(|| format!("{who}, {case}"))?;
                record(&case, who, &transfer, recorder);
                cpu.push((who, transfer.cpu_per_gigabyte()));
            }
            record_beyond(&case, &cpu, recorder);
        }
    }
    Ok(())
}

fn record(case: &str, who: &str, transfer: &Transfer, recorder: &mut Recorder) {
    recorder.record(THROUGHPUT, case, who, transfer.mbit_per_second());
    recorder.record(CPU, case, who, transfer.cpu_per_gigabyte());
}

/// What everyone's CPU time of one round, `cpu`, is beyond that of direct.
fn record_beyond(case: &str, cpu: &[(&str, f64)], recorder: &mut Recorder) {
    let Some(&(_, direct)) = cpu.iter().find(|one| one.0 == DIRECT) else { return };
    for &(who, seconds) in cpu.iter().filter(|one| one.0 != DIRECT) {
        recorder.record(BEYOND, case, who, seconds - direct);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;
    use crate::{lan, progress::Progress, route::tests::is_root};

    fn recorder() -> Recorder {
        let mut recorder = Recorder::new("stream", "", Progress::silent());
        let effort =
            Effort { rounds: None, duration: None, processor: 0, quick: true, only: Vec::new() };
        introduce(&effort, &mut recorder);
        recorder
    }

    #[test]
    fn the_targets_are_those_that_were_set() {
        let targets = recorder().finish().targets;
        let asked: Vec<_> = targets.iter().map(|target| (&*target.what, target.bound)).collect();
        let expected = ["1 stream", "8 streams"].map(|streams| {
            [
                ("iptables, wire-like", 1.25),
                ("the best bounce, wire-like", 0.97),
                ("iptables, GSO", 1.05),
                ("direct, GSO", 0.93),
            ]
            .map(|(over, least)| {
                (format!("redirectd's best against {over}, {streams}"), Bound::AtLeast(least))
            })
        });
        let expected: Vec<_> =
            expected.as_flattened().iter().map(|(what, bound)| (&**what, *bound)).collect();
        assert_eq!(asked, expected);
    }

    /// What is said to have gone past home and did not.
    #[test]
    fn bytes_that_took_another_way_than_they_should_are_an_error() {
        if !is_root() {
            return;
        }
        let lan = Lan::new(&WIRES[0].1).unwrap();
        let listener = lan.host.enter(|| Ok(TcpListener::bind((lan::HOST, PORT))?)).unwrap();
        // Ends with the test's process.
        thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let received = io::copy(&mut connection, &mut io::sink()).unwrap();
                connection.write_all(&received.to_be_bytes()).unwrap();
            }
        });
        let ready = Ready { _servers: Vec::new(), _running: Box::new(()), target: lan::HOST, lan };
        assert!(ready.transfer(1, Duration::ZERO).is_ok());
        ready.lan.set_neighbour(&ready.lan.peer, lan::HOST, lan::HOME_MAC).unwrap();
        let error = ready.transfer(1, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("home has received"), "{error}");
    }

    #[test]
    fn the_cost_of_the_detour_is_what_is_beyond_direct_in_the_same_round() {
        let mut recorder = recorder();
        let case = case(GSO, 8);
        record_beyond(&case, &[("socat", 3.0), (DIRECT, 1.0), (IPTABLES, 1.5)], &mut recorder);
        record_beyond(&case, &[(DIRECT, 2.0), (IPTABLES, 2.25), ("socat", 3.0)], &mut recorder);
        record_beyond(&case, &[("socat", 3.0)], &mut recorder);
        let suite = recorder.finish();
        let beyond = suite.metric(BEYOND).unwrap();
        assert_eq!(beyond.rounds(&case, IPTABLES), Some(&[0.5, 0.25][..]));
        assert_eq!(beyond.rounds(&case, "socat"), Some(&[2.0, 1.0][..]));
        assert_eq!(beyond.rounds(&case, DIRECT), None);
    }

    #[test]
    fn xdp_is_absent_with_a_reason_where_packets_are_no_frames() {
        let mut recorder = recorder();
        let routes = route::all();
        let names = |field: Vec<&dyn Route>| field.iter().map(|r| r.name()).collect::<Vec<_>>();
        let (_, gso) = WIRES[1];
        let names = names(field(&routes, GSO, &gso, &mut recorder));
        assert!(names.contains(&"redirectd-tc") && !names.contains(&"redirectd-xdp"), "{names:?}");
        let absent = recorder.finish().absent;
        let of = |case: &str| {
            let mut those = absent.iter().filter(|a| a.case.as_deref() == Some(case));
            those.any(|a| a.contestant == "redirectd-xdp" && a.reason.contains("XDP"))
        };
        assert!(of("GSO, 1 stream") && of("GSO, 8 streams"));
    }
}
