//! A packet path, a disk and a journal that a daemon may die on: from the nth
//! thing on that it does to any of them, nothing happens any more.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    dataplane::{
        Attach, Attached, Change, Connection, Dataplane, FlowInfo, Group, GroupInfo, Held,
        Installed, ReasonCount, RedirectCounters, Relocation, Replayed, Slot, TableUse, Timers,
    },
    error::{Error, Kind},
    migrate::{journal::Journal, ledger::Ledger, record::Record},
    rule::{Redirect, RedirectSet},
    state::Store,
};

/// How many things a daemon does before it dies, or before one of them fails.
#[derive(Clone)]
pub(super) struct Fuse(Arc<(AtomicUsize, AtomicUsize)>);

const NEVER: usize = usize::MAX / 2;

impl Fuse {
    pub(super) fn new() -> Self {
        Self(Arc::new((AtomicUsize::new(NEVER), AtomicUsize::new(NEVER))))
    }

    /// It dies after `deeds` more.
    pub(super) fn dies_after(&self, deeds: usize) {
        self.0.0.store(deeds, Ordering::SeqCst);
    }

    /// The one after `deeds` more fails.
    pub(super) fn fails_after(&self, deeds: usize) {
        self.0.1.store(deeds, Ordering::SeqCst);
    }

    /// All is well again.
    pub(super) fn heal(&self) {
        self.dies_after(NEVER);
        self.fails_after(NEVER);
    }

    fn deed(&self) -> Result<(), Error> {
        let (dies, fails) = &*self.0;
        if dies.load(Ordering::SeqCst) == 0 {
            return Err(Error::new(Kind::Failed, "the daemon is dead"));
        }
        dies.fetch_sub(1, Ordering::SeqCst);
        match fails.fetch_sub(1, Ordering::SeqCst) {
            0 => {
                fails.store(NEVER, Ordering::SeqCst);
                Err(Error::new(Kind::Failed, "this fails, as told"))
            }
            _ => Ok(()),
        }
    }
}

/// What a daemon may die on.
pub(super) struct Mortal<T>(pub(super) T, pub(super) Fuse);

impl<T: Store> Store for Mortal<T> {
    fn load(&mut self) -> Result<Vec<Redirect>, Error> {
        self.0.load()
    }

    fn stage(&mut self, changes: &[Change], all: &RedirectSet) -> Result<(), Error> {
        self.1.deed()?;
        self.0.stage(changes, all)
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.1.deed()?;
        self.0.commit()
    }

    fn discard(&mut self) {
        self.0.discard();
    }
}

impl<T: Journal> Journal for Mortal<T> {
    fn load(&mut self) -> Result<Ledger, Error> {
        self.0.load()
    }

    fn append(&mut self, record: &Record) -> Result<(), Error> {
        self.1.deed()?;
        self.0.append(record)
    }

    fn rewrite(&mut self, records: &[Record]) -> Result<(), Error> {
        self.1.deed()?;
        self.0.rewrite(records)
    }

    fn in_doubt(&self) -> bool {
        self.0.in_doubt()
    }

    fn is_long(&self) -> bool {
        self.0.is_long()
    }
}

impl<T: Dataplane> Dataplane for Mortal<T> {
    fn installed(&self) -> Result<Vec<Installed>, Error> {
        self.0.installed()
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.1.deed()?;
        self.0.apply(changes)
    }

    fn flows(&self, visit: &mut dyn FnMut(FlowInfo)) -> Result<(), Error> {
        self.0.flows(visit)
    }

    fn expire(&mut self, timers: &Timers) -> Result<u64, Error> {
        self.0.expire(timers)
    }

    fn counters(&self, slot: Slot) -> Result<RedirectCounters, Error> {
        self.0.counters(slot)
    }

    fn reasons(&self) -> Result<Vec<ReasonCount>, Error> {
        self.0.reasons()
    }

    fn tables(&self) -> Result<Vec<TableUse>, Error> {
        self.0.tables()
    }

    fn attach(
        &mut self,
        interface: &str,
        attach: Attach,
        replace: bool,
    ) -> Result<Attached, Error> {
        self.0.attach(interface, attach, replace)
    }

    fn detach(&mut self, interface: &str) -> Result<(), Error> {
        self.0.detach(interface)
    }

    fn attached(&self) -> Vec<Attached> {
        self.0.attached()
    }

    fn group_begin(&mut self, relocation: &Relocation) -> Result<Group, Error> {
        self.1.deed()?;
        self.0.group_begin(relocation)
    }

    fn group_park(&mut self, group: Group) -> Result<(), Error> {
        self.1.deed()?;
        self.0.group_park(group)
    }

    fn group_return(
        &mut self,
        group: Group,
        connections: &[Connection],
    ) -> Result<Vec<Connection>, Error> {
        self.1.deed()?;
        self.0.group_return(group, connections)
    }

    fn group_commit(&mut self, group: Group) -> Result<(), Error> {
        self.1.deed()?;
        self.0.group_commit(group)
    }

    fn group_commit_held(&mut self, group: Group) -> Result<(), Error> {
        self.1.deed()?;
        self.0.group_commit_held(group)
    }

    fn group_abort(&mut self, group: Group) -> Result<(), Error> {
        self.1.deed()?;
        self.0.group_abort(group)
    }

    fn group_held(&self, group: Group) -> Result<Held, Error> {
        self.0.group_held(group)
    }

    fn group_replay(&mut self, group: Group) -> Result<Replayed, Error> {
        self.1.deed()?;
        self.0.group_replay(group)
    }

    fn groups(&self) -> Result<Vec<GroupInfo>, Error> {
        self.0.groups()
    }
}
