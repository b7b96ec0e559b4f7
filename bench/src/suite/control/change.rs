//! One redirect is added, led to another host, and removed, while a stream of
//! packets runs: when each change counts for them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use redirectd::{
    api::types::{AddRequest, ChangeReport, RemoveRequest},
    config::Spec,
    dataplane::Removal,
};
use redirectd_bench_bpf::Seen;

use super::field::{Field, OTHER, PORT, silence};
use crate::{
    daemon::Daemon,
    interrupt,
    probe::{Witness, now},
    stream::HOST_PORT,
    topology::{HOME, HOST},
};

/// How a change is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// One request on a connection of its own.
    Api,
    /// `redirect add` and `redirect remove`, from the start of the process.
    Command,
}

impl Way {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Api, Self::Command];

    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Command => "redirect",
        }
    }
}

/// When the changes of one redirect counted, each from the moment it was asked
/// for, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Changes {
    /// Added, until the first packet at the host.
    pub(super) added: f64,
    /// Added, until the request or the command was done.
    pub(super) add_done: f64,
    /// Led to the other host, until the last packet at the old one.
    pub(super) left: f64,
    /// Led to the other host, until the first packet there.
    pub(super) moved: f64,
    /// Led to the other host, until the request or the command was done.
    pub(super) move_done: f64,
    /// Packets sent between the last at the old host and the first at the new
    /// one: lost ones; fewer than none if the hosts had packets in turns.
    pub(super) between: i64,
    /// Removed, until the last packet at the host.
    pub(super) removed: f64,
    /// Removed, until the request or the command was done.
    pub(super) remove_done: f64,
}

/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The stream goes on for so long after a change before the next.
const PAUSE: Duration = Duration::from_millis(2);

impl Field {
    /// Adds the redirect, leads it on, and removes it, with the stream running.
    ///
    /// # Errors
    /// A change is refused or does not count, or the run was interrupted.
    pub(super) fn change(&self, way: Way) -> Result<Changes> {
        interrupt::check()?;
        let mut changes = Changes::default();
        let asked = now()?;
        let (done, seen) = self.visit(&self.host, || way.lead(&self.daemon, HOST, false))?;
        changes.added = microseconds(asked, seen.first_at);
        changes.add_done = microseconds(asked, done);

        let asked = now()?;
        let (done, seen) = self.visit(&self.other, || way.lead(&self.daemon, OTHER, true))?;
        let old = self.host.seen()?;
        changes.left = microseconds(asked, old.last_at);
        changes.moved = microseconds(asked, seen.first_at);
        changes.move_done = microseconds(asked, done);
        changes.between = seen.first.cast_signed() - old.last.cast_signed() - 1;

        let asked = now()?;
        way.remove(&self.daemon)?;
        let done = now()?;
        changes.removed = microseconds(asked, silence(&self.other, PAUSE)?.last_at);
        changes.remove_done = microseconds(asked, done);
        Ok(changes)
    }

    /// Does `change`, which brings packets to `witness`; says when it was done,
    /// and what the witness has seen then.
    fn visit(&self, witness: &Witness, change: impl FnOnce() -> Result<()>) -> Result<(u64, Seen)> {
        let before = witness.seen()?.visits;
        change()?;
        let done = now()?;
        let deadline = Instant::now() + PATIENCE;
        while witness.seen()?.visits == before {
            ensure!(Instant::now() < deadline, "no packet arrives where the redirect leads");
            thread::sleep(PAUSE / 10);
        }
        thread::sleep(PAUSE);
        let seen = witness.seen()?;
        ensure!(seen.visits == before + 1, "packets of the stream were lost on their way");
        Ok((done, seen))
    }
}

impl Way {
    /// Leads the redirect to `host`, which is new or, with `replace`, changes.
    fn lead(self, daemon: &Daemon, host: std::net::Ipv4Addr, replace: bool) -> Result<()> {
        let (home, to) = (format!("{HOME}:{PORT}"), format!("{host}:{HOST_PORT}"));
        match self {
            Self::Api => {
                let redirect = Spec {
                    protocol: vec!["udp".into()],
                    home,
                    to,
                    peers: Vec::new(),
                    mode: None,
                    flows: Some("follow".into()),
                };
                let request = AddRequest {
                    name: NAME.into(),
                    redirect,
                    replace,
                    check: false,
                    dry_run: false,
                };
                daemon.post("/v1/redirects", &request).map(|_: ChangeReport| ())
            }
            Self::Command => {
                let arguments =
                    ["add", NAME, &home, "--to", &to, "--protocol", "udp", "--flows", "follow"];
                daemon.redirect(arguments.into_iter().chain(replace.then_some("--replace")))
            }
        }
    }

    /// Removes the redirect, its flow with it.
    fn remove(self, daemon: &Daemon) -> Result<()> {
        match self {
            Self::Api => {
                let request = RemoveRequest { names: vec![NAME.into()], removal: Removal::Cut };
                daemon.post("/v1/remove", &request).map(|_: ChangeReport| ())
            }
            Self::Command => daemon.redirect(["remove", NAME, "--now"]),
        }
    }
}

/// What the redirect is called.
const NAME: &str = "one";

/// From `start` to `end`, both in nanoseconds; less than none if `end` is first.
fn microseconds(start: u64, end: u64) -> f64 {
    (end.cast_signed() - start.cast_signed()) as f64 / 1e3
}
