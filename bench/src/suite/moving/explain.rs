//! The figures of the suite: their names, how they come about, and what is asked
//! of them.

use std::time::Duration;

use super::{
    peer::{Heard, INTERVAL, LOOK, MESSAGE, PACE, Traffic},
    real, simulated,
};
use crate::{
    recorder::Recorder,
    result::{
        Better, Plot,
        target::{Bound, Figure, Target},
    },
    suite::Effort,
};

const ABOUT: &str = "\
A server is frozen, written down, put down elsewhere and goes on, and its peer goes on sending. What \
the peer sees is the longest silence (`worst gap`). How long the process did not run is the `freeze`, \
by its own look at the clock; what the peer waits beyond that is the `tail`. A tail below zero is a \
freeze that the peer did not see all of, as nothing was due at its edges.

`one request`: one connection, a request and a response of 64 bytes, one at a time; a response breaks \
the silence. `bulk`: one stream, paced as on a gigabit Ethernet; an acknowledgement breaks the \
silence. Each response is checked against its request, and the stream's bytes are counted by the \
server. `segments sent again` is what the peer's kernel counts for the connection; its timers are \
the kernel's own.

Simulated freezes: the server is a thread of the bench, whose connection is taken out of its socket \
by repair mode, as CRIU does it, and put into another after the time given. `held`: redirectd moves \
it from home to the host by the steps of `redirect move` (park when it stops; return, and commit when \
it is put down), so the freeze contains what redirectd takes for them. `dropped`: as CRIU's \
own network lock does, nftables at home drops what comes by the connection meanwhile; the connection is put \
down where it was.

Real moves: the server is a process of its own with so much memory, every page of it written to, and \
reads the time of day every 0.1 ms, so that it knows how long it did not run (the monotonic clock is no witness: CRIU makes it go on from where it was). Home and the host have \
processes of their own (PID namespaces). `redirectd-copy`: `redirect migrate` from home to the host, \
with the address the host has, `--memory copy`: all memory is copied while the process is frozen. \
`redirectd-lazy`: the same with `--memory lazy`: the process runs first, and its memory follows; the \
peer asks until all of it is there, so the worst gap may be a wait for pages, too. `criu`: CRIU alone, \
as one would use it without redirectd: `criu dump` with its lock by nftables, which drops packets, \
the images sent over TCP as they are written, by the code that redirectd uses and without its TLS, \
`criu restore` on the host, which has home's address too; then home sends the peer's frames on to \
the host (`bounce-tc`), so that no address changes. Both keep their images on a tmpfs, and CRIU's \
findings about the kernel too. Each move is that of a new process with a new connection. `images` is \
all that went over, memory that followed included.";

/// Why a peer sends something again although nothing was lost.
const TIMERS: &str = "\
Nothing was lost. While a process is frozen nobody acknowledges what its peer sends, whoever keeps \
it; when the peer's own timer has run out (200 ms at the least, or a probe of the tail some \
milliseconds after the last acknowledgement of a stream), its kernel sends the segment again. That \
is held too, and nobody waits for it.";

/// Why the pause grows with memory that only follows.
const PAGES: &str = "\
While the process is frozen, CRIU goes through all of its memory though it leaves it behind: it has \
the kernel tell the mappings, find the pages and keep each of them in a pipe. Of a move of 4 GB in \
small pages that took 653 ms, this was about 370 ms by perf. redirectd has memory put into huge pages \
before the freeze, as far as the kernel has room for them, which makes it less.";

/// What a figure is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A simulated freeze.
    Freeze(Traffic),
    /// A move.
    Move,
}

/// One kind of figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gap,
    Freeze,
    Tail,
    Again,
}

const KINDS: [Kind; 4] = [Kind::Gap, Kind::Freeze, Kind::Tail, Kind::Again];

impl Traffic {
    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requests => "one request",
            Self::Bulk => "bulk",
        }
    }
}

impl Of {
    const ALL: [Self; 3] =
        [Self::Freeze(Traffic::Requests), Self::Freeze(Traffic::Bulk), Self::Move];

    /// The metric's name.
    pub(super) fn metric(self, kind: Kind) -> String {
        let of = match self {
            Self::Freeze(traffic) => traffic.name(),
            Self::Move => "move",
        };
        let what = match kind {
            Kind::Gap => "worst gap",
            Kind::Freeze => "freeze",
            Kind::Tail => "tail",
            Kind::Again => "segments sent again",
        };
        format!("{of}: {what}")
    }

    fn introduce(self, recorder: &mut Recorder) {
        for kind in KINDS {
            let unit = if kind == Kind::Again { "" } else { "ms" };
            let metric = recorder.metric(&self.metric(kind), unit, Better::Lower);
            metric.digits = if kind == Kind::Again { 0 } else { 2 };
            if kind == Kind::Gap {
                metric.plot = Plot::Bars;
                metric.ratios_to = match self {
                    Self::Freeze(_) => vec![simulated::DROPPED.into()],
                    Self::Move => vec![real::CRIU.into()],
                };
            }
        }
    }

