//! What redirectd's programs cost for each packet, without the kernel's work
//! around them.

mod bare;
mod counters;
mod explain;
mod frame;
mod opening;
mod path;
mod size;
mod tested;
mod wrapper;

use std::fmt;

use anyhow::{Context, Result};
use redirectd_bench_bpf::CLOCKED;

use self::{
    counters::Counted,
    path::{Amounts, Path, Proof},
    tested::Tested,
    wrapper::{Alone, Program, Wrapper},
};
use super::Effort;
use crate::{
    interrupt,
    measure::order,
    processor,
    recorder::Recorder,
    result::{Better, Plot},
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

impl Entry {
    /// How the bench's own programs for it end.
    fn suffix(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xdp => "XDP",
            Self::Tc => "tc",
        })
    }
}

/// Nanoseconds of a packet, as if its program ran alone.
const TIME: &str = "time of a packet";
/// The same, as a multiple of the empty program's.
const TIMES: &str = "times the empty program";
/// What was measured: with the wrapper.
const WRAPPED: &str = "time of a packet in the wrapper";
/// The case of the empty program alone.
const EMPTY: &str = "empty program";

/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 9;

/// How often a measurement is tried.
const ATTEMPTS: usize = 10;
/// Packets that tc is given when XDP leaves packets to it.
const FEW: u32 = 2_000;

/// The fewest repetitions that the wrapper's clock can time.
const TIMEABLE: u32 = 4 * CLOCKED as u32;

/// How often programs are run.
#[derive(Debug, Clone, Copy)]
struct Repeats {
    /// A path.
    path: u32,
    /// The empty program alone, so few times and so many: what the system call
    /// takes for itself cancels out.
    alone: (u32, u32),
}

/// Measures each path, all in turns.
///
/// # Errors
/// The programs cannot be loaded or do not do what they should, or the run was
/// interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let (amounts, repeats) = if effort.quick {
        let alone = (1_000, 100_000);
        (Amounts { many: 1_024, most: 2_000 }, Repeats { path: 20_000, alone })
    } else {
        let alone = (1_000_000, 20_000_000);
        (Amounts { many: 32_768, most: 100_000 }, Repeats { path: 1_000_000, alone })
    };
    let paths = path::all(amounts);
    explain::method(recorder, effort, repeats);
    explain::targets(recorder, &paths);
    introduce(recorder);
    let lab = Lab::new()?;
    lab.home.enter(|| {
        recorder.progress.step("program", "opening flows");
        let most = path::spread(amounts.most);
        let tested = Tested::new(&lab, most, path::spread(amounts.many))?;
        processor::occupy(effort.processor)?;
        let mut subjects = Vec::new();
        for path in paths {
            let case = format!("{}, {}", path.case, path.entry);
            subjects.push(Subject::new(path, &tested).context(case)?);
        }
        measure(&mut subjects, &tested, effort, repeats, recorder)?;
        size::record(recorder, &tested.daemon.pins())
    })
}

fn introduce(recorder: &mut Recorder) {
    let time = recorder.metric(TIME, "ns", Better::Lower);
    time.digits = 1;
    time.plot = Plot::Bars;
    recorder.metric(TIMES, "", Better::Lower).digits = 2;
    recorder.metric(WRAPPED, "ns", Better::Neither).digits = 1;
}

fn measure(
    subjects: &mut [Subject],
    tested: &Tested,
    effort: &Effort,
    repeats: Repeats,
    recorder: &mut Recorder,
) -> Result<()> {
    let rounds = effort.rounds(ROUNDS);
    let plain = path::tcp4(1);
    let alone =
        [Entry::Xdp, Entry::Tc].map(|entry| Alone::new(entry, &plain).map(|it| (entry, it)));
    let alone = alone.into_iter().collect::<Result<Vec<_>>>()?;
    recorder.progress.expect(1 + subjects.len() * rounds);
    let mut wrapped = vec![0.0; subjects.len()];
    for (round, n) in order(subjects.len(), rounds) {
        interrupt::check()?;
        let subject = &mut subjects[n];
        let (case, entry) = (subject.path.case.clone(), subject.path.entry);
        recorder.progress.step("program", &format!("round {}, {case}, {entry}", round + 1));
        let repeat = (repeats.path / subject.path.slow).max(TIMEABLE);
        wrapped[n] = subject.measure(tested, repeat).with_context(|| format!("{case}, {entry}"))?;
        recorder.record(WRAPPED, &case, &entry.to_string(), wrapped[n]);
        if (n + 1) % subjects.len() == round % subjects.len() {
            let (few, many) = repeats.alone;
            for (entry, program) in &alone {
                let empty = program.run(few, many)?;
                let paths: Vec<&Path> = subjects.iter().map(|subject| &subject.path).collect();
                record(recorder, &paths, &wrapped, *entry, empty);
            }
        }
    }
    Ok(())
}

/// What follows from the times of one round: those in the wrapper, by path, and
/// the empty program's own on `entry`.
fn record(recorder: &mut Recorder, paths: &[&Path], wrapped: &[f64], entry: Entry, empty: f64) {
    let name = entry.to_string();
    recorder.record(TIME, EMPTY, &name, empty);
    recorder.record(TIMES, EMPTY, &name, 1.0);
    for (path, time) in paths.iter().zip(wrapped) {
        if path.entry != entry || path.is_wrapper_alone() {
            continue;
        }
        let wrapper = paths.iter().position(|other| path.is_wrapped_by(other));
        let wrapper = wrapped[wrapper.expect("each kind of packet has its wrapper measured")];
        let alone = time - wrapper + empty;
        recorder.record(TIME, &path.case, &name, alone);
        recorder.record(TIMES, &path.case, &name, alone / empty);
    }
}

