//! Groups in memory: the phases and their order as the packet path has them,
//! and packets that a test says were held.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{Fake, Kernel};
use crate::{
    dataplane::{
        Connection, FlowInfo, FlowState, Group, GroupInfo, Held, HeldFlow, Phase, Relocation,
        Replayed, Traffic,
    },
    error::{Error, Kind},
    rule::{Protocol, Redirect},
};

/// A call of the dataplane about a group, see [`Fake::fail_group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupCall {
    /// [`crate::dataplane::Dataplane::group_begin`]
    Begin,
    /// [`crate::dataplane::Dataplane::group_park`]
    Park,
    /// [`crate::dataplane::Dataplane::group_return`]
    Return,
    /// [`crate::dataplane::Dataplane::group_commit`]
    Commit,
    /// [`crate::dataplane::Dataplane::group_abort`]
    Abort,
    /// [`crate::dataplane::Dataplane::group_replay`]
    Replay,
}

impl Fake {
    /// Calls of that kind fail and change nothing; `None` heals it.
    pub fn fail_group(&self, call: Option<GroupCall>) {
        self.kernel().failures.group = call;
    }

    /// A packet of `bytes` from the peer's endpoint to the home endpoint comes
    /// while the group is parked.
    ///
    /// # Panics
    /// When the group is not parked.
    pub fn hold(&self, group: Group, protocol: Protocol, peer: &str, home: &str, bytes: u64) {
        let [peer, home] = [peer, home].map(|text| {
            let endpoint: std::net::SocketAddr = text.parse().expect("an endpoint");
            (endpoint.ip(), endpoint.port())
        });
        self.kernel().groups.hold(group, protocol, peer, home, bytes);
    }

    /// Of the flow that a packet was held of last, one more has found no room, and
    /// `retransmissions` were such.
    ///
    /// # Panics
    /// When nothing is held of the group.
    pub fn overflow(&self, group: Group, bytes: u64, retransmissions: u64) {
        let mut kernel = self.kernel();
        let entry = kernel.groups.get(group).expect("the group is there");
        let flow = entry.held.flows.last_mut().expect("something is held");
        flow.retransmissions += retransmissions;
        for sum in [&mut flow.overflow, &mut entry.held.overflow] {
            add(sum, Traffic { packets: 1, bytes });
        }
    }
}

/// All groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    all: BTreeMap<Group, Entry>,
    last: Group,
}

#[derive(Debug, Clone)]
struct Entry {
    phase: Phase,
    redirects: Vec<(Redirect, Redirect)>,
    connections: Vec<Connection>,
    held: Held,
}

/// What a commit changes.
pub(super) struct Moved {
    redirects: Vec<(Redirect, Redirect)>,
    connections: Vec<Connection>,
}

impl Groups {
    pub(super) fn begin(&mut self, relocation: &Relocation) -> Result<Group, Error> {
        relocation.check()?;
        for (from, _) in &relocation.redirects {
            self.keep_still(&from.name)?;
        }
        self.last += 1;
        let entry = Entry {
            phase: Phase::Begun,
            redirects: relocation.redirects.clone(),
            connections: Vec::new(),
            held: Held::default(),
        };
        self.all.insert(self.last, entry);
        Ok(self.last)
    }

    /// Refuses changes of a redirect that moves.
    pub(super) fn keep_still(&self, name: &str) -> Result<(), Error> {
        let moves = self
            .all
            .values()
            .any(|entry| entry.redirects.iter().any(|(from, _)| from.name == name));
        if moves {
            return Err(Error::new(Kind::Conflict, format!("redirect `{name}` is being moved"))
                .cure("wait until the move has ended, or abort it"));
        }
        Ok(())
    }

    pub(super) fn park(&mut self, group: Group) -> Result<(), Error> {
        self.step(group, &[Phase::Begun], Phase::Parked)
    }

    pub(super) fn abort(&mut self, group: Group) -> Result<(), Error> {
        self.step(group, &[Phase::Begun, Phase::Parked], Phase::Aborted)
    }

    pub(super) fn commit(&mut self, group: Group) -> Result<Moved, Error> {
        self.step(group, &[Phase::Begun, Phase::Parked], Phase::Committed)?;
        let entry = self.get(group)?;
        let (redirects, connections) = (entry.redirects.clone(), entry.connections.clone());
        Ok(Moved { redirects, connections })
    }

