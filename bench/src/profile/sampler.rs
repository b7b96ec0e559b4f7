//! What one processor does, tick by tick.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{PerCpuArray, RingBuf},
    programs::{
        PerfEvent,
        perf_event::{
            PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent,
        },
    },
};
use redirectd_bench_bpf::Sample;

use super::{
    layer::{self, Layer, Seen},
    symbols::Symbols,
};
use crate::traffic::OBJECT;

/// Bytes for samples between [`Sampler::start`] and [`Sampler::stop`].
const ROOM: u32 = 1 << 24;

/// The longest that can be sampled at a time, at a tick each `period`.
pub(crate) fn most(period: Duration) -> Duration {
    /// The kernel's own part of each entry of the ring.
    const HEADER: usize = 8;
    period * (ROOM / (size_of::<Sample>() + HEADER) as u32)
}

/// Samples one processor.
pub(crate) struct Sampler {
    bpf: Ebpf,
    processor: u32,
    period: Duration,
    running: Option<PerfEventLinkId>,
}

/// What a processor was seen to do, in ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    /// From one tick to the next.
    pub(crate) period: Duration,
    /// By layer, in the order of [`Layer::ALL`], by those whose work is measured.
    pub(crate) by_layer: [u64; Layer::ALL.len()],
    /// When there was nothing to do; a processor that sleeps may miss some.
    pub(crate) idle: u64,
    /// In others' work.
    pub(crate) others: u64,
}

impl Sampler {
    /// One for `processor` that looks once in a `period`.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub(crate) fn new(processor: usize, period: Duration) -> Result<Self> {
        let mut bpf = EbpfLoader::new()
            .map_max_entries("SAMPLES", ROOM)
            .load(OBJECT)
            .context("cannot load the sampler")?;
        program(&mut bpf)?.load().context("cannot load the sampler")?;
        Ok(Self { bpf, processor: processor.try_into()?, period, running: None })
    }

    /// Begins.
    ///
    /// # Errors
    /// The kernel has no clock for it.
    pub(crate) fn start(&mut self) -> Result<()> {
        let scope = PerfEventScope::AllProcessesOneCpu { cpu: self.processor };
        let clock = PerfEventConfig::Software(SoftwareEvent::CpuClock);
        let period = SamplePolicy::Period(self.period.as_nanos() as u64);
        let link = program(&mut self.bpf)?
            .attach(clock, scope, period, false)
            .context("cannot sample by the processor's clock")?;
        self.running = Some(link);
        Ok(())
    }

    /// Ends, and says what was seen, where `workers` are the processes whose
    /// work is measured.
    ///
    /// # Errors
    /// There was no room for all samples, or they cannot be read.
    pub(crate) fn stop(&mut self, symbols: &Symbols, workers: &HashSet<u32>) -> Result<Ticks> {
        if let Some(link) = self.running.take() {
            program(&mut self.bpf)?.detach(link).context("cannot stop sampling")?;
        }
        let lost: PerCpuArray<_, u64> = self.bpf.map("LOST").context("no map LOST")?.try_into()?;
        let lost: u64 = lost.get(&0, 0)?.iter().sum();
        ensure!(
            lost == 0,
            "no room for {lost} samples; measure at most {:?} at a time",
            most(self.period)
        );
        let samples = self.bpf.map_mut("SAMPLES").context("no map SAMPLES")?;
        let mut samples = RingBuf::try_from(samples)?;
        let mut count = Count {
            symbols,
            workers,
            names: HashMap::new(),
            ticks: Ticks { period: self.period, ..Ticks::default() },
        };
        while let Some(sample) = samples.next() {
            count.add(&parse(&sample)?);
        }
        Ok(count.ticks)
    }
}

/// A sample as it is in the ring.
fn parse(bytes: &[u8]) -> Result<Sample> {
    ensure!(bytes.len() >= size_of::<Sample>(), "a sample of only {} bytes", bytes.len());
    // SAFETY: long enough, as was checked, and any bytes are a sample.
    Ok(unsafe { bytes.as_ptr().cast::<Sample>().read_unaligned() })
}

fn program(bpf: &mut Ebpf) -> Result<&mut PerfEvent> {
    let program = bpf.program_mut("sample").context("no BPF program `sample`")?;
    Ok(program.try_into()?)
}

/// Counts samples.
struct Count<'a> {
    symbols: &'a Symbols,
    workers: &'a HashSet<u32>,
    /// Of addresses seen before.
    names: HashMap<u64, &'a str>,
    ticks: Ticks,
}

impl Count<'_> {
    fn add(&mut self, sample: &Sample) {
        // To the idle process belongs what is done on the way into it and out of it.
        let ours = sample.process == 0 || self.workers.contains(&sample.process);
        match self.seen(sample) {
            Seen::Idle => self.ticks.idle += 1,
            Seen::Work(layer) if ours => self.ticks.by_layer[layer as usize] += 1,
            Seen::Work(_) | Seen::Others => self.ticks.others += 1,
        }
    }

    fn seen(&mut self, sample: &Sample) -> Seen {
        let frames = usize::try_from(sample.bytes).unwrap_or(0) / size_of::<u64>();
        if frames == 0 {
            return Seen::Work(Layer::User);
        }
        let Self { symbols, names, .. } = self;
        layer::of(sample.frames.iter().take(frames).map(|&address| {
            *names.entry(address).or_insert_with(|| symbols.name(address).unwrap_or("unknown"))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ticks of samples, each of a process in a function, of which `worker`'s
    /// are those measured.
    fn ticks(samples: &[(u32, &[u64])]) -> Ticks {
        let symbols = Symbols::of(&[(100, "tcp_v4_rcv"), (200, "ip_rcv"), (300, "do_idle")]);
        let workers = HashSet::from([WORKER]);
        let ticks = Ticks::default();
        let mut count =
            Count { symbols: &symbols, workers: &workers, names: HashMap::new(), ticks };
        for (process, frames) in samples {
            // SAFETY: any bytes are a sample.
            let mut sample: Sample = unsafe { std::mem::zeroed() };
            sample.process = *process;
            sample.bytes = size_of_val(*frames) as _;
            sample.frames[..frames.len()].copy_from_slice(frames);
            count.add(&sample);
        }
        count.ticks
    }

    const WORKER: u32 = 7;
    const IDLE: u32 = 0;
    const STRANGER: u32 = 8;

    #[test]
    fn only_the_work_of_home_s_threads_is_a_layer_s() {
        let seen = ticks(&[(WORKER, &[100, 200]), (WORKER, &[205]), (STRANGER, &[100])]);
        let mut expected = Ticks { others: 1, ..Ticks::default() };
        expected.by_layer[Layer::Tcp as usize] = 1;
        expected.by_layer[Layer::Ip as usize] = 1;
        assert_eq!(seen, expected);
    }

    #[test]
    fn without_a_kernel_stack_a_worker_is_in_user_space() {
        let mut expected = Ticks { others: 1, ..Ticks::default() };
        expected.by_layer[Layer::User as usize] = 1;
        assert_eq!(ticks(&[(WORKER, &[]), (STRANGER, &[])]), expected);
    }

    #[test]
    fn what_is_done_on_the_way_out_of_idleness_is_home_s() {
        let mut expected = Ticks { idle: 1, ..Ticks::default() };
        expected.by_layer[Layer::Tcp as usize] = 1;
        assert_eq!(ticks(&[(IDLE, &[300]), (IDLE, &[100])]), expected);
    }
}
