//! Counters and how full the tables are.

use aya::maps::{MapData, PerCpuValues};
use redirectd_ebpf::{
    abi,
    reason::{Fate, Reason},
};

use super::{
    flows,
    maps::{Maps, failed},
};
use crate::{
    dataplane::{ReasonCount, RedirectCounters, Slot, TableUse, Traffic},
    error::{Error, Kind},
};

fn add(sum: &mut Traffic, traffic: abi::Traffic) {
    sum.packets += traffic.packets;
    sum.bytes += traffic.bytes;
}

/// Counters of one slot, summed over the processors.
pub(super) fn of_slot(maps: &Maps, slot: Slot) -> Result<RedirectCounters, Error> {
    let values = slot_values(maps, slot)?;
    let mut sum = RedirectCounters::default();
    for counters in values.iter() {
        add(&mut sum.to_host, counters.to_host);
        add(&mut sum.to_peer, counters.to_peer);
        sum.flows_opened += counters.opened;
        sum.flows_refused += counters.refused;
    }
    Ok(sum)
}

fn slot_values(maps: &Maps, slot: Slot) -> Result<PerCpuValues<abi::SlotCounters>, Error> {
    maps.slot_counters.get(&slot, 0).map_err(|error| failed("read", "SLOT_COUNTERS", &error))
}

/// Sets the counters of a slot to zero, for its next redirect.
pub(super) fn clear_slot(maps: &mut Maps, slot: Slot) -> Result<(), Error> {
    let zero = vec![abi::SlotCounters::default(); slot_values(maps, slot)?.len()];
    let zero = PerCpuValues::try_from(zero)
        .map_err(|error| Error::new(Kind::Failed, format!("cannot clear counters: {error}")))?;
    maps.slot_counters.set(slot, zero, 0).map_err(|error| failed("write", "SLOT_COUNTERS", &error))
}

/// All reasons, summed over the processors. What is translated without anything
/// more to say is counted by slots alone, so its sum is made from them.
pub(super) fn reasons(maps: &Maps) -> Result<Vec<ReasonCount>, Error> {
    let mut counts = Vec::with_capacity(Reason::ALL.len());
    for reason in Reason::ALL {
        let mut traffic = Traffic::default();
        if *reason == Reason::Translated {
            traffic = translated(maps)?;
        } else {
            let values = maps
                .reasons
                .get(&(*reason as u32), 0)
                .map_err(|error| failed("read", "REASONS", &error))?;
            values.iter().for_each(|value| add(&mut traffic, *value));
        }
        counts.push(ReasonCount {
            reason: reason.name().to_owned(),
            verdict: reason.fate().name().to_owned(),
            meaning: reason.meaning().to_owned(),
            traffic,
        });
    }
    let fragments: Traffic = total(&counts, &["fragment_translated"]);
    if let Some(all) = counts.iter_mut().find(|count| count.reason == "translated") {
        all.traffic.packets = all.traffic.packets.saturating_sub(fragments.packets);
        all.traffic.bytes = all.traffic.bytes.saturating_sub(fragments.bytes);
    }
    debug_assert!(Reason::Translated.fate() == Fate::Translated);
    Ok(counts)
}

fn total(counts: &[ReasonCount], names: &[&str]) -> Traffic {
    let mut sum = Traffic::default();
    for count in counts.iter().filter(|count| names.contains(&count.reason.as_str())) {
        sum.packets += count.traffic.packets;
        sum.bytes += count.traffic.bytes;
    }
    sum
}

fn translated(maps: &Maps) -> Result<Traffic, Error> {
    let mut sum = Traffic::default();
    for slot in 0..maps.slot_counters.len() {
        let word = maps.slots.get(&slot, 0).map_err(|error| failed("read", "SLOTS", &error))?;
        if word.generation() != 0 {
            let counters = of_slot(maps, slot)?;
            for traffic in [counters.to_host, counters.to_peer] {
                sum.packets += traffic.packets;
                sum.bytes += traffic.bytes;
            }
        }
    }
    Ok(sum)
}

/// How full the tables are; `redirects` is the number of slots in use.
pub(super) fn tables(maps: &Maps, redirects: u64) -> Result<Vec<TableUse>, Error> {
    let flows = flows::count_entries(&maps.v4.flows)? + flows::count_entries(&maps.v6.flows)?;
    let half_open =
        flows::count_entries(&maps.v4.half_open)? + flows::count_entries(&maps.v6.half_open)?;
    let settings = maps.settings.get(&0, 0).map_err(|error| failed("read", "SETTINGS", &error))?;
    let table = |table: &str, used, size| TableUse { table: table.to_owned(), used, size };
    let size_of = |map: &MapData| {
        map.info()
            .map(|info| u64::from(info.max_entries()))
            .map_err(|error| failed("look at", "HALF_OPEN4", &error))
    };
    Ok(vec![
        table("redirects", redirects, u64::from(maps.slots.len()) - 1),
        table("flows", flows / 2, settings.flows_max),
        table("half_open", half_open / 2, size_of(&maps.v4.half_open.data)? / 2),
    ])
}
