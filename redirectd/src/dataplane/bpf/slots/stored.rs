//! Words, records and locations of slots, as they are in the maps.

use redirectd_ebpf::abi::{Location, Record, SlotWord};

use crate::{
    dataplane::{
        Slot,
        bpf::{
            entries,
            family::words,
            maps::{Maps, failed},
        },
    },
    error::Error,
    rule::Redirect,
};

pub(super) fn set_word(maps: &mut Maps, slot: Slot, word: SlotWord) -> Result<(), Error> {
    maps.slots.set(slot, word, 0).map_err(|error| failed("write", "SLOTS", &error))
}

pub(super) fn set_record(maps: &mut Maps, slot: Slot, record: Option<Record>) -> Result<(), Error> {
    let result = match record {
        Some(record) => maps.records.insert(slot, record, 0),
        None => entries::ignore_absent(maps.records.remove(&slot)),
    };
    result.map_err(|error| failed("write", "RECORDS", &error))
}

pub(super) fn read_location(maps: &Maps, index: u32) -> Result<Location, Error> {
    maps.locations.get(&index, 0).map_err(|error| failed("read", "LOCATIONS", &error))
}

/// Writes the location that `word` makes the slot's.
pub(super) fn write_location(
    maps: &mut Maps,
    slot: Slot,
    word: SlotWord,
    redirect: &Redirect,
    follow_from: u32,
) -> Result<Location, Error> {
    let location = Location {
        address: words(redirect.target),
        port: redirect.target_port,
        home_port: redirect.ports.first(),
        follow_from,
    };
    maps.locations
        .set(word.location(slot), location, 0)
        .map_err(|error| failed("write", "LOCATIONS", &error))?;
    Ok(location)
}
