//! How long processors were busy, by the idle time that the kernel counts.
//!
//! Busy is what is neither idle nor stolen (taken by the machine this one is a
//! guest of): so no kind of work is overlooked, interrupts and threads of the
//! kernel included. The kernel counts in ticks of 10 ms.

use std::{fs, time::Instant};

use anyhow::{Context, Result};

/// Ticks a second in /proc/stat; the same on all architectures Linux has NAPI on.
const TICKS: f64 = 100.0;

/// One processor's share of busy time, from [`Self::start`] on: home's, where
/// it does nothing but home's work.
#[derive(Debug)]
pub(crate) struct HomeCpu {
    processor: usize,
    started: Instant,
    /// Seconds it was not busy, before.
    before: f64,
}

impl HomeCpu {
    /// Begins to measure `processor`.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn start(processor: usize) -> Result<Self> {
        Ok(Self { processor, started: Instant::now(), before: spare_of(processor)? })
    }

    /// The share of the time since the start that it was busy, 0 to 1.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn busy(&self) -> Result<f64> {
        let spare = spare_of(self.processor)? - self.before;
        Ok(busy(self.started.elapsed().as_secs_f64(), spare))
    }
}

/// What all processors together have done, from [`Self::start`] on.
#[derive(Debug)]
pub(crate) struct MachineCpu {
    started: Instant,
    before: Vec<f64>,
}

impl MachineCpu {
    /// Begins to measure.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { started: Instant::now(), before: spare()?.into_iter().map(|s| s.1).collect() })
    }

    /// Seconds of work since the start, of all processors together.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn seconds(&self) -> Result<f64> {
        let now = spare()?;
        let wall = self.started.elapsed().as_secs_f64();
        let busy =
            now.iter().zip(&self.before).map(|(now, before)| wall * busy(wall, now.1 - before));
        Ok(busy.sum())
    }
}

/// The share of `wall` that is not in `spare`, both in seconds; ticks may make
/// it a little less or more than there can be.
fn busy(wall: f64, spare: f64) -> f64 {
    (1.0 - spare / wall).clamp(0.0, 1.0)
}

fn spare_of(processor: usize) -> Result<f64> {
    let all = spare()?;
    let found = all.iter().find(|one| one.0 == processor);
    Ok(found.with_context(|| format!("/proc/stat knows no processor {processor}"))?.1)
}

/// Seconds that each processor was idle or taken away, since the machine began.
fn spare() -> Result<Vec<(usize, f64)>> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    Ok(text.lines().filter_map(spare_in).collect())
}

/// As [`spare`], of the processor that `line` is about.
fn spare_in(line: &str) -> Option<(usize, f64)> {
    let mut words = line.strip_prefix("cpu")?.split(' ');
    let processor = words.next()?.parse().ok()?;
    let ticks: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    Some((processor, (ticks.get(3)? + ticks.get(4)? + ticks.get(7)?) / TICKS))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::processor;

    /// The share of `processor` that is busy while `meanwhile` runs, of the time in
    /// which it was this machine's: what another took is nobody's idleness here.
    pub(crate) fn busy_while_there(processor: usize, meanwhile: impl FnOnce()) -> f64 {
        let (cpu, before) = (HomeCpu::start(processor).unwrap(), stolen(processor));
        meanwhile();
        let (share, wall) = (cpu.busy().unwrap(), cpu.started.elapsed().as_secs_f64());
        share * wall / (wall - (stolen(processor) - before)).max(1.0 / TICKS)
    }

    /// Seconds that `processor` was taken away, since the machine began.
    fn stolen(processor: usize) -> f64 {
        let text = fs::read_to_string("/proc/stat").unwrap();
        let name = format!("cpu{processor}");
        let line = text.lines().find(|line| line.split(' ').next() == Some(&name)).unwrap();
        line.split(' ').nth(8).unwrap().parse::<f64>().unwrap() / TICKS
    }

    #[test]
    fn idle_waiting_and_stolen_time_is_spare() {
        assert_eq!(spare_in("cpu1 1 2 3 400 50 6 7 100 9 10"), Some((1, 5.5)));
        assert_eq!(spare_in("cpu  1 2 3 400 50 6 7 100 9 10"), None);
        assert_eq!(spare_in("intr 1 2 3"), None);
    }

    #[test]
    fn the_rest_is_busy() {
        assert_eq!(busy(2.0, 0.5), 0.75);
        assert_eq!(busy(2.0, 2.01), 0.0);
    }

    #[test]
    fn one_who_works_is_seen() {
        const SECONDS: f64 = 0.3;
        let _alone = processor::tests::alone();
        let processor = processor::last().unwrap();
        let spin = move || {
            processor::occupy(processor).unwrap();
            let (machine, before) = (MachineCpu::start().unwrap(), stolen(processor));
            let busy = busy_while_there(processor, || {
                let start = Instant::now();
                while start.elapsed().as_secs_f64() < SECONDS {}
            });
            (busy, machine.seconds().unwrap(), stolen(processor) - before)
        };
        let (busy, seconds, stolen) = std::thread::spawn(spin).join().unwrap();
        assert!(busy > 0.8, "{busy}");
        assert!(seconds > 0.8 * (SECONDS - stolen), "{seconds}, and {stolen} stolen");
    }
}
