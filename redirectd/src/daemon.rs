//! The single owner of the dataplane and of the desired state.
//!
//! A [`Daemon`] lives on a thread of its own, for map work may block; everybody
//! else reaches it through a [`Handle`], one job after the other. So no two
//! changes ever overlap, and each is all or nothing:
//!
//! 1. the new set of redirects is built and validated, on paper;
//! 2. what must survive a restart is staged on disk;
//! 3. the kernel gets the difference, all of it or none;
//! 4. what was staged is committed by a rename; should that fail, the kernel is
//!    set back;
//! 5. only then does the daemon believe it, and say so to those who listen.

mod changes;
mod events;
mod handle;
mod moves;
mod processes;
#[cfg(test)]
mod tests;
mod upkeep;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    path::PathBuf,
    time::{Instant, SystemTime},
};

use tracing::{debug, error, info, warn};

pub use self::{
    events::Events,
    handle::{Handle, WeakHandle, spawn},
    moves::{Deliver, MoveTotals, read_id},
    upkeep::TICK,
};
use crate::{
    api::{events::Happening, types::ChangeReport},
    config::Config,
    dataplane::{Attach, Change, Dataplane, Removal, State},
    desired::{Desired, Edit},
    error::{Error, Kind},
    migrate::{book::Book, journal::Journal},
    plan,
    rule::RedirectSet,
    state::Store,
};

/// What a daemon is started with.
pub struct Parts {
    /// The packet path, whose redirects are adopted.
    pub dataplane: Box<dyn Dataplane>,
    /// The redirects made through the API.
    pub store: Box<dyn Store>,
    /// The moves of processes.
    pub journal: Box<dyn Journal>,
    /// The configuration as read.
    pub config: Config,
    /// Where it was read, and is read again.
    pub config_path: PathBuf,
    /// Push out an XDP program that is in the way on an interface.
    pub replace: bool,
}

/// Owner of the dataplane and of the desired state.
pub struct Daemon {
    pub(crate) dataplane: Box<dyn Dataplane>,
    pub(crate) config: Config,
    pub(crate) config_path: PathBuf,
    pub(crate) config_loaded: SystemTime,
    /// Why the last reload was refused, until one is accepted.
    pub(crate) config_refused: Option<Error>,
    pub(crate) desired: Desired,
    pub(crate) events: Events,
    store: Box<dyn Store>,
    replace: bool,
    started: Instant,
    /// Removed redirects whose end was not told yet, by name; one name may be
    /// removed again while its earlier flows still go on.
    draining: BTreeMap<String, usize>,
    /// The kernel may differ from what is desired, for a step back failed.
    diverged: bool,
    upkeep: upkeep::Upkeep,
    moves: moves::Moves,
}

impl Daemon {
    /// Adopts what the kernel has, brings it to what is desired, and puts the
    /// programs on the interfaces.
    ///
    /// # Errors
    /// The desired redirects contradict each other, the kernel refuses them, or
    /// an interface cannot be used. The programs and flows of an earlier daemon
    /// go on in that case.
    pub fn start(parts: Parts) -> Result<Self, Error> {
        let Parts { dataplane, mut store, journal, config, config_path, replace } = parts;
        let book = Book::open(journal)?;
        let files = config.redirects.iter().cloned();
        let desired = Desired::new(files, store.load()?, book.ledger().placements())?;
        let mut daemon = Self {
            dataplane,
            config,
            config_path,
            config_loaded: SystemTime::now(),
            config_refused: None,
            desired,
            events: Events::default(),
            store,
            replace,
            started: Instant::now(),
            draining: BTreeMap::new(),
            diverged: false,
            upkeep: upkeep::Upkeep::default(),
            moves: moves::Moves::new(book),
        };
        daemon.recover()?;
        let changes = daemon.reconcile()?;
        info!(redirects = daemon.desired.all().len(), changes, "redirects in force");
        daemon.forget_placements();
        let interfaces = daemon.wanted_interfaces(&daemon.config);
        daemon.attach_all(&interfaces)?;
        daemon.detach_unwanted(&interfaces);
        Ok(daemon)
    }

