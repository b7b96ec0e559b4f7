//! One way through home in a lab of its own, and what is measured of it.

use std::{
    any::Any,
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    placement::{self, Placement},
    transfer::Transfer,
};
use crate::{
    interrupt,
    lan::{Lan, Wire},
    profile::{
        passes::Passes,
        sampler::{Sampler, Ticks},
        symbols::Symbols,
        workers::{processes_in, time_of},
    },
    route::Route,
};

/// The server's port.
const PORT: u16 = 5000;

/// The links: frames of 1,500 bytes, as fast as the machine.
pub(super) const WIRE: Wire = Wire { rate: None, offloads: false, xdp: true };

/// How long a transfer runs before it is measured.
pub(super) const START: Duration = Duration::from_millis(100);

/// A route that is set up. Dropped in the order of its fields: the lab goes last.
pub(super) struct Way<'a> {
    route: &'a dyn Route,
    _running: Box<dyn Any>,
    placement: Placement,
    symbols: Symbols,
    lan: Lan,
}

/// What one measurement saw.
pub(super) struct Window {
    /// Full packets that reached the host.
    pub(super) packets: f64,
    /// How long it lasted.
    pub(super) elapsed: Duration,
    /// How long home's threads ran meanwhile, by the scheduler's account.
    pub(super) work: Duration,
}

impl<'a> Way<'a> {
    /// Sets `route` up, with home's work on `processor`.
    ///
    /// # Errors
    /// It cannot be set up.
    pub(super) fn new(route: &'a dyn Route, processor: usize) -> Result<Self> {
        let lan = Lan::new(&WIRE)?;
        let running = route.set_up(&lan, &[PORT])?;
        let placement = placement::place(&lan, processor)?;
        // After the route's programs have been loaded, so that they have names.
        let symbols = Symbols::now()?;
        Ok(Self { route, _running: running, placement, symbols, lan })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        self.route.name()
    }

    /// Measures for `duration`, first with the processor left alone and then
    /// with `sampler` watching it.
    ///
    /// # Errors
    /// Nothing arrives, or the run was interrupted.
    pub(super) fn measure(
        &self,
        duration: Duration,
        sampler: &mut Sampler,
    ) -> Result<(Window, Window, Ticks)> {
        let (transfer, workers) = self.transfer()?;
        let alone = watch(&transfer, &workers, duration)?;
        sampler.start()?;
        let sampled = watch(&transfer, &workers, duration);
        let ticks = sampler.stop(&self.symbols, &workers)?;
        Ok((alone, sampled?, ticks))
    }

    /// How often a packet comes by the functions that `counters` count, in the
    /// order of these.
    ///
    /// # Errors
    /// As [`Self::measure`].
    pub(super) fn passes(&self, duration: Duration, counters: &[Passes]) -> Result<Vec<f64>> {
        let (transfer, workers) = self.transfer()?;
        let count = || -> Result<Vec<u64>> {
            counters.iter().map(|counter| counter.of(&workers)).collect()
        };
        let before = count()?;
        let window = watch(&transfer, &workers, duration)?;
        let after = count()?;
        let passes = after.iter().zip(before).map(|(after, before)| after - before);
        Ok(passes.map(|passes| passes as f64 / window.packets).collect())
    }

    /// A transfer under way, and those who work for it at home.
    fn transfer(&self) -> Result<(Transfer, HashSet<u32>)> {
        let transfer = Transfer::start(&self.lan, self.route.target(), PORT)
            .with_context(|| format!("by way of {}", self.name()))?;
        let netns = format!("/run/netns/{}", self.lan.home.name());
        let netns = fs::metadata(&netns).with_context(|| format!("no {netns}"))?.ino();
        let mut workers = processes_in(netns)?;
        self.placement.pin(&workers)?;
        workers.extend(self.placement.threads());
        thread::sleep(START);
        Ok((transfer, workers))
    }
}

fn watch(transfer: &Transfer, workers: &HashSet<u32>, duration: Duration) -> Result<Window> {
    let (start, packets, work) = (Instant::now(), transfer.packets(), time_of(workers)?);
    while start.elapsed() < duration {
        interrupt::check()?;
        thread::sleep(Duration::from_millis(10).min(duration.saturating_sub(start.elapsed())));
    }
    let work = time_of(workers)? - work;
    let window = Window { packets: transfer.packets() - packets, elapsed: start.elapsed(), work };
    ensure!(window.packets > 0.0, "nothing reached the host in {duration:?}");
    Ok(window)
}
