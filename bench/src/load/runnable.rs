//! Home's load: how many of its threads want a processor.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{sched::sched_setaffinity, unistd::Pid};

use super::processes;
use crate::{lan::Placement, netns::Netns, processor};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(20);
/// Looks between two searches for processes that have come or gone.
const SEARCH: usize = 10;

/// The mean number of threads of home's processes that run or want to, from
/// [`Self::start`] on: what the load average of a machine that did this alone
/// would tend to, were it measured for long enough. Work that the kernel does
/// for packets is no thread's, and not in it, as on any machine.
#[derive(Debug)]
pub(crate) struct HomeLoad {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<f64>>>,
}

impl HomeLoad {
    /// Begins to look, on a processor of others.
    ///
    /// # Errors
    /// The kernel does not tell the namespace.
    pub(crate) fn start(home: &Netns, placement: &Placement) -> Result<Self> {
        let netns = home.id()?;
        let others = processor::set(&placement.others)?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            sched_setaffinity(Pid::from_raw(0), &others)
                .context("cannot leave home's processor")?;
            mean(netns, &stopped)
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it.
    ///
    /// # Errors
    /// /proc could not be read.
    pub(crate) fn finish(mut self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is ended once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for HomeLoad {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn mean(netns: u64, stop: &AtomicBool) -> Result<f64> {
    let (mut looks, mut sum) = (0_usize, 0_usize);
    let mut processes = Vec::new();
    while !stop.load(Ordering::Relaxed) || looks == 0 {
        if looks.is_multiple_of(SEARCH) {
            processes = processes::of(netns)?;
        }
        sum += processes.iter().map(|&id| processes::runnable(id)).sum::<usize>();
        looks += 1;
        thread::sleep(INTERVAL);
    }
    Ok(sum as f64 / looks as f64)
}
