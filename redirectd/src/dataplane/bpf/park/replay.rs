//! Delivery of held packets: one after the other, each only when the one before
//! it has found its end, whatever processors they run on.

use std::{
    collections::VecDeque,
    sync::atomic::{Ordering, fence},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, MapData, PerCpuValues};
use redirectd_ebpf::{
    abi::count,
    group::{GroupCounts, GroupWord},
};
use tracing::warn;

use super::{Machinery, Parking, failed, queue::Packet, settled::Settled};
use crate::{
    dataplane::{
        Group, Replayed,
        bpf::maps::{self, Maps},
    },
    error::Error,
};

/// How long a packet may take from the socket to the programs. The first that
/// takes longer shows that something is in the way, and the rest need not wait
/// as long.
const PATIENCE: Duration = Duration::from_millis(50);
/// See [`PATIENCE`].
const IMPATIENCE: Duration = Duration::from_millis(1);

/// How long packets that come during the delivery may hold up its end. Beyond it
/// the gate is opened, and order between the last held ones and those that come
/// after them is given up.
const LONGEST: Duration = Duration::from_secs(5);

/// How long a packet that was counted may take to appear in the ring buffer.
const COMMIT: Duration = Duration::from_millis(5);

impl Parking {
    /// Delivers what `group` has held, but for ICMP errors, until nothing is held
    /// any more: `held` is the gate behind which packets wait for those before
    /// them, `open` that behind which nothing waits.
    pub(in crate::dataplane::bpf) fn deliver(
        &mut self,
        maps: &mut Maps,
        group: Group,
        (held, open): (u8, u8),
    ) -> Result<Replayed, Error> {
        let _settled = Settled::here();
        let started = Instant::now();
        let (mut lost, mut lagging) = (0, false);
        loop {
            let counts = counts(maps, group)?;
            let (packets, missing) = self.take(group, counts.packets);
            lost += missing + self.send_all(maps, packets)?;
            set_gate(maps, group, GroupWord::new(held, counts.packets))?;
            wait_for_those_between(maps, started)?;
            if self::counts(maps, group)?.packets == counts.packets {
                break;
            }
            if started.elapsed() > LONGEST {
                warn!(group, "packets come faster than held ones are delivered; order is given up");
                lagging = true;
                break;
            }
        }
        let took = started.elapsed();
        let done = counts(maps, group)?.packets;
        set_gate(maps, group, GroupWord::new(open, done))?;
        if lagging {
            let (packets, missing) = self.take(group, done);
            lost += missing + self.send_all(maps, packets)?;
        }
        Ok(Replayed { held: super::super::groups::held(self, maps, group)?, lost, took })
    }

    /// What was held and not yet delivered, and how many more must have been; waits
    /// until all that was `counted` is there.
    fn take(&self, group: Group, counted: u64) -> (VecDeque<Packet>, u64) {
        let started = Instant::now();
        loop {
            let mut queues = self.queues();
            queues.drain();
            let Some(queue) = queues.get(group) else { return (VecDeque::new(), 0) };
            if queue.received >= counted || started.elapsed() > COMMIT {
                // What an earlier daemon has taken with it is never received.
                let missing = counted.saturating_sub(queue.received);
                queue.received += missing;
                return (std::mem::take(&mut queue.packets), missing);
            }
            drop(queues);
            thread::yield_now();
        }
    }

    /// Delivers what a processor was about to hold when nothing was held any more.
    pub(super) fn deliver_late(&mut self, maps: &mut Maps, group: Group) -> Result<(), Error> {
        let (packets, _) = self.take(group, 0);
        self.send_all(maps, packets)?;
        self.deliver_errors(maps, group).map(drop)
    }

    /// Delivers the ICMP errors that `group` has held; returns how many were lost.
    pub(in crate::dataplane::bpf) fn deliver_errors(
        &mut self,
        maps: &mut Maps,
        group: Group,
    ) -> Result<u64, Error> {
        let errors = self.queues().get(group).map(|queue| std::mem::take(&mut queue.errors));
        self.send_all(maps, errors.unwrap_or_default())
    }