/// A path under measurement.
struct Subject {
    path: Path,
    wrapper: Wrapper,
    /// The same packets for tc: now and then XDP leaves it to tc to let the
    /// kernel see a packet for a neighbour, and goes on when that is done.
    tc: Option<Wrapper>,
}

impl Subject {
    fn new(path: Path, tested: &Tested) -> Result<Self> {
        let wrapper =
            |entry| Wrapper::new(entry, &path.template, path.program, tested.program(entry));
        let needs_tc = path.entry == Entry::Xdp && path.proof == Proof::Translated;
        let tc = needs_tc.then(|| wrapper(Entry::Tc)).transpose()?;
        Ok(Self { wrapper: wrapper(path.entry)?, tc, path })
    }

    /// Nanoseconds for one packet, wrapper and all, with proof that each of
    /// `repeat` took the way it should.
    fn measure(&mut self, tested: &Tested, repeat: u32) -> Result<f64> {
        let mut attempt = 1;
        loop {
            let before = self.counted(tested)?;
            let (pace, verdict) = self.wrapper.run(repeat)?;
            let proved = match (before, self.counted(tested)?) {
                (Some(before), Some(after)) => {
                    self.path.proof.check(self.path.entry, repeat, after.since(before))
                }
                _ => Ok(()),
            };
            match (proved, &mut self.tc) {
                (Ok(()), _) => return Ok(pace.elapsed.as_nanos() as f64 / pace.packets as f64),
                (Err(_), Some(tc)) if attempt < ATTEMPTS => tc.run(FEW).map(drop)?,
                (Err(error), _) => {
                    return Err(error.context(format!("the last verdict is {verdict}")));
                }
            }
            attempt += 1;
        }
    }

    /// What redirectd has counted, if it is redirectd that is under test.
    fn counted(&self, tested: &Tested) -> Result<Option<Counted>> {
        (self.path.program == Program::Redirectd).then(|| tested.counters.now()).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        progress::Progress,
        result::target::{Bound, Target},
        route::tests::is_root,
    };

    #[test]
    fn the_targets_are_those_that_were_set() {
        let mut recorder = Recorder::new("program", "", Progress::silent());
        explain::targets(&mut recorder, &path::all(Amounts { many: 32_768, most: 100_000 }));
        let targets = recorder.finish().targets;
        assert_eq!(targets.len(), 8);
        for (entry, of_hits) in [("XDP", 3.5), ("tc", 4.5)] {
            for (case, most) in [
                ("flow-hit, TCP over IPv4, 1 flow", of_hits),
                ("flow-hit, TCP over IPv6, 1 flow", of_hits),
                ("no redirect", 1.6),
                ("no redirect, but for another address", 1.6),
            ] {
                let what = format!("{case}, {entry}, times the empty program");
                let bound = |target: &Target| (target.what == what).then_some(target.bound);
                assert_eq!(targets.iter().find_map(bound), Some(Bound::AtMost(most)), "{what}");
            }
        }
    }

    #[test]
    fn packets_that_redirectd_counts_as_something_else_are_an_error() {
        if !is_root() {
            return;
        }
        let amounts = Amounts { many: 8, most: 16 };
        let find = |entry, case: &str| {
            let mut paths = path::all(amounts).into_iter();
            paths.find(|path| path.entry == entry && path.case == case).unwrap()
        };
        let lab = Lab::new().unwrap();
        let inside = || {
            let tested = Tested::new(&lab, path::spread(amounts.most), path::spread(amounts.many))?;
            for entry in [Entry::Xdp, Entry::Tc] {
                let hit = find(entry, &path::hit("TCP over IPv4", 1));
                Subject::new(hit.clone(), &tested)?.measure(&tested, 10_000)?;
                let elsewhere = Path { proof: Proof::Translated, ..find(entry, "no redirect") };
                let error = Subject::new(elsewhere, &tested)?.measure(&tested, 10_000).unwrap_err();
                assert!(format!("{error:#}").contains("were counted, not"), "{entry}: {error:#}");
            }
            Ok(())
        };
        lab.home.enter(inside).unwrap();
    }

    #[test]
    fn the_wrapper_of_the_same_packets_and_hook_is_subtracted() {
        let paths = path::all(Amounts { many: 32_768, most: 100_000 });
        let paths: Vec<&Path> = paths.iter().collect();
        let mut recorder = Recorder::new("program", "", Progress::silent());
        introduce(&mut recorder);
        let time = |path: &&Path| match (path.is_wrapper_alone(), path.entry) {
            (true, Entry::Xdp) => 50.0,
            (true, Entry::Tc) => 60.0,
            (false, _) => 100.0,
        };
        let wrapped: Vec<f64> = paths.iter().map(time).collect();
        record(&mut recorder, &paths, &wrapped, Entry::Xdp, 20.0);
        record(&mut recorder, &paths, &wrapped, Entry::Tc, 25.0);
        let suite = recorder.finish();
        let case = path::hit("TCP over IPv4", 1);
        let figure = |metric, entry| suite.metric(metric).unwrap().rounds(&case, entry).unwrap()[0];
        assert_eq!((figure(TIME, "XDP"), figure(TIME, "tc")), (70.0, 65.0));
        assert_eq!((figure(TIMES, "XDP"), figure(TIMES, "tc")), (3.5, 2.6));
    }
}