    /// Records what a peer has `heard` of a freeze of so many nanoseconds.
    pub(super) fn record(
        self,
        recorder: &mut Recorder,
        case: &str,
        contestant: &str,
        frozen: u64,
        heard: &Heard,
    ) {
        let milliseconds = |ns: u64| ns as f64 / 1e6;
        let (gap, frozen) = (milliseconds(heard.gap), milliseconds(frozen));
        for (kind, value) in
            KINDS.into_iter().zip([gap, frozen, gap - frozen, f64::from(heard.retransmissions)])
        {
            recorder.record(&self.metric(kind), case, contestant, value);
        }
    }
}

/// The case of a simulated freeze.
pub(super) fn freeze(length: Duration) -> String {
    format!("{length:?}").replace("ms", " ms").replace("1s", "1 s").replace("4s", "4 s")
}

/// States method, parameters and what is asked for.
pub(super) fn introduce(effort: &Effort, recorder: &mut Recorder) {
    recorder.about(ABOUT);
    recorder.parameter("rounds of simulated freezes", effort.rounds(simulated::ROUNDS));
    let rounds =
        real::sizes(effort).into_iter().map(|size| format!("{} ({})", size.rounds, size.name));
    recorder.parameter("rounds of moves", rounds.collect::<Vec<_>>().join(", "));
    recorder.parameter("a request, at most", format!("each {INTERVAL:?}"));
    recorder.parameter("bytes of a request, and of a response", MESSAGE);
    recorder.parameter("pace of a stream", format!("{} Mbit/s", PACE / 1_000_000));
    recorder.parameter("a look at what is acknowledged", format!("each {LOOK:?}"));
    recorder.parameter("links", "veth as it comes, with offloads; redirectd at tc");
    recorder.parameter("processors", "all, as the kernel likes");
    Of::ALL.into_iter().for_each(|of| of.introduce(recorder));
    recorder.metric(real::IMAGES, "MB", Better::Neither).digits = 1;
    ask(effort, recorder);
}

fn ask(effort: &Effort, recorder: &mut Recorder) {
    for traffic in simulated::TRAFFICS {
        for &length in simulated::freezes(effort) {
            let (of, case) = (Of::Freeze(traffic), freeze(length));
            let figure = |kind| Figure::new(&of.metric(kind), &case, simulated::HELD);
            let what = |what: &str| format!("{what}, {}, freeze of {case}", traffic.name());
            recorder.target(Target::figure(
                &what("tail in ms"),
                figure(Kind::Tail),
                Bound::AtMost(1.0),
            ));
            let again = what("segments sent again");
            let again = Target::figure(&again, figure(Kind::Again), Bound::AtMost(0.0));
            recorder.target(again.because(TIMERS));
        }
    }
    let small = Figure::new(&Of::Move.metric(Kind::Gap), real::SMALL, real::COPY);
    recorder.target(Target::figure(
        "worst gap of a small server's move in ms",
        small,
        Bound::AtMost(60.0),
    ));
    if !effort.quick {
        let gap = |case, contestant| Figure::new(&Of::Move.metric(Kind::Gap), case, contestant);
        let large = Target::ratio(
            "worst gap where 4 GB follow, against a small server's that is copied",
            gap(real::LARGE, real::LAZY),
            gap(real::SMALL, real::COPY),
            Bound::AtMost(2.0),
        );
        recorder.target(large.because(PAGES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    #[test]
    fn freezes_are_called_as_people_write_them() {
        let names = [36, 200, 1_000, 4_000].map(|ms| freeze(Duration::from_millis(ms)));
        assert_eq!(names, ["36 ms", "200 ms", "1 s", "4 s"]);
    }

    #[test]
    fn what_the_peer_waits_beyond_the_freeze_is_the_tail() {
        let of = Of::Freeze(Traffic::Bulk);
        let mut recorder = Recorder::new("s", "a suite", Progress::silent());
        of.introduce(&mut recorder);
        let heard = Heard { gap: 37_500_000, retransmissions: 2, last: [0; MESSAGE] };
        of.record(&mut recorder, "36 ms", "held", 36_500_000, &heard);
        let suite = recorder.finish();
        let figure = |kind| suite.metric(&of.metric(kind)).unwrap().rounds("36 ms", "held");
        assert_eq!(figure(Kind::Gap), Some(&[37.5][..]));
        assert_eq!(figure(Kind::Freeze), Some(&[36.5][..]));
        assert_eq!(figure(Kind::Tail), Some(&[1.0][..]));
        assert_eq!(figure(Kind::Again), Some(&[2.0][..]));
    }
}
