//! Programs under test: inside of one that makes them a new packet each time,
//! and, for the empty one, alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, ProgramArray},
    programs::{ProgramFd, SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp},
};
use nix::net::if_::if_nametoindex;
use redirectd_bench_bpf::{BareFlow, BareKey, Template, places};

use super::{Entry, bare};
use crate::{
    pace::{self, Pace},
    stream::stride,
    topology::IN0,
    traffic::OBJECT,
};

/// Bytes of `struct __sk_buff` (linux/bpf.h).
const SKB: usize = 192;
/// Where its `ifindex` is.
const SKB_IFINDEX: usize = 40;
/// Bytes of `struct xdp_md` (linux/bpf.h).
const XDP_MD: usize = 24;
/// Where its `data_end` is.
const XDP_MD_END: usize = 4;
/// Where its `ingress_ifindex` is.
const XDP_MD_IFINDEX: usize = 12;

/// What is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// Nothing at all.
    Empty,
    /// MAC addresses swapped, and back.
    Swap,
    /// The least that translates.
    Bare,
    /// redirectd's.
    Redirectd,
}

impl Program {
    /// Its name in `bench/bpf`, but for the hook; redirectd's is not there.
    fn of_bench(self) -> Option<&'static str> {
        match self {
            Self::Empty => Some("empty"),
            Self::Swap => Some("swap"),
            Self::Bare => Some("bare"),
            Self::Redirectd => None,
        }
    }
}

/// A wrapper with its program.
pub(super) struct Wrapper {
    bpf: Ebpf,
    stride: u32,
    entry: Entry,
    frame: Vec<u8>,
    /// The packet came in through [`IN0`].
    context: Vec<u8>,
    /// Forgets its program when it is closed.
    _array: ProgramArray<MapData>,
}

impl Wrapper {
    /// Wraps `program` for `entry`; `redirectd` is that of redirectd. Call it in
    /// home's namespace.
    ///
    /// # Errors
    /// The kernel refuses the programs.
    pub(super) fn new(
        entry: Entry,
        template: &Template,
        program: Program,
        redirectd: &ProgramFd,
    ) -> Result<Self> {
        let flows = template.targets * template.per_target;
        let mut loader = EbpfLoader::new();
        loader.override_global("TEMPLATE", template, true);
        if program == Program::Bare {
            loader.map_max_entries("BARE", flows);
        }
        let mut bpf = loader.load(OBJECT)?;
        let (wrapper, array) = match entry {
            Entry::Xdp => ("wrap_xdp", "TESTED_XDP"),
            Entry::Tc => ("wrap_tc", "TESTED_TC"),
        };
        load(&mut bpf, entry, wrapper)?;
        let mut array: ProgramArray<_> =
            bpf.take_map(array).context("the wrapper has no such map")?.try_into()?;
        match program.of_bench() {
            None => array.set(0, redirectd, 0),
            Some(name) => {
                let name = format!("{name}_{}", entry.suffix());
                load(&mut bpf, entry, &name)?;
                let program = bpf.program(&name).context("it was loaded")?;
                array.set(0, program.fd()?, 0)
            }
        }
        .context("cannot wrap the program")?;
        if program == Program::Bare {
            let map = bpf.map_mut("BARE").context("the bare redirect has no map")?;
            let mut map: HashMap<_, BareKey, BareFlow> = map.try_into()?;
            for (key, flow) in bare::flows(template)? {
                map.insert(key, flow, 0)?;
            }
        }
        let frame = template.frame[..places::OF[template.kind as usize].length].to_vec();
        let context = context(entry, IN0, frame.len())?;
        Ok(Self { bpf, stride: stride(template.per_target), entry, frame, context, _array: array })
    }

    /// Runs it `repeat` times; the time that each took, and the last verdict.
    ///
    /// # Errors
    /// The kernel cannot run it, a packet took another way than it should, or
    /// `repeat` is too small to be timed.
    pub(super) fn run(&mut self, repeat: u32) -> Result<(Pace, u32)> {
        pace::start(&mut self.bpf, self.stride)?;
        let before = self.missed()?;
        let wrapper = match self.entry {
            Entry::Xdp => "wrap_xdp",
            Entry::Tc => "wrap_tc",
        };
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            ctx_in: Some(&self.context),
            repeat,
            ..TestRunOptions::default()
        };
        let verdict = run(&self.bpf, self.entry, wrapper, options)?.return_value;
        let missed = self.missed()? - before;
        ensure!(missed == 0, "{missed} of {repeat} packets did not take the way they should");
        let pace = pace::of(&self.bpf, repeat)?.context("too few repetitions")?;
        Ok((pace, verdict))
    }

    fn missed(&self) -> Result<u64> {
        let map = self.bpf.map("MISSED").context("the wrapper counts nothing")?;
        Ok(Array::<_, u64>::try_from(map)?.get(&0, 0)?)
    }
}

/// The empty program alone.
pub(super) struct Alone {
    bpf: Ebpf,
    entry: Entry,
    frame: Vec<u8>,
    context: Vec<u8>,
}

