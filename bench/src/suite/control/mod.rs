//! What it takes to change redirects, to restart among a million flows, and to
//! keep them: time as packets see it, and memory.

mod adoption;
mod as_seen;
mod change;
mod field;
mod load;
mod memory;

use anyhow::Result;

use super::Effort;
use crate::{recorder::Recorder, result::Better};

/// What one more redirect takes until it is done, whoever makes it.
const ONE: &str = "one more, until it is done";

const ABOUT: &str = "\
A single change is timed by a steady stream of numbered packets from the peer to one home port. \
Where it can end (at the process at home, at the host, at another host) everything is counted, and \
at the hosts an XDP program notes number and time of the first and last packet of each visit, by \
the clock that the change is asked for by. The time is from before the request is sent, or before \
the command is started, to the packet; it cannot be finer than the interval of the stream, which \
is a figure too. Packets sent less packets that ended anywhere are those lost.

nftables is there as a yardstick for what commands take. When its changes count for packets cannot \
be asked in this way: a flow that is there never sees them.

For the restart the daemon is ended and started again while packets of all flows pass; every \
packet and every flow is counted before and after.";

/// Measures all of it.
///
/// # Errors
/// The daemon does not start or refuses, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let many = if effort.quick { 1_000 } else { 100_000 };
    recorder.about(ABOUT);
    let steps =
        as_seen::steps(effort) + load::steps(effort) + adoption::steps(effort) + memory::STEPS;
    recorder.progress.expect(steps);
    recorder.metric(ONE, "µs", Better::Lower).digits = 0;
    as_seen::introduce(effort, recorder);
    load::introduce(recorder);
    adoption::introduce(recorder);
    memory::introduce(effort, recorder);
    as_seen::run(many, effort, recorder)?;
    load::run(many, effort, recorder)?;
    adoption::run(effort, recorder)?;
    memory::run(effort, recorder)
}
