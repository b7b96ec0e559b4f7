//! What redirectd's programs cost for each packet, without the kernel's work
//! around them.

mod tables;
mod wrapper;

use anyhow::{Context, Result, ensure};
use redirectd_bench_bpf::Stream;

use self::{tables::Tables, wrapper::Wrapper};
use super::Effort;
use crate::{
    interrupt,
    measure::order,
    processor,
    progress::Progress,
    report::program::{Case, Timed},
    stream,
    topology::{IN0, Lab},
    traffic::{Role, Sink},
};

/// Which hook a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The driver's.
    Xdp,
    /// The traffic control's.
    Tc,
}

/// What the packets are to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packets {
    /// Nothing: the program under test is the empty one.
    Nothing,
    /// Those of so many established flows, in turn.
    Flows(u32),
    /// Those to a port that nothing redirects.
    NoRedirect,
}

/// A home port without a redirect.
const OTHER_PORT: u16 = 7000;

impl Packets {
    fn stream(self) -> Stream {
        match self {
            Self::Flows(flows) => stream::stream(flows),
            Self::Nothing => stream::stream(1),
            Self::NoRedirect => Stream { home_port: OTHER_PORT, ..stream::stream(1) },
        }
    }

    fn name(self) -> String {
        match self {
            Self::Nothing => "empty program".into(),
            Self::Flows(1) => "established flow".into(),
            Self::Flows(flows) => format!("{flows} established flows in turn"),
            Self::NoRedirect => "no redirect".into(),
        }
    }
}

/// Measures each case, all in turns.
///
/// # Errors
/// The programs cannot be loaded or do not do what they should, or the run was
/// interrupted.
pub(crate) fn run(effort: &Effort) -> Result<Vec<Timed>> {
    let many = if effort.quick { 1_000 } else { 100_000 };
    let repeat = if effort.quick { 20_000 } else { 1_000_000 };
    let kinds = [Packets::Nothing, Packets::Flows(1), Packets::Flows(many), Packets::NoRedirect];
    let lab = Lab::new()?;
    // A veth takes test packets in its name only with a program on it.
    let _receiver = Sink::attach(&lab.home, IN0, Role::Sink, &stream::at_home())?;
    lab.home.enter(|| {
        processor::occupy(effort.processor)?;
        let tables = Tables::new(many)?;
        let mut cases = Vec::new();
        for entry in [Entry::Xdp, Entry::Tc] {
            for packets in kinds {
                let tested = (packets != Packets::Nothing).then_some(&tables);
                let wrapper = Wrapper::new(entry, &packets.stream(), tested)
                    .with_context(|| packets.name())?;
                let case = Case { entry, name: packets.name() };
                cases.push((packets, wrapper, Timed { case, ns: Vec::new() }));
            }
        }
        let mut progress = Progress::new(cases.len() * effort.rounds);
        for (round, n) in order(cases.len(), effort.rounds) {
            interrupt::check()?;
            let (packets, wrapper, timed) = &mut cases[n];
            progress.step("ns per packet", &format!("round {}, {}", round + 1, timed.case));
            timed.ns.push(
                measure(*packets, wrapper, &tables, repeat)
                    .with_context(|| timed.case.to_string())?,
            );
        }
        Ok(cases.into_iter().map(|(_, _, timed)| timed).collect())
    })
}

/// Nanoseconds for one packet, and proof that each took the way it should.
fn measure(packets: Packets, wrapper: &mut Wrapper, tables: &Tables, repeat: u32) -> Result<f64> {
    let before = tables.translated()?;
    let (pace, verdict) = wrapper.run(repeat)?;
    let translated = tables.translated()? - before;
    let expected = if matches!(packets, Packets::Flows(_)) { u64::from(repeat) } else { 0 };
    ensure!(
        translated == expected,
        "{translated} of {repeat} packets were translated, the last verdict is {verdict}"
    );
    Ok(pace.elapsed.as_nanos() as f64 / pace.packets as f64)
}
