//! Groups: redirects that move together, those of one process.
//!
//! The way of a move: [`group_begin`] stages where the redirects will lead,
//! [`group_park`] holds the packets for them, [`group_return`] prepares the way
//! back from the new host, and [`group_commit`] or [`group_abort`] decides. Each
//! of these is one change of the kernel's tables, however many redirects there
//! are. [`group_replay`] then delivers what was held, and dissolves the group.
//!
//! [`group_begin`]: super::Dataplane::group_begin
//! [`group_park`]: super::Dataplane::group_park
//! [`group_return`]: super::Dataplane::group_return
//! [`group_commit`]: super::Dataplane::group_commit
//! [`group_abort`]: super::Dataplane::group_abort
//! [`group_replay`]: super::Dataplane::group_replay

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::Traffic;
use crate::{
    error::{Error, Kind},
    rule::{Protocol, Redirect},
};

/// The number of a group; no group has 0.
pub type Group = u32;

/// Where the redirects of a process are, and where they are to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocation {
    /// Each redirect as it is and as it will be: the same but for the target, the
    /// host's name, and what becomes of open flows, which all follow this move.
    pub redirects: Vec<(Redirect, Redirect)>,
}

impl Relocation {
    /// Whether each redirect changes in no other way than a move may.
    ///
    /// # Errors
    /// One does; of kind [`Kind::Conflict`].
    pub(super) fn check(&self) -> Result<(), Error> {
        for (from, to) in &self.redirects {
            let led = Redirect {
                target: to.target,
                target_port: to.target_port,
                host: to.host.clone(),
                flows: to.flows,
                ..from.clone()
            };
            if led != *to {
                let what = format!("redirect `{}` would change more than its target", from.name);
                return Err(Error::new(Kind::Conflict, what)
                    .cure("change the rest before the move or after it"));
            }
        }
        Ok(())
    }
}

/// A connection of the process that moves, as it will be at its new host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The peer's endpoint.
    pub peer: (IpAddr, u16),
    /// The home endpoint the peer sends to.
    pub home: (IpAddr, u16),
    /// The endpoint on the new host.
    pub host: (IpAddr, u16),
    /// Home's port towards the host (the SNAT side); 0 lets the packet path choose.
    pub snat_port: u16,
}

/// How far a group has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Packets go where they went before.
    Begun,
    /// Packets are held.
    Parked,
    /// The redirects lead to their new targets; what was held goes first.
    Committed,
    /// The redirects lead where they led before; what was held goes first.
    Aborted,
}

/// What a group has held so far, since it was begun.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// Packets and bytes held; bytes are those of whole frames.
    pub traffic: Traffic,
    /// Packets dropped for want of room to hold them.
    pub overflow: Traffic,
    /// What was held of each flow, in the order in which they came.
    pub flows: Vec<HeldFlow>,
}

impl Held {
    /// TCP segments that came again, of all flows.
    #[must_use]
    pub fn retransmissions(&self) -> u64 {
        self.flows.iter().map(|flow| flow.retransmissions).sum()
    }
}

/// What was held of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFlow {
    /// TCP or UDP; of an ICMP error, that of the packet it is about.
    pub protocol: Protocol,
    /// The peer's endpoint.
    pub peer: (IpAddr, u16),
    /// The home endpoint.
    pub home: (IpAddr, u16),
    /// Packets and bytes.
    pub traffic: Traffic,
    /// Those dropped for want of room, as far as there was room to note whose they
    /// are.
    #[serde(default)]
    pub overflow: Traffic,
    /// TCP segments with sequence numbers that had come already since the flow was
    /// parked, held or dropped: the peer has sent them again.
    #[serde(default)]
    pub retransmissions: u64,
}

/// What became of the packets that were held.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Replayed {
    /// What was held, those held while others were delivered included.
    pub held: Held,
    /// Packets of them that could not be delivered.
    pub lost: u64,
    /// From the first one delivered until nothing was held any more.
    pub took: Duration,
}

/// A group as the packet path has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its number.
    pub group: Group,
    /// How far it has come.
    pub phase: Phase,
    /// The redirects as they were and as they will be. After a restart, names of
    /// new hosts are not known, only their addresses.
    pub redirects: Vec<(Redirect, Redirect)>,
}