    /// Those who listen to what happens.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Makes `edit` in the kernel, the state file and this daemon, or leaves all
    /// three as they were. What it costs does not depend on how many redirects
    /// there are besides.
    ///
    /// # Errors
    /// The new redirects contradict others, or the kernel or the disk refuses.
    pub(crate) fn edit(&mut self, edit: Edit, removal: Removal) -> Result<ChangeReport, Error> {
        let undo = self.desired.make(edit)?;
        let all = self.desired.all();
        let before = RedirectSet::new(undo.into.iter().cloned())?;
        let after = RedirectSet::new(undo.out.iter().filter_map(|name| all.get(name)).cloned())?;
        let changes = plan::diff(&before, &after, removal);
        let done = self.carry_out(changes, true);
        if done.is_err() {
            // What was there a moment ago fits again.
            let _ = self.desired.make(undo);
        }
        done
    }

    /// Brings the kernel, the state file and this daemon to `next`, or leaves all
    /// three as they were. `persistent` if what came through the API changes.
    ///
    /// # Errors
    /// The kernel or the disk refuses.
    pub(crate) fn replace(
        &mut self,
        next: Desired,
        persistent: bool,
    ) -> Result<ChangeReport, Error> {
        let changes = plan::diff(self.desired.all(), next.all(), Removal::default());
        let before = mem::replace(&mut self.desired, next);
        let done = self.carry_out(changes, persistent);
        if done.is_err() {
            self.desired = before;
        }
        done
    }

    /// What [`Daemon::replace`] would do.
    pub(crate) fn preview(&self, next: &Desired) -> ChangeReport {
        report(plan::diff(self.desired.all(), next.all(), Removal::default()), true)
    }

    /// Carries out `changes`, which `self.desired` has already.
    fn carry_out(&mut self, changes: Vec<Change>, persistent: bool) -> Result<ChangeReport, Error> {
        if changes.is_empty() {
            return Ok(report(changes, false));
        }
        self.keep_still(&changes)?;
        let begin = Instant::now();
        if persistent {
            self.store.stage(&changes, self.desired.api())?;
        }
        let staged = begin.elapsed();
        if let Err(error) = self.dataplane.apply(&changes) {
            self.store.discard();
            return Err(error);
        }
        if persistent && let Err(error) = self.store.commit() {
            self.store.discard();
            self.step_back(&changes);
            return Err(error);
        }
        debug!(changes = changes.len(), ?staged, all = ?begin.elapsed(), "carried out");
        for change in &changes {
            if let Change::Remove { redirect, removal: Removal::Drain } = change {
                *self.draining.entry(redirect.name.clone()).or_default() += 1;
            }
        }
        self.tell(&changes);
        Ok(report(changes, false))
    }

    /// Sets the kernel back after `changes`, which could not be kept.
    fn step_back(&mut self, changes: &[Change]) {
        let back: Vec<Change> = changes.iter().rev().cloned().map(inverse).collect();
        if let Err(error) = self.dataplane.apply(&back) {
            error!(
                error = error.one_line(),
                "the kernel cannot be set back; trying again every second"
            );
            self.diverged = true;
        }
    }

    /// Whether the kernel has what is desired.
    ///
    /// # Errors
    /// It has not; the daemon goes on trying.
    pub fn in_force(&self) -> Result<(), Error> {
        if !self.diverged {
            return Ok(());
        }
        let what = "the kernel's redirects are not those desired; trying again every second";
        Err(Error::new(Kind::Failed, what).cure("the log says what the kernel refuses"))
    }