    /// Sends packets in order; returns how many were lost.
    fn send_all(&self, maps: &mut Maps, packets: VecDeque<Packet>) -> Result<u64, Error> {
        let Some(machinery) = &self.machinery else { return Ok(packets.len() as u64) };
        let bytes: u64 = packets.iter().map(|packet| u64::from(packet.header.length)).sum();
        let mut lost = 0;
        for packet in packets {
            let patience = if lost == 0 { PATIENCE } else { IMPATIENCE };
            lost += u64::from(!machinery.send(&maps.counts, &packet, patience)?);
        }
        add(&mut maps.counts, count::DONE_BYTES, bytes)?;
        Ok(lost)
    }
}

impl Machinery {
    /// Sends one packet and waits until it has found its end; false if it did not.
    fn send(
        &self,
        counts: &Array<MapData, u64>,
        packet: &Packet,
        patience: Duration,
    ) -> Result<bool, Error> {
        if !self.turns.are_on(packet.header.ifindex) {
            return Ok(false);
        }
        let before = read(counts, count::REPLAYED)?;
        if let Err(error) = self.sender.send(packet) {
            let error = failed("deliver", &error);
            warn!(ifindex = packet.header.ifindex, "{}", error.what);
            return Ok(false);
        }
        let sent = Instant::now();
        loop {
            // The clock first: what has been there in time is seen, however late one looks.
            let late = sent.elapsed() > patience;
            if read(counts, count::REPLAYED)? != before {
                return Ok(true);
            }
            if late {
                return Ok(false);
            }
            thread::yield_now();
        }
    }
}

/// What the programs have counted of `group`.
pub(in crate::dataplane::bpf) fn counts(maps: &Maps, group: Group) -> Result<GroupCounts, Error> {
    maps.group_counts.get(&group, 0).map_err(|error| maps::failed("read", "GROUP_COUNTS", &error))
}

/// Waits until every packet that was being asked when this is called, by a word that may be
/// older than the last, has got its answer and is counted if that is to be held. One that is
/// asked later sees the last word. `started` is when the delivery was.
fn wait_for_those_between(maps: &Maps, started: Instant) -> Result<(), Error> {
    fence(Ordering::SeqCst);
    let before = between(maps)?;
    loop {
        let now = between(maps)?;
        let mut processors = before.iter().zip(now.iter());
        let over = processors.all(|(before, now)| before % 2 == 0 || before != now);
        // The kernel lets no program take as long.
        if over || started.elapsed() > LONGEST {
            return Ok(());
        }
        thread::yield_now();
    }
}

fn between(maps: &Maps) -> Result<PerCpuValues<u64>, Error> {
    maps.between.get(&0, 0).map_err(|error| maps::failed("read", "BETWEEN", &error))
}

/// Writes the word of `group`.
pub(in crate::dataplane::bpf) fn set_gate(
    maps: &mut Maps,
    group: Group,
    word: GroupWord,
) -> Result<(), Error> {
    maps.groups.set(group, word, 0).map_err(|error| maps::failed("write", "GROUPS", &error))
}

fn read(counts: &Array<MapData, u64>, index: u32) -> Result<u64, Error> {
    counts.get(&index, 0).map_err(|error| maps::failed("read", "COUNTS", &error))
}

fn add(counts: &mut Array<MapData, u64>, index: u32, amount: u64) -> Result<(), Error> {
    let sum = read(counts, index)?.wrapping_add(amount);
    counts.set(index, sum, 0).map_err(|error| maps::failed("write", "COUNTS", &error))
}

/// Nothing is held any more, whatever became of what was: the room is free.
pub(in crate::dataplane::bpf) fn forget(maps: &mut Maps) -> Result<(), Error> {
    let held = read(&maps.counts, count::HELD_BYTES)?;
    maps.counts
        .set(count::DONE_BYTES, held, 0)
        .map_err(|error| maps::failed("write", "COUNTS", &error))
}
