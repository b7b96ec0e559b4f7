//! What the daemon does by itself every second.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    time::{Duration, Instant},
};

use nix::{
    net::if_::if_nametoindex,
    time::{ClockId, clock_gettime},
};
use tracing::{debug, error, info, warn};

use super::Daemon;
use crate::{api::events::Happening, dataplane::TableUse, error::Error};

/// Looking for idle flows takes this thread at most one part in so many of its
/// processor's time.
const EXPIRY_SHARE: u32 = 20;

/// What upkeep remembers from one time to the next.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    next_expiry: Option<Instant>,
    /// Tables above 90 % that were told of.
    filling: BTreeSet<String>,
    /// The index each interface had when the programs were put on it; none when
    /// the interface is not there.
    indexes: BTreeMap<String, Option<u32>>,
}

impl Upkeep {
    /// Remembers that the programs are on `interface` as it is now.
    pub(super) fn watch(&mut self, interface: &str) {
        self.indexes.insert(interface.to_owned(), index(interface));
    }

    /// `interface` is no longer ours.
    pub(super) fn forget(&mut self, interface: &str) {
        self.indexes.remove(interface);
    }
}

impl Daemon {
    /// One round of upkeep: idle flows, drained redirects, tables that fill,
    /// interfaces that came back, locks of processes that have ended, a step back that failed. What fails is logged
    /// and tried again in the next round.
    pub fn tick(&mut self) {
        if self.diverged {
            match self.reconcile() {
                Ok(changes) => info!(changes, "the kernel is as desired again"),
                Err(error) => error!(error = error.one_line(), "the kernel is not as desired"),
            }
        }
        self.follow_moves();
        self.unlock_ended();
        self.expire();
        self.follow_interfaces();
    }

    fn expire(&mut self) {
        let (begin, busy) = (Instant::now(), thread_time());
        if self.upkeep.next_expiry.is_some_and(|next| begin < next) {
            return;
        }
        match self.dataplane.expire(&self.config.timers) {
            Ok(0) => {}
            Ok(flows) => debug!(flows, "idle flows removed"),
            Err(error) => warn!(error = error.one_line(), "cannot remove idle flows"),
        }
        self.tell_drained();
        match self.dataplane.tables() {
            Ok(tables) => self.tell_filling(tables),
            Err(error) => warn!(error = error.one_line(), "cannot read how full the tables are"),
        }
        let took = thread_time().saturating_sub(busy);
        self.upkeep.next_expiry = Some(begin + took * EXPIRY_SHARE);
    }

    fn tell_drained(&mut self) {
        if self.draining.is_empty() {
            return;
        }
        let now = match self.read_draining() {
            Ok(now) => now,
            Err(error) => {
                warn!(error = error.one_line(), "cannot read which redirects drain");
                return;
            }
        };
        let before = mem::replace(&mut self.draining, now);
        let mut drained = 0;
        for (name, count) in before {
            let still = self.draining.get(&name).copied().unwrap_or(0);
            for _ in still..count {
                drained += 1;
                debug!(redirect = name, "drained");
                self.events.publish(Happening::RedirectDrained { name: name.clone() });
            }
        }
        if drained > 0 {
            info!(drained, draining = self.draining.len(), "removed redirects have drained");
        }
    }

    fn tell_filling(&mut self, tables: Vec<TableUse>) {
        for table in tables {
            let parts_of_ten = table.used.saturating_mul(10);
            if parts_of_ten > table.size.saturating_mul(9) {
                if self.upkeep.filling.insert(table.table.clone()) {
                    warn!(table = table.table, used = table.used, size = table.size, "table fills");
                    self.events.publish(Happening::TableFilling { table });
                }
            } else if parts_of_ten < table.size.saturating_mul(8) {
                self.upkeep.filling.remove(&table.table);
            }
        }
    }

    /// An interface that was deleted took the programs with it; when one of its
    /// name is there again, it gets them again.
    fn follow_interfaces(&mut self) {
        let wanted = self.wanted_interfaces(&self.config);
        for (interface, attach) in wanted {
            let now = index(&interface);
            let then = self.upkeep.indexes.insert(interface.clone(), now).flatten();
            if now == then {
                continue;
            }
            if now.is_none() {
                warn!(interface, "is gone; its programs are put on again when it is back");
                continue;
            }
            if let Err(error) = self.attach_again(&interface, attach) {
                warn!(interface, error = error.one_line(), "is back, but cannot be attached");
            }
        }
    }

    fn attach_again(
        &mut self,
        interface: &str,
        attach: crate::dataplane::Attach,
    ) -> Result<(), Error> {
        // What is pinned for the old interface of that name leads nowhere.
        self.dataplane.detach(interface)?;
        let attached = self.dataplane.attach(interface, attach, self.replace)?;
        info!(interface, running = attached.running, "is back, attached again");
        self.events.publish(Happening::InterfaceAttached { attached });
        Ok(())
    }
}

fn index(interface: &str) -> Option<u32> {
    if_nametoindex(interface).ok()
}

/// How long a processor has worked for this thread: time in which others had it is
/// no reason to look for idle flows less often.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("a thread may read its own clock").into()
}

/// How often [`Daemon::tick`] is due.
pub const TICK: Duration = Duration::from_secs(1);
