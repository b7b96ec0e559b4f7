//! What the daemon asks of the packet path, whoever provides it.
//!
//! [`Dataplane`] is the seam: `bpf` is the kernel's side and the only user of
//! aya, `fake` is for tests of logic. One owner holds it; no method is called
//! concurrently.

pub mod bpf;
pub mod fake;
mod group;

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::group::{Connection, Group, GroupInfo, Held, HeldFlow, Phase, Relocation, Replayed};
use crate::{
    error::Error,
    rule::{Protocol, Redirect},
};

/// The place of a redirect in the kernel's tables. It stays the redirect's own
/// as long as the redirect or any of its flows exists.
pub type Slot = u32;

/// What a redirect does with packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// New flows are taken, open ones go on.
    Active,
    /// The redirect was removed; open flows go on, new ones are not taken.
    Draining,
}

/// A redirect as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Where it is.
    pub slot: Slot,
    /// What it is.
    pub redirect: Redirect,
    /// What it does now.
    pub state: State,
}

/// What becomes of the open flows of a redirect that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// They go on to their end; the slot drains.
    #[default]
    Drain,
    /// They are cut: from now on their packets are home's own again.
    Cut,
}

/// One step of a change of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new redirect.
    Add(Redirect),
    /// The redirect of that name becomes this one. Its slot is kept, and with it
    /// its counters; `flows` of the new redirect says whether open flows follow.
    Update {
        /// As it is.
        from: Redirect,
        /// As it will be; the same name.
        to: Redirect,
    },
    /// The redirect goes.
    Remove {
        /// As it is.
        redirect: Redirect,
        /// What becomes of its open flows.
        removal: Removal,
    },
}

/// One flow, both directions together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowInfo {
    /// The redirect that made it.
    pub slot: Slot,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The peer's endpoint.
    pub peer: (IpAddr, u16),
    /// The home endpoint the peer sends to.
    pub home: (IpAddr, u16),
    /// The endpoint on the host.
    pub host: (IpAddr, u16),
    /// Home's port towards the host (the SNAT side).
    pub snat_port: u16,
    /// Its state.
    pub state: FlowState,
    /// Time since the last packet in either direction.
    pub idle: Duration,
    /// Packets and bytes (IP length) from the peer to the host.
    pub to_host: Traffic,
    /// Packets and bytes (IP length) from the host to the peer.
    pub to_peer: Traffic,
}

/// The state of a flow, as far as its timers care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// The handshake is not complete, or nothing has come back yet (UDP).
    HalfOpen,
    /// Both sides have spoken.
    Established,
    /// A FIN was seen from one side.
    HalfClosed,
    /// FINs from both sides, or a RST.
    Closed,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes: of what was translated the IP length, of what was passed or
    /// dropped the length of the frame, which need not be IP.
    pub bytes: u64,
}

/// Counters of one redirect since it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RedirectCounters {
    /// From peers to the host.
    pub to_host: Traffic,
    /// From the host to peers.
    pub to_peer: Traffic,
    /// Flows taken.
    pub flows_opened: u64,
    /// New flows refused: table full, ports exhausted.
    pub flows_refused: u64,
}

/// One counted reason: what was done with packets, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// A stable identifier, such as `no_redirect`.
    pub reason: String,
    /// `translated`, `passed` (to the kernel, untouched), `dropped`, or `held` (to be
    /// delivered later).
    pub verdict: String,
    /// One sentence for people.
    pub meaning: String,
    /// Packets and bytes.
    pub traffic: Traffic,
}

/// How full a table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// `flows`, `half_open`, `redirects`, …
    pub table: String,
    /// Entries in it.
    pub used: u64,
    /// Entries it can hold.
    pub size: u64,
}

/// Idle timers (RFC 4787 REQ-5, RFC 5382 REQ-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timers {
    /// TCP, both sides have spoken and neither has closed.
    pub tcp_established: Duration,
    /// TCP, not yet open or already closing.
    pub tcp_transitory: Duration,
    /// UDP, both sides have spoken.
    pub udp: Duration,
    /// UDP, nothing has come back yet.
    pub udp_unreplied: Duration,
}

/// Where the programs are to run on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// Native XDP where the driver really has it, else tc.
    #[default]
    Auto,
    /// Native XDP, with tc behind it for what XDP hands on.
    Xdp,
    /// tc only.
    Tc,
}

