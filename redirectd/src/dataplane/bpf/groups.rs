//! Groups in the kernel: the steps of a move, each one write of the group's word
//! for all its redirects, and what is done before and after so that one write is
//! enough.

use std::collections::{BTreeMap, HashSet};

use redirectd_ebpf::group::{GROUPS, GroupCounts, GroupWord, NOT_YET, gate};

use super::{
    Bpf, connect, follow,
    maps::{Maps, failed},
    park::{self, Parking},
};
use crate::{
    dataplane::{Connection, Group, GroupInfo, Held, Phase, Relocation, Replayed, Slot, Traffic},
    error::{Error, Kind},
    rule::Redirect,
};

/// A redirect that moves.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub slot: Slot,
    pub from: Redirect,
    pub to: Redirect,
}

struct Entry {
    phase: Phase,
    members: Vec<Member>,
}

/// All groups.
#[derive(Default)]
pub(super) struct Groups {
    all: BTreeMap<Group, Entry>,
    /// The last number given away. All others come before it is its turn again,
    /// so that no packet can still be looking at a group that was dissolved.
    last: Group,
}

impl Groups {
    /// The groups that slots name: those an earlier daemon has left.
    pub(super) fn adopt(maps: &Maps, members: Vec<(Group, Member)>) -> Result<Self, Error> {
        let mut groups = Self::default();
        for (group, member) in members {
            let phase = phase(word(maps, group)?);
            let entry = groups.all.entry(group).or_insert(Entry { phase, members: Vec::new() });
            entry.members.push(member);
            groups.last = groups.last.max(group);
        }
        Ok(groups)
    }

    /// Slots whose flows must not expire.
    pub(super) fn slots(&self) -> HashSet<Slot> {
        self.all.values().flat_map(|entry| entry.members.iter().map(|one| one.slot)).collect()
    }

    /// The groups, each with how many of its held packets were delivered.
    pub(super) fn delivered(&self, maps: &Maps) -> Result<Vec<(Group, u64)>, Error> {
        let done = |group| {
            let done = word(maps, group)?.done();
            Ok((group, if done == NOT_YET { 0 } else { done }))
        };
        self.all.keys().copied().map(done).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn list(&self) -> Vec<GroupInfo> {
        let pair = |member: &Member| (member.from.clone(), member.to.clone());
        let info = |(group, entry): (&Group, &Entry)| GroupInfo {
            group: *group,
            phase: entry.phase,
            redirects: entry.members.iter().map(pair).collect(),
        };
        self.all.iter().map(info).collect()
    }

    /// Whether there is such a group.
    pub(super) fn check(&self, group: Group) -> Result<(), Error> {
        if self.all.contains_key(&group) { Ok(()) } else { Err(absent(group)) }
    }

    fn next_number(&self) -> Result<Group, Error> {
        let following = (1..GROUPS).map(|step| (self.last + step - 1) % (GROUPS - 1) + 1);
        following.into_iter().find(|group| !self.all.contains_key(group)).ok_or_else(|| {
            Error::new(Kind::Conflict, format!("{} processes are being moved", self.all.len()))
                .cure("wait until some of these moves have ended")
        })
    }

    fn get(&mut self, group: Group, phases: &[Phase]) -> Result<&mut Entry, Error> {
        let Some(entry) = self.all.get_mut(&group) else {
            return Err(absent(group));
        };
        if phases.contains(&entry.phase) {
            return Ok(entry);
        }
        let is = match entry.phase {
            Phase::Begun => "has only begun to move",
            Phase::Parked => "is parked and not decided yet",
            Phase::Committed => "has moved",
            Phase::Aborted => "was told to stay",
        };
        Err(Error::new(Kind::Conflict, format!("group {group} {is}")))
    }
}

fn absent(group: Group) -> Error {
    Error::new(Kind::NotFound, format!("there is no group {group}"))
}

/// How far a group with that word has come.
fn phase(word: GroupWord) -> Phase {
    match word.gate() {
        gate::PARKED => Phase::Parked,
        gate::NEXT_HELD | gate::NEXT => Phase::Committed,
        gate::BACK_HELD => Phase::Aborted,
        _ => Phase::Begun,
    }
}

/// The word of `group`.
pub(super) fn word(maps: &Maps, group: Group) -> Result<GroupWord, Error> {
    maps.groups.get(&group, 0).map_err(|error| failed("read", "GROUPS", &error))
}

/// What `group` has held.
pub(super) fn held(parking: &Parking, maps: &Maps, group: Group) -> Result<Held, Error> {
    let counts = park::counts(maps, group)?;
    Ok(Held {
        traffic: Traffic { packets: counts.packets, bytes: counts.bytes },
        overflow: Traffic { packets: counts.overflow_packets, bytes: counts.overflow_bytes },
        flows: parking.flows(group),
    })
}

impl Bpf {
    pub(super) fn begin(&mut self, relocation: &Relocation) -> Result<Group, Error> {
        relocation.check()?;
        let group = self.groups.next_number()?;
        self.maps
            .group_counts
            .set(group, GroupCounts::default(), 0)
            .map_err(|error| failed("write", "GROUP_COUNTS", &error))?;
        park::set_gate(&mut self.maps, group, GroupWord::new(gate::OPEN, 0))?;
        self.parking.open(&mut self.ebpf, (group, 0), &self.attached)?;
        match self.slots.enlist(&mut self.maps, group, relocation) {
            Ok(members) => {
                self.groups.all.insert(group, Entry { phase: Phase::Begun, members });
                self.groups.last = group;
                Ok(group)
            }
            Err(error) => {
                self.dismiss(group);
                Err(error)
            }
        }
    }

