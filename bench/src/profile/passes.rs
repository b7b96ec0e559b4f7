//! How often processes come through functions of the kernel.

use std::collections::HashSet;

use anyhow::{Context, Result};
use aya::{Btf, Ebpf, EbpfLoader, maps::HashMap, programs::FEntry};

use crate::traffic::OBJECT;

/// Processes that can be told apart.
const PROCESSES: u32 = 4096;

/// Counts passes of one function, by process, for as long as it lives. What it
/// counts is made slower: not for times.
pub(crate) struct Passes {
    function: &'static str,
    bpf: Ebpf,
}

impl Passes {
    /// Begins to count passes of `function`.
    ///
    /// # Errors
    /// The kernel has no such function that can be probed, such as one that the
    /// compiler has made part of its callers.
    pub(crate) fn count(function: &'static str, kernel: &Btf) -> Result<Self> {
        let mut bpf = EbpfLoader::new().map_max_entries("PASSES", PROCESSES).load(OBJECT)?;
        let program = bpf.program_mut("pass").context("no BPF program `pass`")?;
        let program: &mut FEntry = program.try_into()?;
        program.load(function, kernel).with_context(|| format!("cannot probe {function}"))?;
        program.attach().with_context(|| format!("cannot probe {function}"))?;
        Ok(Self { function, bpf })
    }

    /// The function.
    pub(crate) fn function(&self) -> &'static str {
        self.function
    }

    /// Passes by any of `processes` so far.
    ///
    /// # Errors
    /// The counts cannot be read.
    pub(crate) fn of(&self, processes: &HashSet<u32>) -> Result<u64> {
        let map = self.bpf.map("PASSES").context("no map PASSES")?;
        let passes: HashMap<_, u32, u64> = map.try_into()?;
        let mut sum = 0;
        for entry in passes.iter() {
            let (process, count) = entry?;
            sum += if processes.contains(&process) { count } else { 0 };
        }
        Ok(sum)
    }
}