impl Alone {
    /// For `entry`. Call it in home's namespace.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub(super) fn new(entry: Entry, template: &Template) -> Result<Self> {
        let mut bpf = EbpfLoader::new().load(OBJECT)?;
        load(&mut bpf, entry, &format!("empty_{}", entry.suffix()))?;
        let frame = template.frame[..places::OF[template.kind as usize].length].to_vec();
        let context = context(entry, IN0, frame.len())?;
        Ok(Self { bpf, entry, frame, context })
    }

    /// Nanoseconds of one run: by the time of the system call, less that of one
    /// with few repetitions, within the whole nanosecond that the kernel says.
    ///
    /// # Errors
    /// The kernel cannot run it.
    pub(super) fn run(&self, few: u32, many: u32) -> Result<f64> {
        let (short, _) = self.once(few)?;
        let (long, whole) = self.once(many)?;
        let difference = long.saturating_sub(short).as_nanos() as f64;
        Ok(within(whole.as_nanos() as f64, difference / f64::from(many - few)))
    }

    /// How long it takes, and how long one repetition took by the kernel's own
    /// account.
    fn once(&self, repeat: u32) -> Result<(Duration, Duration)> {
        let options = TestRunOptions {
            data_in: Some(&self.frame),
            ctx_in: Some(&self.context),
            repeat,
            ..TestRunOptions::default()
        };
        let start = Instant::now();
        let name = format!("empty_{}", self.entry.suffix());
        let result = run(&self.bpf, self.entry, &name, options)?;
        Ok((start.elapsed(), result.duration))
    }
}

/// `time`, if it is one that the kernel would have cut off to `whole`
/// nanoseconds; else the nearest such.
fn within(whole: f64, time: f64) -> f64 {
    time.clamp(whole, whole + 1.0)
}

fn run(bpf: &Ebpf, entry: Entry, name: &str, options: TestRunOptions<'_>) -> Result<TestRunResult> {
    let program = bpf.program(name).with_context(|| format!("no BPF program `{name}`"))?;
    match entry {
        Entry::Xdp => <&Xdp>::try_from(program)?.test_run(options),
        Entry::Tc => <&SchedClassifier>::try_from(program)?.test_run(options),
    }
    .with_context(|| format!("cannot run `{name}`"))
}

/// Loads the program `name` of `bpf`, which is for `entry`.
fn load(bpf: &mut Ebpf, entry: Entry, name: &str) -> Result<()> {
    let program = bpf.program_mut(name).with_context(|| format!("no BPF program `{name}`"))?;
    match entry {
        Entry::Xdp => <&mut Xdp>::try_from(program)?.load(),
        Entry::Tc => <&mut SchedClassifier>::try_from(program)?.load(),
    }
    .with_context(|| format!("cannot load `{name}`"))
}

/// What a program is told besides a packet of `length` bytes: that it came in
/// through `interface`.
///
/// # Errors
/// There is no such interface.
pub(super) fn context(entry: Entry, interface: &str, length: usize) -> Result<Vec<u8>> {
    let index = if_nametoindex(interface)?.to_ne_bytes();
    let (size, at) = match entry {
        Entry::Xdp => (XDP_MD, XDP_MD_IFINDEX),
        Entry::Tc => (SKB, SKB_IFINDEX),
    };
    let mut context = vec![0; size];
    context[at..at + 4].copy_from_slice(&index);
    if entry == Entry::Xdp {
        context[XDP_MD_END..XDP_MD_END + 4].copy_from_slice(&(length as u32).to_ne_bytes());
    }
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::{super::path, *};
    use crate::{route::tests::is_root, topology::Lab};

    #[test]
    fn packets_that_the_bench_s_own_program_does_not_know_are_an_error() {
        if !is_root() {
            return;
        }
        let lab = Lab::new().unwrap();
        let inside = || {
            for entry in [Entry::Xdp, Entry::Tc] {
                let mut bpf = EbpfLoader::new().load(OBJECT)?;
                let empty = format!("empty_{}", entry.suffix());
                load(&mut bpf, entry, &empty)?;
                let unused = bpf.program(&empty).context("it was loaded")?.fd()?;
                let mut wrapper = Wrapper::new(entry, &path::tcp4(1), Program::Bare, unused)?;
                wrapper.run(10_000)?;
                let map = wrapper.bpf.map_mut("BARE").context("no map BARE")?;
                let mut map: HashMap<_, BareKey, BareFlow> = map.try_into()?;
                let keys: Vec<_> = map.keys().collect::<Result<_, _>>()?;
                keys.iter().try_for_each(|key| map.remove(key))?;
                let error = wrapper.run(10_000).unwrap_err().to_string();
                assert!(error.starts_with("10000 of 10000 packets did not"), "{entry}: {error}");
            }
            Ok(())
        };
        lab.home.enter(inside).unwrap();
    }

    #[test]
    fn the_time_of_the_empty_program_is_one_that_the_kernel_confirms() {
        assert_eq!(within(21.0, 21.6), 21.6);
        assert_eq!(within(21.0, 20.2), 21.0);
        assert_eq!(within(21.0, 23.0), 22.0);
    }
}