    pub(super) fn park(&mut self, group: Group) -> Result<(), Error> {
        self.step(group, &[Phase::Begun], GroupWord::new(gate::PARKED, 0))
    }

    pub(super) fn return_from(
        &mut self,
        group: Group,
        connections: &[Connection],
    ) -> Result<Vec<Connection>, Error> {
        let entry = self.groups.get(group, &[Phase::Begun, Phase::Parked])?;
        let mut claims = Vec::new();
        for connection in connections {
            let member = entry.members.iter().find(|member| is_of(&member.to, connection));
            let Some(member) = member else { return Err(foreign(group, connection)) };
            claims.push((self.slots.next_word(member.slot), member.slot, *connection));
        }
        connect::enter(&mut self.maps, &claims)
    }

    pub(super) fn commit(&mut self, group: Group) -> Result<(), Error> {
        self.decide(group, GroupWord::new(gate::NEXT_HELD, 0))
    }

    pub(super) fn commit_held(&mut self, group: Group) -> Result<(), Error> {
        self.decide(group, GroupWord::new(gate::NEXT_HELD, NOT_YET))
    }

    pub(super) fn abort(&mut self, group: Group) -> Result<(), Error> {
        self.decide(group, GroupWord::new(gate::BACK_HELD, 0))
    }

    fn decide(&mut self, group: Group, word: GroupWord) -> Result<(), Error> {
        self.step(group, &[Phase::Begun, Phase::Parked], word)
    }

    /// One write of the group's word, and with it of what all its slots mean.
    fn step(&mut self, group: Group, from: &[Phase], word: GroupWord) -> Result<(), Error> {
        let entry = self.groups.get(group, from)?;
        park::set_gate(&mut self.maps, group, word)?;
        entry.phase = phase(word);
        Ok(())
    }

    pub(super) fn replay(&mut self, group: Group) -> Result<Replayed, Error> {
        let entry = self.groups.get(group, &[Phase::Committed, Phase::Aborted])?;
        let committed = entry.phase == Phase::Committed;
        let members = entry.members.clone();
        let gates = match committed {
            true => (gate::NEXT_HELD, gate::NEXT),
            false => (gate::BACK_HELD, gate::OPEN),
        };
        let mut replayed = self.parking.deliver(&mut self.maps, group, gates)?;
        let leads = self.slots.settle(&mut self.maps, &members, committed)?;
        follow::bring_all_along(&mut self.maps, &leads)?;
        replayed.lost += self.parking.deliver_errors(&mut self.maps, group)?;
        self.dismiss(group);
        Ok(replayed)
    }

    fn dismiss(&mut self, group: Group) {
        self.groups.all.remove(&group);
        self.parking.close(group);
    }
}

/// Whether a connection is one of the redirect's.
fn is_of(redirect: &Redirect, connection: &Connection) -> bool {
    redirect.catches(connection.protocol, connection.peer.0, connection.home)
}

fn foreign(group: Group, connection: &Connection) -> Error {
    let Connection { protocol, peer, home, .. } = connection;
    let what = format!(
        "group {group} has no redirect for the {protocol} connection from {} port {} to {} port {}",
        peer.0, peer.1, home.0, home.1
    );
    Error::new(Kind::Conflict, what).cure("add a redirect for its home endpoint before the move")
}