/// An interface with the programs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The interface.
    pub interface: String,
    /// What was asked for.
    pub asked: Attach,
    /// What runs: `xdp+tcx`, `tcx`, `xdp+clsact`, `clsact`.
    pub running: String,
    /// Other programs on the same hooks, by id and name.
    pub neighbours: Vec<String>,
}

/// The packet path, as the daemon sees it.
pub trait Dataplane: Send {
    /// All redirects the kernel has, draining ones included. After a restart
    /// this is what the daemon adopts.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn installed(&self) -> Result<Vec<Installed>, Error>;

    /// Carries out `changes` in order; all of them, or, when an error is
    /// returned, none.
    ///
    /// # Errors
    /// A table is full or cannot be written.
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error>;

    /// Calls `visit` for each flow. Flows that come or go meanwhile may be
    /// missed.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn flows(&self, visit: &mut dyn FnMut(FlowInfo)) -> Result<(), Error>;

    /// Removes the flows whose timers have run out and frees the slots that
    /// have drained; returns how many flows were removed.
    ///
    /// # Errors
    /// When a table cannot be read or written.
    fn expire(&mut self, timers: &Timers) -> Result<u64, Error>;

    /// Counters of each slot.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn counters(&self, slot: Slot) -> Result<RedirectCounters, Error>;

    /// Every reason with its count, those at zero included.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn reasons(&self) -> Result<Vec<ReasonCount>, Error>;

    /// How full the tables are.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn tables(&self) -> Result<Vec<TableUse>, Error>;

    /// Puts the programs on `interface`, or leaves them if they already are.
    /// With `replace`, pushes out an XDP program that is in the way.
    ///
    /// # Errors
    /// No such interface, another program is in the way, the kernel refuses.
    fn attach(&mut self, interface: &str, attach: Attach, replace: bool)
    -> Result<Attached, Error>;

    /// Takes the programs off `interface`.
    ///
    /// # Errors
    /// When the kernel refuses; not when they are already off.
    fn detach(&mut self, interface: &str) -> Result<(), Error>;

    /// Where the programs run.
    fn attached(&self) -> Vec<Attached>;

    /// Makes a group of redirects that are about to move. Where they will lead
    /// is staged; nothing changes for packets. Until the group is dissolved its
    /// redirects cannot be changed otherwise, and their flows do not expire.
    ///
    /// # Errors
    /// A redirect is not there as told, moves already, or changes more than its
    /// target; too many moves at a time; packets cannot be held here.
    fn group_begin(&mut self, relocation: &Relocation) -> Result<Group, Error>;

    /// From now on packets for the group's redirects are held. One write.
    ///
    /// # Errors
    /// No such group, or it has come further; the kernel refuses.
    fn group_park(&mut self, group: Group) -> Result<(), Error>;

    /// Prepares `connections` at the new host: their way back counts at once,
    /// their way there from the commit on. Each comes back with the port that
    /// home has towards the host.
    ///
    /// # Errors
    /// No such group, or it has come further; a port is another flow's, or the
    /// table of flows is full: then none of them is prepared.
    fn group_return(
        &mut self,
        group: Group,
        connections: &[Connection],
    ) -> Result<Vec<Connection>, Error>;

    /// The flip: the redirects lead to their new targets. One write. Packets go
    /// on being held until [`Dataplane::group_replay`] has delivered those before
    /// them.
    ///
    /// # Errors
    /// No such group, or it is decided; the kernel refuses.
    fn group_commit(&mut self, group: Group) -> Result<(), Error>;

    /// The same, but packets that come are held until [`Dataplane::group_replay`] even if
    /// none has been before.
    ///
    /// # Errors
    /// As [`Dataplane::group_commit`].
    fn group_commit_held(&mut self, group: Group) -> Result<(), Error>;

    /// The redirects stay where they lead. One write. Packets go on being held
    /// until [`Dataplane::group_replay`] has delivered those before them.
    ///
    /// # Errors
    /// No such group, or it is decided; the kernel refuses.
    fn group_abort(&mut self, group: Group) -> Result<(), Error>;

    /// What the group has held so far.
    ///
    /// # Errors
    /// No such group; the counters cannot be read.
    fn group_held(&self, group: Group) -> Result<Held, Error>;

    /// Delivers what was held, in order, to where the redirects lead now, and
    /// dissolves the group.
    ///
    /// # Errors
    /// No such group, or it is not decided yet; a table cannot be written: the
    /// group is then still there.
    fn group_replay(&mut self, group: Group) -> Result<Replayed, Error>;

    /// All groups; after a restart, those that an earlier daemon has left.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn groups(&self) -> Result<Vec<GroupInfo>, Error>;
}
