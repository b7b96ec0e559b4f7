//! How the figures come about, and what is asked of them.

use super::{
    ROUNDS, Repeats, TIMEABLE, TIMES,
    path::{PARKED, Path, hit},
    tested::HALF_OPEN,
};
use crate::{
    recorder::Recorder,
    result::target::{Bound, Figure, Target},
    suite::Effort,
};

const ABOUT: &str = "\
redirectd's daemon runs in a namespace and has loaded its programs. They are run by \
BPF_PROG_TEST_RUN on one processor, with no network around them: what the kernel does before and \
after (driver, socket buffer, sending) is not in these figures; suite pps has it.

The kernel does not set the packet back between repetitions. So each program runs behind a wrapper \
that writes the whole frame of the flow whose turn it is, waits until its stores are done (an \
atomic instruction), and tail-calls the program. The wrapper reads the clock once in 1,024 \
packets. What is measured so is `time of a packet in the wrapper`; the wrapper's own part is what \
it takes with the empty program in it, with packets of the same kind, in the same round.

The time of a packet is that in the wrapper, less that of the wrapper with the empty program in \
it, plus that of the empty program run alone: what the program would take if it needed no wrapper. \
The empty program alone (its test loop is the kernel's, and in all figures) is timed by the \
system call with many repetitions less one with few, and kept within the whole nanosecond that \
the kernel itself reports, which it cuts off. `times the empty program` is the quotient of the \
two, in each round.

References, in the same wrapper: swapping MAC addresses and sending back; a bare redirect of TCP \
over IPv4 (one hash look-up, addresses, ports, both checksums, MAC addresses; no counters, hop \
count, states, timers; at tc the checksums by four calls of the kernel's helpers).

redirectd's paths have everything on: counters, hop count, TCP's states, timers, next hops, which \
are looked up anew every half second for each flow. Flows were opened through its own programs, \
TCP with its handshake. `flow-hit` is an established flow's packet from the peer. `new flow` opens \
one with each packet: redirect, route back to the peer, sockets, port, both half-open entries, \
route to the host, translation; the table of half-open flows is full by then, so that each entry \
pushes out an old one, which is in the figure. `ICMP error` is one about a flow, with the packet it \
quotes translated as well. Both are tc's work: XDP passes such packets on to it at the cost of \
`no redirect`. `parked` is a packet of an established flow whose process is being moved: it is \
copied to user space by the ring buffer and dropped, fewer at a time than the ring has room for; \
the daemon takes them out on the other processors. This, too, is tc's work. `no redirect, but for another address` is to a port that is redirected elsewhere, \
the dearest packet of home's own.

Each measurement is held against redirectd's own counters: packets translated, flows opened, ICMP \
errors translated, packets held, packets without a redirect, packets that XDP left to tc must be exactly as many \
as they should, else it is done again (once a second XDP leaves a packet to tc on purpose) or is \
an error. The references count only what goes wrong, which must be nothing.";

/// States method and parameters.
pub(super) fn method(recorder: &mut Recorder, effort: &Effort, repeats: Repeats) {
    recorder.about(ABOUT);
    recorder.parameter("rounds", effort.rounds(ROUNDS));
    recorder.parameter("repetitions of a measurement", repeats.path);
    recorder.parameter("of a new flow", repeats.path / 5);
    recorder.parameter("of an ICMP error", repeats.path / 2);
    recorder.parameter("of a parked packet", (repeats.path / PARKED).max(TIMEABLE));
    let (few, many) = repeats.alone;
    recorder.parameter("of the empty program alone", format!("{many} less {few}"));
    recorder.parameter("processor", effort.processor);
    recorder.parameter(
        "frames",
        "60 bytes of TCP or UDP over IPv4, 74 of TCP over IPv6, 70 of an ICMP error; no payload",
    );
    recorder.parameter("room for half-open flows", HALF_OPEN);
    recorder.note(
        "`instructions verified` is how many the verifier walked through to prove a program safe, \
         all branches taken together. The kernel tells of no loaded program how much stack it \
         uses; it refuses those that use more than 512 bytes.",
    );
}

/// What is asked of the figures of `paths`.
pub(super) fn targets(recorder: &mut Recorder, paths: &[Path]) {
    let hits = [hit("TCP over IPv4", 1), hit("TCP over IPv6", 1)];
    for (entry, of_hits) in [("XDP", 3.5), ("tc", 4.5)] {
        for case in &hits {
            at_most(recorder, case, entry, of_hits);
        }
        let passed = |path: &&Path| path.case.starts_with("no redirect");
        for path in paths.iter().filter(passed).filter(|path| path.entry.to_string() == entry) {
            at_most(recorder, &path.case, entry, 1.6);
        }
    }
}

fn at_most(recorder: &mut Recorder, case: &str, entry: &str, most: f64) {
    let target = Target::figure(
        &format!("{case}, {entry}, times the empty program"),
        Figure::new(TIMES, case, entry),
        Bound::AtMost(most),
    );
    recorder.target(target.because(SEE_THE_BARE_ONE));
}

/// Why a flow's packet takes that long.
const SEE_THE_BARE_ONE: &str = "\
Most of it is what any redirect needs: see `bare redirect`, which has the look-up in the kernel's \
hash table and the checksums, at tc by the kernel's helpers, and nothing else. An IPv6 \
key, which is hashed whole, is two and a half times as long as an IPv4 one.";
