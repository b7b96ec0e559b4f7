//! A dataplane in memory, for tests of the daemon's logic and of the command
//! line. The daemon that is shipped never uses it.
//!
//! It keeps the promises of [`Dataplane`] (slots stay, all or nothing, drained
//! slots are freed), refuses what the kernel would refuse for want of room, and
//! fails where a test tells it to. Clones share one state, as a pinned map does:
//! a test may drop the daemon and start another one on a clone.

mod groups;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use self::groups::GroupCall;
use self::groups::Groups;
use super::{
    Attach, Attached, Change, Connection, Dataplane, FlowInfo, FlowState, Group, GroupInfo, Held,
    Installed, ReasonCount, RedirectCounters, Relocation, Removal, Replayed, Slot, State, TableUse,
    Timers, Traffic,
};
use crate::{
    error::{Error, Kind},
    rule::{Flows, Protocol, Redirect},
};

/// A handle on the state in memory.
#[derive(Debug, Clone)]
pub struct Fake(Arc<Mutex<Kernel>>);

#[derive(Debug, Clone)]
struct Kernel {
    capacity: usize,
    interfaces: BTreeSet<String>,
    redirects: BTreeMap<Slot, (Installed, RedirectCounters)>,
    flows: Vec<FlowInfo>,
    attached: BTreeMap<String, Attached>,
    unredirected: Traffic,
    groups: Groups,
    failures: Failures,
}

#[derive(Debug, Clone, Default)]
struct Failures {
    change: Option<usize>,
    /// How many calls of `apply` succeed before all fail.
    healthy_applies: Option<usize>,
    attach: Option<String>,
    group: Option<GroupCall>,
}

impl Fake {
    /// Room for `capacity` redirects, on a machine with these interfaces and `lo`.
    #[must_use]
    pub fn new(capacity: usize, interfaces: &[&str]) -> Self {
        let interfaces = interfaces.iter().chain(&["lo"]).map(|&name| name.to_owned()).collect();
        Self(Arc::new(Mutex::new(Kernel {
            capacity,
            interfaces,
            redirects: BTreeMap::new(),
            flows: Vec::new(),
            attached: BTreeMap::new(),
            unredirected: Traffic::default(),
            groups: Groups::default(),
            failures: Failures::default(),
        })))
    }

    /// The `nth` change (from 0) of every coming [`Dataplane::apply`] fails;
    /// `None` heals it.
    pub fn fail_change(&self, nth: Option<usize>) {
        let failures = &mut self.kernel().failures;
        failures.change = nth;
        failures.healthy_applies = None;
    }

    /// After `healthy` more calls of [`Dataplane::apply`] all fail, until
    /// [`Fake::fail_change`] heals it.
    pub fn fail_after(&self, healthy: usize) {
        self.kernel().failures.healthy_applies = Some(healthy);
    }

    /// Attaching to `interface` fails; `None` heals it.
    pub fn fail_attach(&self, interface: Option<&str>) {
        self.kernel().failures.attach = interface.map(str::to_owned);
    }

    /// A peer opens a flow through the redirect of that name, and both sides
    /// have spoken.
    ///
    /// # Panics
    /// When there is no active redirect of that name.
    pub fn open_flow(&self, name: &str, protocol: Protocol, peer: &str) {
        let mut kernel = self.kernel();
        let peer: std::net::SocketAddr = peer.parse().expect("a peer's endpoint");
        let (installed, counters) = kernel
            .redirects
            .values_mut()
            .find(|(there, _)| there.redirect.name == name && there.state == State::Active)
            .expect("an active redirect of that name");
        let traffic = Traffic { packets: 10, bytes: 5_000 };
        counters.flows_opened += 1;
        counters.to_host.packets += traffic.packets;
        counters.to_host.bytes += traffic.bytes;
        let redirect = &installed.redirect;
        let flow = FlowInfo {
            slot: installed.slot,
            protocol,
            peer: (peer.ip(), peer.port()),
            home: (redirect.home, redirect.ports.first()),
            host: (redirect.target, redirect.target_port),
            snat_port: peer.port(),
            state: FlowState::Established,
            idle: std::time::Duration::from_millis(1_500),
            to_host: traffic,
            to_peer: Traffic::default(),
        };
        kernel.flows.push(flow);
    }

    /// All flows have been silent for `idle`.
    pub fn silence(&self, idle: std::time::Duration) {
        for flow in &mut self.kernel().flows {
            flow.idle = idle;
        }
    }

