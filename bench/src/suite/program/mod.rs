//! What redirectd's programs cost for each packet, without the kernel's work
//! around them.

mod tested;
mod wrapper;

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use redirectd_bench_bpf::Stream;

use self::{tested::Tested, wrapper::Wrapper};
use super::Effort;
use crate::{
    interrupt,
    measure::order,
    processor,
    progress::Progress,
    report::program::{Case, Timed},
    stream,
    topology::Lab,
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
    OtherPort,
    /// Those to a port that is redirected, at an address where it is not.
    OtherAddress,
}

/// A port without a redirect, by all flows' names.
const PORT: u16 = 7000;
/// An address without a redirect.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 200);

impl Packets {
    fn stream(self) -> Stream {
        match self {
            Self::Flows(flows) => stream::stream(flows),
            Self::Nothing => stream::stream(1),
            Self::OtherPort => Stream { home_port: PORT, ..stream::stream(1) },
            Self::OtherAddress => Stream { home: ADDRESS.into(), ..stream::stream(1) },
        }
    }

    fn name(self) -> String {
        match self {
            Self::Nothing => "empty program".into(),
            Self::Flows(1) => "established flow".into(),
            Self::Flows(flows) => format!("{flows} established flows in turn"),
            Self::OtherPort => "no redirect".into(),
            Self::OtherAddress => "no redirect, but for another address".into(),
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
    let kinds = [
        Packets::Nothing,
        Packets::Flows(1),
        Packets::Flows(many),
        Packets::OtherPort,
        Packets::OtherAddress,
    ];
    let lab = Lab::new()?;
    let tested = Tested::new(&lab, many, effort.processor)?;
    lab.home.enter(|| {
        processor::occupy(effort.processor)?;
        let mut cases = Vec::new();
        for entry in [Entry::Xdp, Entry::Tc] {
            for packets in kinds {
                let program = (packets != Packets::Nothing).then(|| tested.program(entry));
                let wrapper = Wrapper::new(entry, &packets.stream(), program)
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
                measure(*packets, wrapper, &tested, repeat)
                    .with_context(|| timed.case.to_string())?,
            );
        }
        Ok(cases.into_iter().map(|(_, _, timed)| timed).collect())
    })
}

/// Nanoseconds for one packet, and proof that each took the way it should.
fn measure(packets: Packets, wrapper: &mut Wrapper, tested: &Tested, repeat: u32) -> Result<f64> {
    let before = tested.translated()?;
    let (pace, verdict) = wrapper.run(repeat)?;
    let translated = tested.translated()? - before;
    let expected = if matches!(packets, Packets::Flows(_)) { u64::from(repeat) } else { 0 };
    ensure!(
        translated == expected,
        "{translated} of {repeat} packets were translated, the last verdict is {verdict}"
    );
    Ok(pace.elapsed.as_nanos() as f64 / pace.packets as f64)
}
