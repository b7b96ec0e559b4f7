//! What redirectd has counted, read from its pinned maps: its API would count
//! all flows for each answer, and meanwhile next hops grow old.

use std::path::Path;

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{Map, MapData, PerCpuArray},
};
use redirectd_ebpf::{
    abi::{SlotCounters, Traffic},
    reason::Reason,
};

/// The maps with redirectd's counters.
pub(super) struct Counters {
    slots: PerCpuArray<MapData, SlotCounters>,
    reasons: PerCpuArray<MapData, Traffic>,
}

/// What was counted, in packets or flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Translated towards the host.
    pub(super) translated: u64,
    /// Flows opened.
    pub(super) opened: u64,
    /// ICMP errors translated.
    pub(super) icmp: u64,
    /// Named by no flow and no redirect.
    pub(super) no_redirect: u64,
    /// Left by XDP to tc.
    pub(super) handed: u64,
    /// Held, as its process is being moved.
    pub(super) held: u64,
}

impl Counters {
    /// Those pinned in `pins`.
    ///
    /// # Errors
    /// There are none, or of another layout.
    pub(super) fn open(pins: &Path) -> Result<Self> {
        Ok(Self { slots: map(pins, "SLOT_COUNTERS")?, reasons: map(pins, "REASONS")? })
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// The maps cannot be read.
    pub(super) fn now(&self) -> Result<Counted> {
        let mut counted = Counted {
            icmp: self.reason(Reason::IcmpTranslated)?,
            no_redirect: self.reason(Reason::NoRedirect)?,
            handed: self.reason(Reason::HandedToTc)?,
            held: self.reason(Reason::Parked)?,
            ..Counted::default()
        };
        for slot in 0..self.slots.len() {
            for of_processor in self.slots.get(&slot, 0)?.iter() {
                counted.translated += of_processor.to_host.packets;
                counted.opened += of_processor.opened;
            }
        }
        Ok(counted)
    }

    fn reason(&self, reason: Reason) -> Result<u64> {
        let traffic = self.reasons.get(&(reason as u32), 0)?;
        Ok(traffic.iter().map(|of_processor| of_processor.packets).sum())
    }
}

impl Counted {
    /// What was counted since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            translated: self.translated - before.translated,
            opened: self.opened - before.opened,
            icmp: self.icmp - before.icmp,
            no_redirect: self.no_redirect - before.no_redirect,
            handed: self.handed - before.handed,
            held: self.held - before.held,
        }
    }
}

fn map<T: Pod>(pins: &Path, name: &str) -> Result<PerCpuArray<MapData, T>> {
    let data = MapData::from_pin(pins.join(name))
        .with_context(|| format!("redirectd has pinned no {name}"))?;
    PerCpuArray::try_from(Map::PerCpuArray(data))
        .with_context(|| format!("{name} is another map than expected"))
}