    /// A machine that gains or loses an interface.
    pub fn set_interface(&self, name: &str, there: bool) {
        let mut kernel = self.kernel();
        if there {
            kernel.interfaces.insert(name.to_owned());
        } else {
            kernel.interfaces.remove(name);
            kernel.attached.remove(name);
        }
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel {
    fn change(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Add(redirect) => self.add(redirect),
            Change::Update { from, to } => self.update(from, to),
            Change::Remove { redirect, removal } => self.remove(redirect, *removal),
        }
    }

    fn add(&mut self, redirect: &Redirect) -> Result<(), Error> {
        if self.redirects.len() == self.capacity {
            let what = format!("the table of redirects is full ({})", self.capacity);
            return Err(Error::new(Kind::Failed, what)
                .cure("raise `tables: redirects` in the configuration and restart redirectd"));
        }
        let slot = (0..).find(|slot| !self.redirects.contains_key(slot)).expect("a free slot");
        let installed = Installed { slot, redirect: redirect.clone(), state: State::Active };
        self.redirects.insert(slot, (installed, RedirectCounters::default()));
        Ok(())
    }

    fn update(&mut self, from: &Redirect, to: &Redirect) -> Result<(), Error> {
        self.groups.keep_still(&from.name)?;
        let slot = self.slot_of(from)?;
        if let Some((installed, _)) = self.redirects.get_mut(&slot) {
            installed.redirect = to.clone();
        }
        if to.flows == Flows::Follow {
            for flow in self.flows.iter_mut().filter(|flow| flow.slot == slot) {
                flow.host = (to.target, to.target_port);
            }
        }
        Ok(())
    }

    fn remove(&mut self, redirect: &Redirect, removal: Removal) -> Result<(), Error> {
        self.groups.keep_still(&redirect.name)?;
        let slot = self.slot_of(redirect)?;
        if removal == Removal::Cut {
            self.flows.retain(|flow| flow.slot != slot);
        }
        if self.flows.iter().any(|flow| flow.slot == slot) {
            if let Some((installed, _)) = self.redirects.get_mut(&slot) {
                installed.state = State::Draining;
            }
        } else {
            self.redirects.remove(&slot);
        }
        Ok(())
    }

    fn slot_of(&self, redirect: &Redirect) -> Result<Slot, Error> {
        self.redirects
            .values()
            .find(|(there, _)| there.state == State::Active && there.redirect == *redirect)
            .map(|(there, _)| there.slot)
            .ok_or_else(|| {
                let what = format!("redirect `{}` is not installed as told", redirect.name);
                Error::new(Kind::Failed, what)
            })
    }
}

impl Dataplane for Fake {
    fn installed(&self) -> Result<Vec<Installed>, Error> {
        Ok(self.kernel().redirects.values().map(|(installed, _)| installed.clone()).collect())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        let mut kernel = self.kernel();
        match &mut kernel.failures.healthy_applies {
            None => {}
            Some(0) => return Err(Error::new(Kind::Failed, "applying fails, as told")),
            Some(healthy) => *healthy -= 1,
        }
        let mut next = kernel.clone();
        for (index, change) in changes.iter().enumerate() {
            if kernel.failures.change == Some(index) {
                return Err(Error::new(Kind::Failed, format!("change {index} failed, as told")));
            }
            next.change(change)?;
        }
        *kernel = next;
        Ok(())
    }

    fn flows(&self, visit: &mut dyn FnMut(FlowInfo)) -> Result<(), Error> {
        self.kernel().flows.iter().cloned().for_each(visit);
        Ok(())
    }

    fn expire(&mut self, timers: &Timers) -> Result<u64, Error> {
        let mut kernel = self.kernel();
        let before = kernel.flows.len();
        kernel.flows.retain(|flow| {
            let limit = match (flow.protocol, flow.state) {
                (Protocol::Tcp, FlowState::Established) => timers.tcp_established,
                (Protocol::Tcp, _) => timers.tcp_transitory,
                (Protocol::Udp, FlowState::HalfOpen) => timers.udp_unreplied,
                (Protocol::Udp, _) => timers.udp,
            };
            flow.idle < limit
        });
        let busy: BTreeSet<Slot> = kernel.flows.iter().map(|flow| flow.slot).collect();
        kernel
            .redirects
            .retain(|slot, (there, _)| there.state != State::Draining || busy.contains(slot));
        Ok((before - kernel.flows.len()) as u64)
    }

