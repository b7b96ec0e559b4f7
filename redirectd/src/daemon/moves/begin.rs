//! How a move begins: which redirects, from where to where.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tracing::info;

use super::being_moved;
use crate::{
    api::moves::{BeginRequest, ConnectionView, MoveView},
    config::{self, Hosts},
    daemon::Daemon,
    dataplane::{Connection, Phase, Relocation},
    desired::{Origin, not_found},
    error::{Error, Kind},
    migrate::{
        errands::stopping,
        leader::Leader,
        ledger::Move,
        record::{Id, Moment, Plan, Record, Shift},
    },
    rule::Redirect,
};

impl Daemon {
    /// The destination's name in `request`, if only a resolver can know it.
    #[must_use]
    pub fn unresolved_destination(&self, request: &BeginRequest) -> Option<String> {
        config::unresolved_target(&request.to, &self.config.hosts).map(str::to_owned)
    }

    /// Begins the move that `request` asks for. `resolved` is a destination that is
    /// not among the configured hosts, with its addresses.
    ///
    /// # Errors
    /// There is no such redirect, one is being moved already or does not suit the
    /// destination, or the kernel or the disk refuses; nothing is changed then.
    pub fn begin_move(
        &mut self,
        request: &BeginRequest,
        resolved: Option<(String, Vec<IpAddr>)>,
    ) -> Result<MoveView, Error> {
        let timeout = timeout(request.timeout_seconds)?;
        if self.moves.stopping {
            return Err(stopping());
        }
        self.must_not_be_locked(request)?;
        self.must_be_whole(request)?;
        let shifts = match resolved {
            None => self.shifts(request, &self.config.hosts)?,
            Some((name, addresses)) => {
                self.shifts(request, &self.config.hosts.with_resolved(&name, &addresses)?)?
            }
        };
        let id = self.moves.book.ledger().next_id();
        // Whether it can be, beside all other redirects.
        let undo = self.desired.shift(&shifts, id)?;
        self.desired.unshift(undo);

        let plan = Plan {
            label: request.label.clone(),
            process: request.process.clone(),
            destination: request.to.clone(),
            shifts,
            made: request.made.clone(),
            memory: request.memory.clone(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        if request.dry_run {
            return Ok(MoveView::new(&Move::new(id, plan, Moment::now()), None, None));
        }
        let pairs = plan.shifts.iter().map(|shift| (shift.from.clone(), shift.to.clone()));
        let group = self.dataplane.group_begin(&Relocation { redirects: pairs.collect() })?;
        let begun = self.moves.book.write(Record::Begun { id, at: Moment::now(), plan });
        if let Err(error) = begun {
            self.dissolve(group, Phase::Begun);
            return Err(error);
        }
        self.moves.groups.insert(id, group);
        self.moves.since.insert(id, Instant::now());
        info!(id, redirects = request.redirects.join(","), to = request.to, "move begun");
        self.tell_move(id);
        self.show_move(id)
    }

    /// The move `id` is led by a process, and not to outlive it undecided.
    pub fn lead_move(&mut self, id: Id, leader: Leader) {
        self.moves.leaders.insert(id, leader);
    }

    /// The moves that are not decided, and whose leaders have ended.
    #[must_use]
    pub fn forsaken_moves(&self) -> Vec<Id> {
        let led = self.moves.leaders.iter().filter(|(_, leader)| leader.has_ended());
        let ids = led.map(|(id, _)| *id);
        ids.filter(|id| {
            self.moves.book.ledger().get(*id).is_ok_and(|there| !there.state.is_decided())
        })
        .collect()
    }

    fn must_not_be_locked(&self, request: &BeginRequest) -> Result<(), Error> {
        let Some(process) = &request.process else { return Ok(()) };
        match self.moves.book.ledger().locked().get(&process.pid) {
            Some(lock) if !request.though_locked => Err(lock.process.locked(&process.name)),
            _ => Ok(()),
        }
    }

    fn shifts(&self, request: &BeginRequest, hosts: &Hosts) -> Result<Vec<Shift>, Error> {
        let mut shifts: Vec<Shift> = Vec::new();
        for name in &request.redirects {
            let mut named = self.desired.named(name).peekable();
            if named.peek().is_none() {
                return Err(not_found(name));
            }
            for from in named {
                if shifts.iter().any(|shift| shift.from.name == from.name) {
                    continue;
                }
                if let Some(there) = self.moves.book.ledger().moving(&from.name) {
                    return Err(being_moved(&from.name, there));
                }
                shifts.push(self.shift(from, &request.to, hosts)?);
            }
        }
        if shifts.is_empty() {
            return Err(Error::new(Kind::Usage, "a move needs a redirect")
                .cure("name those that lead to the process; `redirect list` shows all"));
        }
        Ok(shifts)
    }

    fn shift(&self, from: &Redirect, to: &str, hosts: &Hosts) -> Result<Shift, Error> {
        let led = config::retarget(from, to, hosts)?;
        if (led.target, led.target_port) == (from.target, from.target_port) {
            let what = format!("redirect `{}` leads there already: {from}", from.name);
            return Err(Error::new(Kind::Usage, what).cure("name another host with --to"));
        }
        let written = match self.desired.origin(&from.name) {
            Origin::File => self.desired.written(&from.name).cloned(),
            Origin::Api | Origin::Removed => None,
        };
        Ok(Shift { from: from.clone(), to: led, written })
    }
}

fn timeout(seconds: f64) -> Result<Duration, Error> {
    /// Longer than a day, nobody freezes a process.
    const LONGEST: f64 = 86_400.0;
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if timeout.as_millis() > 0 && seconds <= LONGEST => Ok(timeout),
        _ => Err(Error::new(Kind::Usage, format!("a move cannot be parked for {seconds} s"))
            .cure("give a time of at least a millisecond and at most a day, such as 60s")),
    }
}

/// `asked` as a connection of the move `there`.
///
/// # Errors
/// It is not one of it.
pub(super) fn connection(there: &Move, asked: &ConnectionView) -> Result<Connection, Error> {
    let home = asked.home;
    let of = |shift: &&Shift| {
        shift.to.catches(asked.protocol, asked.peer.ip(), (home.ip(), home.port()))
    };
    let Some(shift) = there.plan.shifts.iter().find(of) else {
        let what = format!(
            "the connection {} {} to {home} is of no redirect of move {}",
            asked.protocol, asked.peer, there.id
        );
        return Err(Error::new(Kind::Usage, what)
            .cure("redirect what the process listens on, and begin the move with all of it"));
    };
    let to = &shift.to;
    // No overflow: the redirect's ports at the target were checked with it.
    let port = to.target_port.wrapping_add(home.port().wrapping_sub(to.ports.first()));
    let host = asked.host.unwrap_or(SocketAddr::new(to.target, port));
    Ok(Connection {
        protocol: asked.protocol,
        peer: (asked.peer.ip(), asked.peer.port()),
        home: (home.ip(), home.port()),
        host: (host.ip(), host.port()),
        snat_port: asked.snat_port,
    })
}

/// Whether `id` can be a move's.
///
/// # Errors
/// It is no number.
pub fn read_id(text: &str) -> Result<Id, Error> {
    text.parse().map_err(|_| {
        Error::new(Kind::Usage, format!("`{}` is not the number of a move", text.escape_debug()))
            .cure("`redirect move list` shows the numbers")
    })
}
