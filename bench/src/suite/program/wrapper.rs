//! A program under test inside of one that makes it a new packet each time.

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, ProgramArray},
    programs::{ProgramFd, SchedClassifier, TestRun, TestRunOptions, Xdp},
};
use nix::net::if_::if_nametoindex;
use redirectd_bench_bpf::{FRAME, Stream};

use super::Entry;
use crate::{
    pace::{self, Pace},
    stream::Turns,
    topology::{IN0, IN0_MAC, PEER0_MAC},
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

/// A wrapper with its program.
pub(super) struct Wrapper {
    bpf: Ebpf,
    stride: u32,
    entry: Entry,
    /// The context: the packet came in through [`IN0`].
    context: Vec<u8>,
    /// Forgets its program when it is closed.
    _array: ProgramArray<MapData>,
}

impl Wrapper {
    /// Wraps `program`, which is for `entry`, or the empty one. Call it in home's
    /// namespace.
    ///
    /// # Errors
    /// The kernel refuses the programs.
    pub(super) fn new(entry: Entry, stream: &Stream, program: Option<&ProgramFd>) -> Result<Self> {
        let mut bpf = EbpfLoader::new().override_global("STREAM", stream, true).load(OBJECT)?;
        let (wrapper, empty, array) = match entry {
            Entry::Xdp => ("wrap_xdp", "empty_xdp", "TESTED_XDP"),
            Entry::Tc => ("wrap_tc", "empty_tc", "TESTED_TC"),
        };
        for name in [wrapper, empty] {
            load(&mut bpf, entry, name)?;
        }
        let mut array: ProgramArray<_> =
            bpf.take_map(array).context("the wrapper has no such map")?.try_into()?;
        let program = match program {
            Some(program) => program,
            None => bpf.program(empty).context("no empty program")?.fd()?,
        };
        array.set(0, program, 0).context("cannot wrap the program")?;
        let stride = Turns::FarApart.stride(stream);
        Ok(Self { bpf, stride, entry, context: context(entry)?, _array: array })
    }

    /// Runs it `repeat` times; the time that each took, and the last verdict.
    ///
    /// # Errors
    /// The kernel cannot run it, or `repeat` is too small to be timed.
    pub(super) fn run(&mut self, repeat: u32) -> Result<(Pace, u32)> {
        pace::start(&mut self.bpf, self.stride)?;
        let frame = frame();
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&self.context),
            repeat,
            ..TestRunOptions::default()
        };
        let result = match self.entry {
            Entry::Xdp => {
                let program: &Xdp =
                    self.bpf.program("wrap_xdp").context("no wrapper")?.try_into()?;
                program.test_run(options)
            }
            Entry::Tc => {
                let program: &SchedClassifier =
                    self.bpf.program("wrap_tc").context("no wrapper")?.try_into()?;
                program.test_run(options)
            }
        };
        let verdict = result.context("cannot run the program")?.return_value;
        let pace = pace::of(&self.bpf, repeat)?.context("too few repetitions")?;
        Ok((pace, verdict))
    }
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

/// A frame whose Ethernet header is right from the start: the kernel looks at it
/// once, before the wrapper does, and notes whether it is for home.
fn frame() -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&IN0_MAC);
    frame[6..12].copy_from_slice(&PEER0_MAC);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame
}

/// What a program is told besides the packet.
fn context(entry: Entry) -> Result<Vec<u8>> {
    let index = if_nametoindex(IN0)?.to_ne_bytes();
    let (size, at) = match entry {
        Entry::Xdp => (XDP_MD, XDP_MD_IFINDEX),
        Entry::Tc => (SKB, SKB_IFINDEX),
    };
    let mut context = vec![0; size];
    context[at..at + 4].copy_from_slice(&index);
    if entry == Entry::Xdp {
        context[XDP_MD_END..XDP_MD_END + 4].copy_from_slice(&(FRAME as u32).to_ne_bytes());
    }
    Ok(context)
}
