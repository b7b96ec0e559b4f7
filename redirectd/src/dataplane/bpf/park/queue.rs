//! Held packets in user space: from the ring buffer into a queue for each group,
//! in the order in which they came.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    net::IpAddr,
};

use aya::maps::{MapData, RingBuf};
use redirectd_ebpf::group::{NOTED, ParkedHeader};

use super::{
    frame::{Origin, origin},
    retransmission::Numbers,
};
use crate::{
    dataplane::{Group, HeldFlow, Traffic},
    rule::Protocol,
};

/// A held packet.
pub(super) struct Packet {
    /// What the program has noted of it.
    pub(super) header: ParkedHeader,
    /// Its bytes.
    pub(super) frame: Vec<u8>,
}

/// What was held for one group.
#[derive(Default)]
pub(super) struct Queue {
    /// What is still to be delivered.
    pub(super) packets: VecDeque<Packet>,
    /// ICMP errors still to be delivered: last, when their flows are known to
    /// lead where they lead now.
    pub(super) errors: VecDeque<Packet>,
    /// How many have ever been in it, or need not come any more.
    pub(super) received: u64,
    flows: HashMap<FlowId, usize>,
    listed: Vec<Flow>,
}

type FlowId = (Protocol, (IpAddr, u16), (IpAddr, u16));

/// What is known of one flow.
struct Flow {
    held: HeldFlow,
    /// Which of the peer's TCP sequence numbers have come.
    numbers: Numbers,
}

/// So many notes of dropped packets are taken at once: more than there is room for in
/// the ring buffer, so that all that is held before them is reached; but a flood, which
/// may bring them faster than they are taken, is not waited for.
const NOTES_AT_ONCE: u32 = 1 << 16;

/// Of so many flows, those are noted too of which nothing was held, as there was no
/// room: whoever fills the room is not to fill the memory with what has none.
const NOTED_FLOWS: usize = 1 << 14;

/// All queues, and the ring buffer they are filled from.
pub(super) struct Queues {
    ring: RingBuf<MapData>,
    queues: HashMap<Group, Queue>,
}

impl Queues {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, queues: HashMap::new() }
    }

    /// Takes packets of `group` from now on; `done` of them were delivered by an
    /// earlier daemon.
    pub(super) fn open(&mut self, group: Group, done: u64) {
        // What an earlier group of that number has left is nobody's.
        self.queues.remove(&group);
        self.drain();
        self.queues.insert(group, Queue { received: done, ..Queue::default() });
    }

    /// Takes no more, and forgets those that are there.
    pub(super) fn close(&mut self, group: Group) {
        self.queues.remove(&group);
    }

    /// Moves what is in the ring buffer to the queues.
    pub(super) fn drain(&mut self) {
        let mut notes = 0;
        while notes < NOTES_AT_ONCE
            && let Some(record) = self.ring.next()
        {
            let Some((header, frame)) = split(&record) else { continue };
            notes += header.dropped;
            if let Some(queue) = self.queues.get_mut(&header.group) {
                queue.push(header, frame);
            }
        }
    }

    pub(super) fn get(&mut self, group: Group) -> Option<&mut Queue> {
        self.queues.get_mut(&group)
    }
}

impl Queue {
    fn push(&mut self, header: ParkedHeader, frame: &[u8]) {
        let origin = origin(frame, header.segment);
        if let Some(origin) = &origin {
            self.note(&header, origin);
        }
        if header.dropped != 0 {
            return;
        }
        self.received += 1;
        let packet = Packet { header, frame: frame.to_vec() };
        match origin {
            Some(Origin { error: true, .. }) => self.errors.push_back(packet),
            _ => self.packets.push_back(packet),
        }
    }

    fn note(&mut self, header: &ParkedHeader, origin: &Origin) {
        let &Origin { protocol, peer, home, .. } = origin;
        let (known, dropped) = (self.listed.len(), header.dropped != 0);
        let at = match self.flows.entry((protocol, peer, home)) {
            Entry::Occupied(there) => *there.get(),
            Entry::Vacant(_) if dropped && known >= NOTED_FLOWS => return,
            Entry::Vacant(free) => {
                let none = Traffic::default();
                let (traffic, overflow, retransmissions) = (none, none, 0);
                let held = HeldFlow { protocol, peer, home, traffic, overflow, retransmissions };
                self.listed.push(Flow { held, numbers: Numbers::default() });
                *free.insert(known)
            }
        };
        let Flow { held, numbers } = &mut self.listed[at];
        let traffic = if dropped { &mut held.overflow } else { &mut held.traffic };
        traffic.packets += 1;
        traffic.bytes += u64::from(header.length);
        if let Some(segments) = &origin.segments {
            held.retransmissions += numbers.take(segments);
        }
    }

    /// What was held of each flow.
    pub(super) fn flows(&self) -> Vec<HeldFlow> {
        self.listed.iter().map(|flow| flow.held).collect()
    }
}

/// A record's header and frame; nothing if it makes no sense.
fn split(record: &[u8]) -> Option<(ParkedHeader, &[u8])> {
    let (header, frame) = record.split_at_checked(size_of::<ParkedHeader>())?;
    // SAFETY: as many bytes as the header has, which is made of integers alone;
    // they need not be aligned.
    let header = unsafe { header.as_ptr().cast::<ParkedHeader>().read_unaligned() };
    let length = if header.dropped == 0 { header.length } else { header.length.min(NOTED) };
    Some((header, frame.get(..length as usize)?))
}
