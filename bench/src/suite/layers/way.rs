//! One way through home in a lab of its own, and what is measured of it.

use std::{
    any::Any,
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::passes::Counts;
use crate::{
    interrupt,
    lan::{Lan, Placement, Wire},
    load::processes,
    pair::{
        client::Extent,
        process::{self, Process},
        server::Behaviour,
    },
    profile::{
        sampler::{Sampler, Ticks},
        symbols::Symbols,
        workers::Account,
    },
    route::Route,
};

/// The server's port.
const PORT: u16 = 5001;

/// The links: frames of 1,500 bytes, as fast as the machine.
pub(super) const WIRE: Wire = Wire { rate: None, offloads: false, xdp: true };

/// Bytes of one call of client and server, as in suite `paper`.
pub(super) const BUFFER: usize = 8192;

/// How long a transfer runs from its first packets until it is measured, and about how
/// long after.
pub(super) const START: Duration = Duration::from_millis(200);

/// Packets beside which those that are on their way as a window begins, or ends, do not
/// count.
const ENOUGH: f64 = 3_000.0;

/// A route that is set up, with a server at its end. Dropped in the order of
/// its fields: the server goes first and the lab last.
pub(super) struct Way<'a> {
    route: &'a dyn Route,
    _servers: Vec<Process>,
    _running: Box<dyn Any>,
    symbols: Symbols,
    lan: Lan,
}

/// What one measurement saw.
pub(super) struct Window {
    /// Packets of the peer's that reached home, of which nearly all are full and
    /// all are for the server.
    pub(super) packets: f64,
    /// Passes for each of these, in the order of [`COUNTED`](super::passes::COUNTED).
    pub(super) passes: Vec<f64>,
    /// How long it lasted.
    pub(super) elapsed: Duration,
    /// How long home's threads ran meanwhile, by the scheduler's account.
    pub(super) work: Duration,
}

impl<'a> Way<'a> {
    /// Sets `route` up.
    ///
    /// # Errors
    /// It cannot be set up.
    pub(super) fn new(route: &'a dyn Route, placement: &Placement) -> Result<Self> {
        let lan = Lan::placed(&WIRE, placement)?;
        let running = route.set_up(&lan, &[PORT])?;
        let servers = process::servers(&lan, route, &[PORT], Behaviour::Receive, BUFFER)?;
        // After the route's programs have been loaded, so that they have names.
        let symbols = Symbols::now()?;
        Ok(Self { route, _servers: servers, _running: running, symbols, lan })
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        self.route.name()
    }

    /// Measures for `duration` with the processor left alone, and then as long
    /// with `sampler` watching it; or up to `longest`, where too few packets come, because
    /// others have the machine.
    ///
    /// # Errors
    /// Not all arrives, nothing comes to home, or the run was interrupted.
    pub(super) fn measure(
        &self,
        mut duration: Duration,
        longest: Duration,
        sampler: &mut Sampler,
    ) -> Result<(Window, Window, Ticks)> {
        loop {
            let (alone, sampled, ticks) = self.during_transfer(2 * duration, |workers| {
                let alone = self.watch(workers, duration)?;
                sampler.start()?;
                let sampled = self.watch(workers, duration);
                let ticks = sampler.stop(&self.symbols, workers)?;
                Ok((alone, sampled?, ticks))
            })?;
            let packets = |window: &Option<Window>| window.as_ref().map_or(0.0, |one| one.packets);
            let fewer = packets(&alone).min(packets(&sampled));
            let last = 2 * duration > longest;
            if let (Some(alone), Some(sampled)) = (alone, sampled)
                && (fewer >= ENOUGH || last)
            {
                return Ok((alone, sampled, ticks));
            }
            ensure!(!last, "no packet of the peer reaches home in {duration:?}");
            duration *= 2;
        }
    }

    /// Calls `inside` with those who do home's work, while a client sends for
    /// `duration` and some time before and after it.
    fn during_transfer<T>(
        &self,
        duration: Duration,
        inside: impl FnOnce(&HashSet<u32>) -> Result<T>,
    ) -> Result<T> {
        interrupt::check()?;
        let seconds = (2 * START + duration).as_secs_f64();
        let extent = Extent { amount: None, time: Some(seconds) };
        let (lan, route) = (&self.lan, self.route);
        thread::scope(|scope| {
            let client = scope.spawn(move || process::client(lan, route, &[PORT], extent, BUFFER));
            let flows = self.wait_for_packets(|| client.is_finished());
            thread::sleep(START);
            let result = flows.and_then(|()| self.workers()).and_then(|workers| inside(&workers));
            let client = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // Why nothing arrives is known best by the client.
            client.with_context(|| format!("by way of {}", self.name()))?;
            result
        })
    }

    /// Waits for a client's first packets to reach home, as long as it is not `over`.
    fn wait_for_packets(&self, over: impl Fn() -> bool) -> Result<()> {
        let before = Counts::now(&self.lan)?;
        // Nothing has come as long as there are no figures.
        while !over() && Counts::now(&self.lan)?.since(&before).is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Those who do home's work now.
    fn workers(&self) -> Result<HashSet<u32>> {
        let receivers = self.lan.receivers().iter().map(|thread| thread.as_raw().unsigned_abs());
        Ok(processes::of(self.lan.home.id()?)?.into_iter().chain(receivers).collect())
    }

    /// What is seen in `duration`; none if nothing comes.
    fn watch(&self, workers: &HashSet<u32>, duration: Duration) -> Result<Option<Window>> {
        let account = || Account::of(workers.iter().copied());
        let before = Counts::now(&self.lan)?;
        let (start, work) = (Instant::now(), account()?);
        thread::sleep(duration);
        let (elapsed, work) = (start.elapsed(), account()?.since(&work));
        interrupt::check()?;
        let counted = Counts::now(&self.lan)?.since(&before);
        Ok(counted.map(|(packets, passes)| Window { packets, passes, elapsed, work }))
    }
}
