//! What the suite says of itself.

use super::{
    BYTES, CLIENTS, CONNECTIONS, DURATION, Effort, PATIENCE, RATES, ROUNDS, rates::vigil, warm_up,
};
use crate::recorder::Recorder;

const ABOUT: &str = "\
Latency: a client at the peer sends requests at a fixed rate, by connections to servers on the \
host that take them in turn, and takes the time until their responses are there. It is an open \
loop: request n is due at start + n / rate, is sent then whether or not those before it have been \
answered, and its latency counts from when it was due, not from when it could be sent. So a stall \
is seen by all requests that were due meanwhile, as users would see it, and not by one alone \
(\"coordinated omission\"). A request that is not answered at all has waited until the end. Every \
latency is in a histogram (HDR, three digits); percentiles are those of one round.

Connections a second: clients at the peer connect, send a request, read the response, close, wait \
for the server's end, and begin again. Clients close first, so TIME_WAIT is theirs (and a proxy's \
at home), and lets a port be used again after a second (tcp_tw_reuse).

Client, servers, home and switch, all of them, are on one processor, ahead of ordinary processes; \
packets go from one to the next in the kernel's softirqs, which wake nobody but the program that \
is to receive them. So a latency is the work that is done for a request. With home on a processor \
of its own, the time it takes to wake that processor would be measured: on a virtual machine \
several times what home does for a packet, and the same for all contestants but `direct`, which \
would hide what they differ in. It also means that programs which forward share the processor \
with the servers: at high rates they reach its limit sooner than with one of their own.

The client does not sleep in the last moments before a request is due, as a sleeper wakes late; \
whoever else has work goes first. How late it was all the same is in `sent late`, and in every \
latency: where it is as large as a latency, that latency is the machine's, not the contestant's.

All contestants are set up side by side in labs of their own, and measured in turn. Links have \
frames of 1,500 bytes and no offloads, and are as fast as the machine. `direct` connects to the \
host without home.";

/// States how and with what is measured.
pub(super) fn tell(effort: &Effort, recorder: &mut Recorder) {
    recorder.about(ABOUT);
    let rates = RATES.map(|rate| rate.to_string()).join(", ");
    recorder.parameter("requests a second", rates);
    recorder.parameter("connections that take them in turn", CONNECTIONS);
    recorder.parameter("clients that connect again and again", CLIENTS);
    recorder.parameter("bytes of a request, and of a response", BYTES);
    recorder.parameter("processor of everything", effort.processor);
    recorder.parameter("rounds", effort.rounds(ROUNDS));
    recorder.parameter("length of a measurement", format!("{:?}", effort.duration(DURATION)));
    recorder.parameter("warm-up before it, left out", format!("{:?}", warm_up(effort)));
    let vigils = RATES.map(|rate| format!("{:?}", vigil(rate))).join(", ");
    recorder.parameter("awake before a request is due", vigils);
    recorder.parameter("longest wait for a response", format!("{PATIENCE:?}"));
}