    fn counters(&self, slot: Slot) -> Result<RedirectCounters, Error> {
        let kernel = self.kernel();
        kernel
            .redirects
            .get(&slot)
            .map(|(_, counters)| *counters)
            .ok_or_else(|| Error::new(Kind::NotFound, format!("slot {slot} is empty")))
    }

    fn reasons(&self) -> Result<Vec<ReasonCount>, Error> {
        let kernel = self.kernel();
        let mut translated = Traffic::default();
        for (_, counters) in kernel.redirects.values() {
            translated.packets += counters.to_host.packets + counters.to_peer.packets;
            translated.bytes += counters.to_host.bytes + counters.to_peer.bytes;
        }
        Ok(vec![
            ReasonCount {
                reason: "translated".into(),
                verdict: "translated".into(),
                meaning: "Rewritten and sent on.".into(),
                traffic: translated,
            },
            ReasonCount {
                reason: "no_redirect".into(),
                verdict: "passed".into(),
                meaning: "No redirect names this endpoint.".into(),
                traffic: kernel.unredirected,
            },
        ])
    }

    fn tables(&self) -> Result<Vec<TableUse>, Error> {
        let kernel = self.kernel();
        let size = kernel.capacity as u64;
        Ok(vec![
            TableUse { table: "redirects".into(), used: kernel.redirects.len() as u64, size },
            TableUse { table: "flows".into(), used: kernel.flows.len() as u64, size },
        ])
    }

    fn attach(
        &mut self,
        interface: &str,
        attach: Attach,
        _replace: bool,
    ) -> Result<Attached, Error> {
        let mut kernel = self.kernel();
        if kernel.failures.attach.as_deref() == Some(interface) {
            return Err(Error::new(
                Kind::Failed,
                format!("attaching to {interface} failed, as told"),
            ));
        }
        if !kernel.interfaces.contains(interface) {
            return Err(Error::new(Kind::NotFound, format!("there is no interface {interface}"))
                .cure("`ip link` lists the interfaces"));
        }
        let running = if attach == Attach::Xdp { "xdp+tcx" } else { "tcx" };
        let attached = Attached {
            interface: interface.into(),
            asked: attach,
            running: running.into(),
            neighbours: Vec::new(),
        };
        kernel.attached.insert(interface.to_owned(), attached.clone());
        Ok(attached)
    }

    fn detach(&mut self, interface: &str) -> Result<(), Error> {
        self.kernel().attached.remove(interface);
        Ok(())
    }

    fn attached(&self) -> Vec<Attached> {
        self.kernel().attached.values().cloned().collect()
    }

    fn group_begin(&mut self, relocation: &Relocation) -> Result<Group, Error> {
        let mut kernel = self.kernel();
        kernel.call(GroupCall::Begin)?;
        for (from, _) in &relocation.redirects {
            kernel.slot_of(from)?;
        }
        kernel.groups.begin(relocation)
    }

    fn group_park(&mut self, group: Group) -> Result<(), Error> {
        let mut kernel = self.kernel();
        kernel.call(GroupCall::Park)?;
        kernel.groups.park(group)
    }

    fn group_return(
        &mut self,
        group: Group,
        connections: &[Connection],
    ) -> Result<Vec<Connection>, Error> {
        let mut kernel = self.kernel();
        kernel.call(GroupCall::Return)?;
        kernel.groups.return_from(group, connections)
    }

    fn group_commit(&mut self, group: Group) -> Result<(), Error> {
        let mut kernel = self.kernel();
        kernel.call(GroupCall::Commit)?;
        let moved = kernel.groups.commit(group)?;
        kernel.relocate(&moved)
    }

    fn group_commit_held(&mut self, group: Group) -> Result<(), Error> {
        self.group_commit(group)
    }

    fn group_abort(&mut self, group: Group) -> Result<(), Error> {
        let mut kernel = self.kernel();
        kernel.call(GroupCall::Abort)?;
        kernel.groups.abort(group)
    }

    fn group_held(&self, group: Group) -> Result<Held, Error> {
        self.kernel().groups.held(group)
    }

    fn group_replay(&mut self, group: Group) -> Result<Replayed, Error> {
        let mut kernel = self.kernel();
        kernel.call(GroupCall::Replay)?;
        kernel.groups.replay(group)
    }

    fn groups(&self) -> Result<Vec<GroupInfo>, Error> {
        Ok(self.kernel().groups.list())
    }
}