    pub(super) fn return_from(
        &mut self,
        group: Group,
        connections: &[Connection],
    ) -> Result<Vec<Connection>, Error> {
        self.step(group, &[Phase::Begun], Phase::Begun)
            .or_else(|_| self.step(group, &[Phase::Parked], Phase::Parked))?;
        let port = |connection: &Connection| match connection.snat_port {
            0 => connection.peer.1,
            port => port,
        };
        let entry = self.get(group)?;
        let with_ports = connections.iter().map(|one| Connection { snat_port: port(one), ..*one });
        entry.connections = with_ports.collect();
        Ok(entry.connections.clone())
    }

    pub(super) fn held(&self, group: Group) -> Result<Held, Error> {
        self.all.get(&group).map(|entry| entry.held.clone()).ok_or_else(|| absent(group))
    }

    pub(super) fn replay(&mut self, group: Group) -> Result<Replayed, Error> {
        self.step(group, &[Phase::Aborted], Phase::Aborted)
            .or_else(|_| self.step(group, &[Phase::Committed], Phase::Committed))?;
        let held = self.all.remove(&group).map(|entry| entry.held).unwrap_or_default();
        Ok(Replayed { held, lost: 0, took: Duration::ZERO })
    }

    pub(super) fn list(&self) -> Vec<GroupInfo> {
        let info = |(group, entry): (&Group, &Entry)| GroupInfo {
            group: *group,
            phase: entry.phase,
            redirects: entry.redirects.clone(),
        };
        self.all.iter().map(info).collect()
    }

    pub(super) fn hold(
        &mut self,
        group: Group,
        protocol: Protocol,
        peer: (IpAddr, u16),
        home: (IpAddr, u16),
        bytes: u64,
    ) {
        let entry = self.get(group).expect("the group is there");
        assert!(entry.phase == Phase::Parked, "the group is parked");
        let one = Traffic { packets: 1, bytes };
        let same =
            |flow: &&mut HeldFlow| (flow.protocol, flow.peer, flow.home) == (protocol, peer, home);
        match entry.held.flows.iter_mut().find(same) {
            Some(flow) => add(&mut flow.traffic, one),
            None => entry.held.flows.push(HeldFlow {
                protocol,
                peer,
                home,
                traffic: one,
                overflow: Traffic::default(),
                retransmissions: 0,
            }),
        }
        add(&mut entry.held.traffic, one);
    }

    fn step(&mut self, group: Group, from: &[Phase], to: Phase) -> Result<(), Error> {
        let entry = self.get(group)?;
        if !from.contains(&entry.phase) {
            let what = format!("group {group} is {:?} and cannot become {to:?}", entry.phase);
            return Err(Error::new(Kind::Conflict, what));
        }
        entry.phase = to;
        Ok(())
    }

    fn get(&mut self, group: Group) -> Result<&mut Entry, Error> {
        self.all.get_mut(&group).ok_or_else(|| absent(group))
    }
}

fn absent(group: Group) -> Error {
    Error::new(Kind::NotFound, format!("there is no group {group}"))
}

fn add(sum: &mut Traffic, more: Traffic) {
    sum.packets += more.packets;
    sum.bytes += more.bytes;
}

impl Kernel {
    /// Fails where a test says so.
    pub(super) fn call(&self, call: GroupCall) -> Result<(), Error> {
        if self.failures.group == Some(call) {
            return Err(Error::new(Kind::Failed, format!("{call:?} of a group fails, as told")));
        }
        Ok(())
    }

    /// Leads redirects to their new targets, and their flows with them.
    pub(super) fn relocate(&mut self, moved: &Moved) -> Result<(), Error> {
        for (from, to) in &moved.redirects {
            let slot = self.slot_of(from)?;
            if let Some((installed, _)) = self.redirects.get_mut(&slot) {
                installed.redirect = to.clone();
            }
            if to.is_at_home() {
                self.flows.retain(|flow| flow.slot != slot);
            }
            for flow in self.flows.iter_mut().filter(|flow| flow.slot == slot) {
                flow.host = (to.target, to.target_port);
            }
            for connection in moved.connections.iter().filter(|one| {
                one.home.0 == to.home
                    && to.ports.contains(one.home.1)
                    && to.protocols.contains(&one.protocol)
            }) {
                self.flows
                    .retain(|flow| (flow.peer, flow.home) != (connection.peer, connection.home));
                self.flows.push(FlowInfo {
                    slot,
                    protocol: connection.protocol,
                    peer: connection.peer,
                    home: connection.home,
                    host: connection.host,
                    snat_port: connection.snat_port,
                    state: FlowState::Established,
                    idle: Duration::ZERO,
                    to_host: Traffic::default(),
                    to_peer: Traffic::default(),
                });
            }
        }
        Ok(())
    }
}
