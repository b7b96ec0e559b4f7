//! The generator at the peer and the sinks at the ends, as user space sees them.

use std::{thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{DevMap, PerCpuArray},
    programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, xdp::XdpMode},
};
use nix::net::if_::if_nametoindex;
use redirectd_bench_bpf::{Expect, FRAME, Stream, count};

use crate::{
    netns::Netns,
    pace::{self, Pace},
    stream::Turns,
};

/// The BPF programs of `bench/bpf`, in a form that ELF readers accept.
pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));

/// Frames the kernel makes before it lets them be received: well below the 256
/// that a veth queues.
const BATCH: u32 = 64;

/// Makes packets of a [`Stream`] out of nothing, in the kernel.
#[derive(Debug)]
pub(crate) struct Generator {
    bpf: Ebpf,
    stream: Stream,
}

impl Generator {
    /// Loads one that sends from `interface` in the namespace it is called in.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub(crate) fn new(interface: &str, stream: &Stream) -> Result<Self> {
        let mut bpf = EbpfLoader::new()
            .override_global("STREAM", stream, true)
            .load(OBJECT)
            .context("cannot load the generator")?;
        let index = if_nametoindex(interface).with_context(|| format!("no {interface}"))?;
        let out = bpf.map_mut("OUT").expect("the generator has a map OUT");
        DevMap::try_from(out)?.set(0, index, None, 0).context("cannot name the interface")?;
        xdp(&mut bpf, "generate")?.load().context("cannot load the generator")?;
        Ok(Self { bpf, stream: *stream })
    }

    /// The next packet is that of flow `flow` of the first target.
    ///
    /// # Errors
    /// The map cannot be read or written.
    pub(crate) fn go_to(&mut self, flow: u32) -> Result<()> {
        pace::go_to(&mut self.bpf, flow)
    }

    /// The traffic it makes.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Sends the next `packets` packets, with flows in `turns`, and says how long making one took,
    /// with all that was done for it on the way: the kernel hands on a batch
    /// before it makes the next. Too few packets (below some thousand) have no
    /// time. Call it in the namespace it was loaded in, and on the processor
    /// that is to do all the work.
    ///
    /// # Errors
    /// The kernel cannot run it (live frames need Linux 5.18), or a signal came.
    pub(crate) fn send(&mut self, packets: u32, turns: Turns) -> Result<Option<Pace>> {
        pace::start(&mut self.bpf, turns.stride(&self.stream))?;
        let program: &Xdp = self.bpf.program("generate").expect("it was loaded").try_into()?;
        program
            .test_run(TestRunOptions {
                data_in: Some(&[0; FRAME]),
                repeat: packets,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            })
            .context("cannot generate packets")?;
        pace::of(&self.bpf, packets)
    }
}

/// What a sink does with what arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Counts and drops.
    Sink,
    /// Checks checksums and answers.
    Reflect,
    /// Checks checksums of answers, counts and drops.
    Returns,
}

/// Packets a sink has seen since it was attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// What was expected, and whole.
    pub(crate) expected: u64,
    /// Anything else.
    pub(crate) other: u64,
    /// What was expected, with a wrong checksum; not counted with [`Role::Sink`].
    pub(crate) bad_checksum: u64,
}

/// An XDP program at a receiving end; detached when dropped.
pub(crate) struct Sink {
    counts: PerCpuArray<aya::maps::MapData, u64>,
    _bpf: Ebpf,
}

impl Sink {
    /// Puts one on `interface` in `netns`.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(crate) fn attach(
        netns: &Netns,
        interface: &str,
        role: Role,
        expect: &Expect,
    ) -> Result<Self> {
        let name = match role {
            Role::Sink => "sink",
            Role::Reflect => "reflect",
            Role::Returns => "returns",
        };
        netns
            .enter(|| {
                let mut bpf =
                    EbpfLoader::new().override_global("EXPECT", expect, true).load(OBJECT)?;
                let program = xdp(&mut bpf, name)?;
                program.load()?;
                program.attach(interface, XdpMode::Driver)?;
                let counts = bpf.take_map("COUNT").expect("the sinks have a map COUNT");
                Ok(Self { counts: counts.try_into()?, _bpf: bpf })
            })
            .with_context(|| format!("cannot put `{name}` on {interface}"))
    }

    /// What it has counted so far.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let sum = |slot| -> Result<u64> { Ok(self.counts.get(&slot, 0)?.iter().sum()) };
        Ok(Counts {
            expected: sum(count::EXPECTED)?,
            other: sum(count::OTHER)?,
            bad_checksum: sum(count::BAD_CHECKSUM)?,
        })
    }

    /// What it has counted, once nothing more arrives.
    ///
    /// # Errors
    /// The map cannot be read, or there is no end to it within a second.
    pub(crate) fn settled_counts(&self) -> Result<Counts> {
        let mut last = self.counts()?;
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(10));
            let now = self.counts()?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
        ensure!(false, "packets still arrive a second after the last was sent");
        Ok(last)
    }
}

fn xdp<'a>(bpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = bpf.program_mut(name).ok_or_else(|| anyhow!("no BPF program `{name}`"))?;
    Ok(program.try_into()?)
}
