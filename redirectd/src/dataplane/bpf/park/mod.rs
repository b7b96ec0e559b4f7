//! Packets for processes that are being moved: kept here, and delivered.
//!
//! The programs copy a held packet into a ring buffer ([`queue`], [`drain`]). To
//! deliver it, it is sent ([`socket`]) out of the interface it came in by, where
//! a program turns it round ([`turn`]), so that it comes in again ([`replay`]).

mod drain;
mod frame;
mod queue;
mod replay;
mod retransmission;
mod settled;
mod socket;
mod turn;

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};

pub(super) use self::replay::{counts, forget, set_gate};
use self::{drain::Drain, queue::Queues, socket::Sender, turn::Turns};
use crate::{
    dataplane::{Attached, Group, HeldFlow, bpf::maps::Maps},
    error::{Error, Kind},
};

/// Everything that is needed to hold packets and to deliver them.
pub(super) struct Parking {
    queues: Arc<Mutex<Queues>>,
    ring: OwnedFd,
    /// What is there only while there are groups.
    machinery: Option<Machinery>,
    /// Groups that were dissolved a moment ago.
    closed: Vec<Group>,
}

struct Machinery {
    sender: Sender,
    turns: Turns,
    _drain: Drain,
}

impl Parking {
    pub(super) fn new(ring: RingBuf<MapData>) -> Result<Self, Error> {
        let fd = ring.as_fd().try_clone_to_owned().map_err(|error| failed("follow", &error))?;
        let queues = Arc::new(Mutex::new(Queues::new(ring)));
        Ok(Self { queues, ring: fd, machinery: None, closed: Vec::new() })
    }

    /// Makes ready to hold packets of `group` that come in by the interfaces. `done`
    /// of them were delivered by an earlier daemon.
    pub(super) fn open(
        &mut self,
        ebpf: &mut Ebpf,
        (group, done): (Group, u64),
        interfaces: &[Attached],
    ) -> Result<(), Error> {
        if self.machinery.is_none() {
            let sender = Sender::open().map_err(|error| no_socket(&error))?;
            let ring = self.ring.try_clone().map_err(|error| failed("follow", &error))?;
            let drain =
                Drain::start(&self.queues, ring).map_err(|error| failed("follow", &error))?;
            self.machinery = Some(Machinery { sender, turns: Turns::default(), _drain: drain });
        }
        for attached in interfaces {
            self.follow(ebpf, attached)?;
        }
        self.queues().open(group, done);
        Ok(())
    }

    /// The programs are on one more interface.
    pub(super) fn follow(&mut self, ebpf: &mut Ebpf, attached: &Attached) -> Result<(), Error> {
        let Some(machinery) = &mut self.machinery else { return Ok(()) };
        let clsact = attached.running.ends_with("clsact");
        machinery.turns.put_on(ebpf, &attached.interface, clsact)
    }

    /// The group is no more. What a processor is about to hold for it at this very
    /// moment is still taken, until [`Parking::tidy`].
    pub(super) fn close(&mut self, group: Group) {
        self.closed.push(group);
    }

    /// Delivers what came for groups that were just closing. Without any `others`,
    /// takes the program off the interfaces and ends the thread.
    pub(super) fn tidy(&mut self, maps: &mut Maps, others: bool) -> Result<(), Error> {
        for group in std::mem::take(&mut self.closed) {
            self.deliver_late(maps, group)?;
            self.queues().close(group);
        }
        if !others && self.machinery.is_some() {
            self.machinery = None;
            self.queues().drain();
            forget(maps)?;
        }
        Ok(())
    }

    /// What was held of each flow of `group`.
    pub(super) fn flows(&self, group: Group) -> Vec<HeldFlow> {
        let mut queues = self.queues();
        queues.drain();
        queues.get(group).map(|queue| queue.flows()).unwrap_or_default()
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::new(Kind::Failed, format!("cannot {what} held packets: {error}"))
}

fn no_socket(error: &io::Error) -> Error {
    let what = format!("cannot open a packet socket, by which held packets are delivered: {error}");
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Error::new(Kind::NotPermitted, what)
            .cure("start redirectd as root, or add CAP_NET_RAW to its capabilities");
    }
    Error::new(Kind::Failed, what).cure("the kernel needs CONFIG_PACKET")
}
