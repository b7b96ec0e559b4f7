//! How long packets take, by the clock of the program that makes them.
//!
//! The system call that runs it takes 20 ms for itself (most of it asleep, while
//! the kernel takes down what it had set up for live frames), which is not what
//! is measured; and the time it reports is cut off to whole nanoseconds.

use std::time::Duration;

use anyhow::{Result, ensure};
use aya::{Ebpf, maps::Array};
use redirectd_bench_bpf::{CLOCKED, Position};

/// Packets, and the time from the first to the one after the last of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Packets.
    pub(crate) packets: u64,
    /// The time they took.
    pub(crate) elapsed: Duration,
}

/// Makes the programs in `bpf` count from 0, and take the flows in steps of
/// `stride` from where they were.
///
/// # Errors
/// The map cannot be read or written.
pub(crate) fn start(bpf: &mut Ebpf, stride: u32) -> Result<()> {
    let start = Position { stride, made: 0, first: 0, last: 0, ..position(bpf)? };
    set(bpf, start)
}

/// Makes flow `flow` of the first target the next one.
///
/// # Errors
/// The map cannot be read or written.
pub(crate) fn go_to(bpf: &mut Ebpf, flow: u32) -> Result<()> {
    let there = Position { target: 0, flow, ..position(bpf)? };
    set(bpf, there)
}

/// The pace of the packets made since [`start`], which must be `packets`; `None`
/// when they are too few to be timed.
///
/// # Errors
/// They are not as many, or the map cannot be read.
pub(crate) fn of(bpf: &Ebpf, packets: u32) -> Result<Option<Pace>> {
    let end = position(bpf)?;
    ensure!(end.made == u64::from(packets), "asked for {packets} packets, got {}", end.made);
    Ok(between_looks(&end))
}

fn set(bpf: &mut Ebpf, position: Position) -> Result<()> {
    let map = bpf.map_mut("POSITION").expect("the bench's programs have a map POSITION");
    Array::try_from(map)?.set(0, position, 0)?;
    Ok(())
}

fn position(bpf: &Ebpf) -> Result<Position> {
    let map = bpf.map("POSITION").expect("the bench's programs have a map POSITION");
    Ok(Array::try_from(map)?.get(&0, 0)?)
}

fn between_looks(end: &Position) -> Option<Pace> {
    let packets = end.made.checked_sub(1)? / CLOCKED * CLOCKED;
    let elapsed = Duration::from_nanos(end.last - end.first);
    (packets > 0).then_some(Pace { packets, elapsed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_between_two_looks_at_the_clock() {
        let end = |made| Position { made, first: 1_000, last: 3_000, ..Position::default() };
        let pace = |packets| Some(Pace { packets, elapsed: Duration::from_nanos(2_000) });
        assert_eq!(between_looks(&end(0)), None);
        // Packet 1,024 is the first to be clocked after packet 0.
        assert_eq!(between_looks(&end(1_024)), None);
        assert_eq!(between_looks(&end(1_025)), pace(1_024));
        assert_eq!(between_looks(&end(2_048)), pace(1_024));
        assert_eq!(between_looks(&end(2_049)), pace(2_048));
    }
}
