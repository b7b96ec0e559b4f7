//! What redirectd's programs cost for each packet, without the kernel's work
//! around them.

mod tested;
mod wrapper;

use std::{fmt, net::Ipv4Addr};

use anyhow::{Context, Result, bail};
use redirectd_bench_bpf::Stream;

use self::{tested::Tested, wrapper::Wrapper};
use super::Effort;
use crate::{
    interrupt, measure::order, processor, recorder::Recorder, result::Better, stream, topology::Lab,
};

/// Which hook a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The driver's.
    Xdp,
    /// The traffic control's.
    Tc,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xdp => "XDP",
            Self::Tc => "tc",
        })
    }
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

/// The metric.
const TIME: &str = "time of a packet";

/// Measures each case, all in turns.
///
/// # Errors
/// The programs cannot be loaded or do not do what they should, or the run was
/// interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let many = if effort.quick { 1_000 } else { 100_000 };
    let repeat = if effort.quick { 20_000 } else { 1_000_000 };
    let kinds = [
        Packets::Nothing,
        Packets::Flows(1),
        Packets::Flows(many),
        Packets::OtherPort,
        Packets::OtherAddress,
    ];
    recorder.metric(TIME, "ns", Better::Lower).digits = 1;
    let lab = Lab::new()?;
    let tested = Tested::new(&lab, many, effort.processor)?;
    lab.home.enter(|| {
        processor::occupy(effort.processor)?;
        let mut cases = Vec::new();
        for packets in kinds {
            for entry in [Entry::Xdp, Entry::Tc] {
                cases.push(Subject::new(entry, packets, &tested)?);
            }
        }
        let rounds = effort.rounds(9);
        recorder.progress.expect(cases.len() * rounds);
        for (round, n) in order(cases.len(), rounds) {
            interrupt::check()?;
            let subject = &mut cases[n];
            let (case, entry) = (subject.packets.name(), subject.entry);
            recorder.progress.step("program", &format!("round {}, {case}, {entry}", round + 1));
            let ns =
                subject.measure(&tested, repeat).with_context(|| format!("{case}, {entry}"))?;
            recorder.record(TIME, &case, &entry.to_string(), ns);
        }
        Ok(())
    })
}

/// How often a measurement is tried.
const ATTEMPTS: usize = 10;
/// Packets that tc is given when XDP leaves packets to it.
const FEW: u32 = 2_000;

/// A case under measurement.
struct Subject {
    packets: Packets,
    wrapper: Wrapper,
    /// The same packets for tc: now and then XDP leaves it to tc to let the
    /// kernel see a packet for a neighbour, and goes on when that is done.
    tc: Option<Wrapper>,
    entry: Entry,
}

impl Subject {
    fn new(entry: Entry, packets: Packets, tested: &Tested) -> Result<Self> {
        let stream = packets.stream();
        let wrapper = |entry| {
            let program = (packets != Packets::Nothing).then(|| tested.program(entry));
            Wrapper::new(entry, &stream, program).with_context(|| packets.name())
        };
        let needs_tc = entry == Entry::Xdp && matches!(packets, Packets::Flows(_));
        Ok(Self {
            packets,
            wrapper: wrapper(entry)?,
            tc: needs_tc.then(|| wrapper(Entry::Tc)).transpose()?,
            entry,
        })
    }

    /// Nanoseconds for one packet, with proof that each of `repeat` took the
    /// way it should.
    fn measure(&mut self, tested: &Tested, repeat: u32) -> Result<f64> {
        let expected =
            if matches!(self.packets, Packets::Flows(_)) { u64::from(repeat) } else { 0 };
        let mut attempt = 1;
        loop {
            let before = tested.translated()?;
            let (pace, verdict) = self.wrapper.run(repeat)?;
            let translated = tested.translated()? - before;
            if translated == expected {
                return Ok(pace.elapsed.as_nanos() as f64 / pace.packets as f64);
            }
            match &mut self.tc {
                Some(tc) if attempt < ATTEMPTS => tc.run(FEW).map(drop)?,
                _ => bail!(
                    "{translated} of {repeat} packets were translated, the last verdict is {verdict}"
                ),
            }
            attempt += 1;
        }
    }
}