    /// Makes the kernel's redirects those that are desired, whatever they are;
    /// returns how many changes that took.
    fn reconcile(&mut self) -> Result<usize, Error> {
        let installed = self.dataplane.installed()?;
        let active = installed.into_iter().filter(|there| there.state != State::Draining);
        let current = RedirectSet::new(active.map(|there| there.redirect))?;
        let changes = plan::diff(&current, self.desired.all(), Removal::default());
        self.dataplane.apply(&changes)?;
        self.diverged = false;
        self.draining = self.read_draining()?;
        Ok(changes.len())
    }

    /// The kernel's draining redirects, by name, with how many there are of each.
    fn read_draining(&self) -> Result<BTreeMap<String, usize>, Error> {
        let mut draining = BTreeMap::new();
        for there in self.dataplane.installed()? {
            if there.state == State::Draining {
                *draining.entry(there.redirect.name).or_default() += 1;
            }
        }
        Ok(draining)
    }

    fn tell(&self, changes: &[Change]) {
        for change in changes {
            self.events.publish(match change.clone() {
                Change::Add(redirect) => Happening::RedirectAdded { redirect },
                Change::Update { from, to } => Happening::RedirectChanged { from, redirect: to },
                Change::Remove { redirect, removal } => {
                    Happening::RedirectRemoved { redirect, removal }
                }
            });
        }
    }

    /// The interfaces of `config`, and `lo`, where peers on home itself are met.
    pub(crate) fn wanted_interfaces(&self, config: &Config) -> BTreeMap<String, Attach> {
        let mut wanted = config.interfaces.clone();
        wanted.entry("lo".to_owned()).or_insert(Attach::Tc);
        wanted
    }

    /// Puts the programs on all of `wanted`, or on none that had them not.
    ///
    /// # Errors
    /// An interface is not there, or is taken by another program.
    pub(crate) fn attach_all(&mut self, wanted: &BTreeMap<String, Attach>) -> Result<(), Error> {
        let had: BTreeSet<String> =
            self.dataplane.attached().into_iter().map(|there| there.interface).collect();
        let mut new = Vec::new();
        for (interface, attach) in wanted {
            match self.dataplane.attach(interface, *attach, self.replace) {
                Ok(attached) => {
                    self.upkeep.watch(interface);
                    if !had.contains(interface) {
                        new.push(attached);
                    }
                }
                Err(error) => {
                    for attached in new {
                        self.detach(&attached.interface);
                    }
                    return Err(error);
                }
            }
        }
        for attached in new {
            info!(interface = attached.interface, running = attached.running, "attached");
            self.events.publish(Happening::InterfaceAttached { attached });
        }
        Ok(())
    }

    /// Takes the programs off all interfaces that are not `wanted` any more.
    pub(crate) fn detach_unwanted(&mut self, wanted: &BTreeMap<String, Attach>) {
        for attached in self.dataplane.attached() {
            if !wanted.contains_key(&attached.interface) && self.detach(&attached.interface) {
                info!(interface = attached.interface, "detached");
                let interface = attached.interface;
                self.events.publish(Happening::InterfaceDetached { interface });
            }
        }
    }

    fn detach(&mut self, interface: &str) -> bool {
        self.upkeep.forget(interface);
        let done = self.dataplane.detach(interface);
        if let Err(error) = &done {
            warn!(interface, error = error.one_line(), "cannot take the programs off");
        }
        done.is_ok()
    }
}

/// The change that undoes `change`, flows that were cut excepted.
fn inverse(change: Change) -> Change {
    match change {
        Change::Add(redirect) => Change::Remove { redirect, removal: Removal::Drain },
        Change::Update { from, to } => Change::Update { from: to, to: from },
        Change::Remove { redirect, .. } => Change::Add(redirect),
    }
}

fn report(changes: Vec<Change>, dry_run: bool) -> ChangeReport {
    let changes = changes.into_iter().map(Into::into).collect();
    ChangeReport { dry_run, changes, warnings: Vec::new() }
}
