//! For user space: aya may read and write these, as they are bytes and nothing else.

use aya::Pod;

use super::{
    Addr, Endpoint, Entry, Flow, FlowKey, Location, Neighbour, PeerPrefix, Record, Settings,
    SlotCounters, SlotWord, Station, Traffic,
};
use crate::group::{GroupCounts, GroupWord};

macro_rules! pod {
    ($($t:ty),* $(,)?) => {$(
        // SAFETY: repr(C), Copy, 'static, without padding (asserted in `abi`)
        // and without invalid bit patterns.
        unsafe impl Pod for $t {}
    )*};
}

pod!(
    Neighbour,
    Station,
    Entry,
    SlotWord,
    Location,
    Traffic,
    SlotCounters,
    Settings,
    Record,
    GroupWord,
    GroupCounts
);

macro_rules! family_pod {
    ($($t:ident),* $(,)?) => {$(
        // SAFETY: as above, for both types of address there are.
        unsafe impl<A: Addr + Pod> Pod for $t<A> {}
    )*};
}

family_pod!(FlowKey, Flow, Endpoint, PeerPrefix);
