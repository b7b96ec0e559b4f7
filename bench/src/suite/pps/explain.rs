//! How the figures come about, and what is asked of them.

use super::{DURATION, MARGINAL, RATE, ROUNDS, WALL, chunk};
use crate::{
    recorder::Recorder,
    result::target::{Bound, Figure, Target},
    scenario::Scenario,
    stream::PORTS,
    suite::Effort,
    topology::PEERS,
    track::AT_ONCE,
};

const ABOUT: &str = "\
Three network namespaces, peer, home and host, are wired by two veth pairs. A BPF program at \
the peer makes 60-byte UDP packets in the kernel (BPF_PROG_TEST_RUN with live frames) and sends \
them into home's interface; no socket and no socket buffer is made before home. Home's contestant \
sends them on to the host, where an XDP program counts them and drops them. All of it happens on \
one processor, which the measuring thread occupies with real-time priority: making, forwarding \
and counting a packet follow one another, so that the time of a packet is the sum of the three.

Before anything is timed, every flow has been opened through the contestant by one packet, \
answered by the host (with all checksums verified there, and again at the peer), and used once \
more; the contestant's own count of flows must be exactly that of the case. Then each of them is \
hit in turn, in steps far apart, so that the next flow's memory is not near the last one's.

The time is that of the generator's own clock, which it reads once in 1,024 packets. The system \
call around it takes about 20 ms more, for setting up and taking down live frames, during which \
no packet is handled; with few packets in a call these pull all figures towards each other. \
`packets a second by wall clock` has them in, and is given because older figures of ours, on \
which a target was set, were taken that way. The right one is the generator's clock.

`drop` drops in XDP as packets arrive at home: the floor of everything. `bounce-xdp` and \
`bounce-tc` write two MAC addresses and redirect: the floor of sending on from that hook. \
`touch-xdp` is `bounce-xdp` that also computes one place in memory from the packet's addresses \
and ports, without a search, and adds to two numbers there, in two cache lines side by side: the \
floor of knowing anything of each flow. \
The marginal cost is the time of a packet beyond that of `drop` in the same round; that of every \
contestant but `drop` has in it the veth to the host and the counting there.

With many flows, conntrack gets a hash bucket for every entry (the kernel's own default is at \
most 262,144), and redirectd tables of twice the size needed. Old values are put back.";

/// Why what sends packets on is far from what drops them.
const FAR_FROM_FLOOR: &str = "\
Any program that sends packets on at all is far from one that drops them, by the generator's clock \
further than it seemed by wall clock, on which the target was set: see `bounce-xdp`.";

/// Why many flows cost more than one.
const OUT_OF_CACHE: &str = "\
With many flows, what is known of one has left the processor's caches when its turn comes again. \
`touch-xdp` shows what that alone costs where nothing has to be searched for; a hash table goes to \
memory twice, for the bucket and for the entry, one after the other.";

/// States method and parameters.
pub(super) fn method(recorder: &mut Recorder, effort: &Effort) {
    recorder.about(ABOUT);
    recorder.parameter("rounds", effort.rounds(ROUNDS));
    let duration = effort.duration(DURATION);
    recorder.parameter("least length of a measurement", format!("{} ms", duration.as_millis()));
    recorder.parameter("packets of one system call", chunk(effort.quick));
    recorder.parameter("frame", "60 bytes without FCS: Ethernet, IPv4, UDP, 18 bytes of payload");
    recorder.parameter("processor", effort.processor);
    recorder.parameter("busy redirect", format!("{PORTS} UDP ports of one home address"));
    recorder.parameter(
        "flows",
        format!(
            "evenly among 4 to {PEERS} peer addresses, one home port each; one flow: one of each"
        ),
    );
    recorder.parameter("flows opened before the first goes on", AT_ONCE);
    recorder
        .parameter("redirectd's tables", "twice the flows and redirects of the case, and 1,024");
}

/// What is asked of the figures of `scenarios`.
pub(super) fn targets(recorder: &mut Recorder, scenarios: &[Scenario]) {
    for scenario in scenarios.iter().filter(|scenario| scenario.redirects == 1) {
        let case = scenario.to_string();
        let xdp = if scenario.flows == 1_000_000 { 2.5 } else { 2.7 };
        against_iptables(recorder, &case, "redirectd-xdp", xdp);
        against_iptables(recorder, &case, "redirectd-tc", 1.5);
    }
    let one = Scenario { flows: 1, redirects: 1 }.to_string();
    for (metric, clock) in [(RATE, "by the generator's clock"), (WALL, "by wall clock")] {
        let target = Target::ratio(
            &format!("redirectd-xdp against drop, {one}, {clock}"),
            Figure::new(metric, &one, "redirectd-xdp"),
            Figure::new(metric, &one, "drop"),
            Bound::AtLeast(0.8),
        );
        recorder.target(target.because(FAR_FROM_FLOOR));
    }
    let many = Scenario { flows: 32_768, redirects: 1 }.to_string();
    for contestant in ["redirectd-xdp", "redirectd-tc"] {
        let target = Target::ratio(
            &format!("{contestant}: marginal cost with 32,768 flows against 1 flow"),
            Figure::new(MARGINAL, &many, contestant),
            Figure::new(MARGINAL, &one, contestant),
            Bound::AtMost(1.5),
        );
        recorder.target(target.because(OUT_OF_CACHE));
    }
    recorder.note(
        "`redirectd-xdp against drop` was set at 0.8 on figures by wall clock. The row by the \
         generator's clock is the one that counts.",
    );
}

fn against_iptables(recorder: &mut Recorder, case: &str, contestant: &str, least: f64) {
    let target = Target::ratio(
        &format!("{contestant} against iptables, {case}"),
        Figure::new(RATE, case, contestant),
        Figure::new(RATE, case, "iptables"),
        Bound::AtLeast(least),
    );
    recorder.target(target.because(OUT_OF_CACHE));
}
