//! Three machines on which something dies in the middle of a move, and what has to be
//! so afterwards.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Daemon, Machine, Process, soon, until};

use super::{gate::Gate, halts::Halts, hit::Hit};
use crate::{
    nodes::{C, PID, Three, Two, binaries},
    programs::{SELECT, Talk},
};

const SERVER: &str = "10.0.0.2:7000";
/// Where a process is that is on no machine.
pub(super) const NOWHERE: &str = "nowhere";
/// How long a move may take to come to its end, a dead link in it included.
pub(super) const LONGEST: Duration = Duration::from_secs(40);

/// Three machines, a server, and its connection to the peer.
pub(super) struct Field {
    pub(super) three: Three,
    home: Halts,
    c: Halts,
    d: Halts,
    pub(super) talk: Talk,
    /// How memory is to go.
    options: &'static [&'static str],
}

/// What happens to a move.
#[derive(Clone, Copy)]
pub(super) struct Fault<'a> {
    /// The machine whose CRIU stops.
    pub(super) on: &'a str,
    /// Where.
    pub(super) at: &'a str,
    /// Where the process has to be afterwards.
    pub(super) then_on: &'a str,
    /// The connection may end.
    pub(super) may_reset: bool,
}

impl Fault<'_> {
    fn told(&self) -> String {
        format!("{} stopped at {}", self.on, self.at)
    }
}

impl Field {
    pub(super) fn new() -> Result<Self> {
        Self::serving(&[], |two| two.serve(SELECT))
    }

    /// The same, the process being a guest on c.
    pub(super) fn on_c(self) -> Result<Self> {
        self.three.two.run(&[], "c", self.options)?.success()?;
        Ok(self)
    }

    /// Memory follows the process.
    pub(super) fn lazily() -> Result<Self> {
        Self::serving(&["--memory", "lazy"], |two| two.serve(SELECT))
    }

    /// With what `serve` starts at home, and these options for each move.
    pub(super) fn serving(
        options: &'static [&'static str],
        serve: impl FnOnce(&Two) -> Result<()>,
    ) -> Result<Self> {
        let three = Three::new(|machine| {
            let halts = Halts::new(machine.host())?;
            let words = halts.words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            Ok((Daemon::start_by(machine, &words, &binaries(), C)?, halts))
        })?;
        let (three, c, d) = three;
        let home = Halts::new(three.two.home.host())?;
        serve(&three.two)?;
        let talk = Talk::open(three.two.peer(), SERVER)?;
        Ok(Self { three, home, c, d, talk, options })
    }

    pub(super) fn machine(&self, name: &str) -> &Machine {
        match name {
            "home" => &self.three.two.home,
            "c" => &self.three.two.c,
            _ => &self.three.d,
        }
    }

    pub(super) fn daemon(&mut self, name: &str) -> &mut Daemon {
        match name {
            "home" => &mut self.three.two.daemon,
            "c" => &mut self.three.two.c_daemon,
            _ => &mut self.three.d_daemon,
        }
    }

    pub(super) fn halts(&self, name: &str) -> &Halts {
        match name {
            "home" => &self.home,
            "c" => &self.c,
            _ => &self.d,
        }
    }

    /// The peer ends its connection, and makes another one.
    pub(super) fn talk_anew(&mut self) -> Result<()> {
        self.talk = Talk::open(self.three.two.peer(), SERVER)?;
        Ok(())
    }

    /// Moves the process to `to`, stops the move as `fault` says, has `hit` do what it
    /// likes, and sees how it ends: so that another move brings the process back.
    pub(super) fn suffers(
        &mut self,
        to: &str,
        fault: Fault<'_>,
        hit: impl FnOnce(&mut Hit<'_>) -> Result<()>,
    ) -> Result<()> {
        self.survives(|field| field.start(to), fault, hit).with_context(|| fault.told())
    }

    /// The same where the process is a guest of c's, and c's daemon sends it home.
    pub(super) fn is_evicted(
        &mut self,
        fault: Fault<'_>,
        hit: impl FnOnce(&mut Hit<'_>) -> Result<()>,
    ) -> Result<()> {
        self.survives(Self::evict, fault, hit).with_context(|| fault.told())
    }

    fn survives(
        &mut self,
        start: impl FnOnce(&Self) -> Result<Process>,
        fault: Fault<'_>,
        hit: impl FnOnce(&mut Hit<'_>) -> Result<()>,
    ) -> Result<()> {
        let from = self.place()?;
        let before = self.redirects()?.len();
        self.talk.line()?;
        self.halts(fault.on).at(fault.at)?;
        let command = start(self)?;
        let criu = self.halts(fault.on).halted()?;
        // It is held, or has come to what is half made of the process: it may not be lost,
        // but with the connection.
        self.talk.say()?;
        let mut move_hit = Hit { field: self, on: fault.on, criu, command };
        hit(&mut move_hit)?;
        let Hit { command, .. } = move_hit;
        self.sees(fault, (&from, before), command)
    }

    /// How the move ends that is led by `command`: by it, the process was to leave `from`,
    /// and there were so many redirects `before`.
    fn sees(
        &mut self,
        fault: Fault<'_>,
        (from, before): (&str, usize),
        mut command: Process,
    ) -> Result<()> {
        let code = command.wait(LONGEST)?.code();
        let said = command.log();
        let told = || format!("the move ended with {code:?}: {said}");
        self.ends_on(fault.then_on).with_context(told)?;
        if fault.then_on == from {
            ensure!(code != Some(0), "{}", told());
        }
        self.connection(fault).with_context(told)?;
        self.nothing_stays(fault.then_on, before).with_context(told)?;
        self.next_move_works(fault.then_on, from).with_context(told)
    }

    /// Moves the process from home to c, has `hit` do what it likes when the move is
    /// committed and c has not heard so, and sees that the process is c's.
    pub(super) fn suffers_unheard(
        &mut self,
        hit: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let before = self.redirects()?.len();
        self.talk.line()?;
        let gate = Gate::closing(self)?;
        let command = self.start_by("c", &gate.socket())?;
        gate.closed()?;
        self.talk.say()?;
        self.waits()?;
        hit(self)?;
        gate.open()?;
        let fault = Fault { on: "c", at: "the commit", then_on: "c", may_reset: false };
        self.sees(fault, ("home", before), command)
    }

    /// Waits until a kernel has taken what the peer has said: the peer does not send it
    /// again.
    pub(super) fn acknowledged(&self) -> Result<()> {
        let all = || self.talk.unacknowledged().ok().filter(|bytes| *bytes == 0);
        until(LONGEST, "what the peer has said is acknowledged", all).map(drop)
    }

    /// Waits until the move is committed, and sees that what the peer has said is held still.
    pub(super) fn waits(&self) -> Result<()> {
        let last = || self.three.two.moves().ok()?.pop();
        let committed = || last().filter(|moved| moved["state"] == "committed");
        let moved = until(LONGEST, "the move is committed", committed)?;
        let held = moved["held"]["traffic"]["packets"].as_u64().is_some_and(|packets| packets > 0);
        ensure!(moved["delivered"].is_null() && held, "nothing is held: {moved}");
        Ok(())
    }

    pub(super) fn start(&self, to: &str) -> Result<Process> {
        self.start_by(to, &self.three.two.daemon.socket().display().to_string())
    }

    /// The same by another socket of home's daemon.
    pub(super) fn start_by(&self, to: &str, socket: &str) -> Result<Process> {
        let two = &self.three.two;
        let state = two.daemon.state().display();
        let binary = env!("CARGO_BIN_EXE_redirect");
        let line =
            format!("{binary} migrate {PID} --to {to} --socket {socket} --state-dir {state}");
        let words = [two.home.enter(), self.home.words().to_vec()].concat();
        let words = words.iter().map(String::as_str).chain(line.split(' '));
        let words: Vec<&str> = words.chain(self.options.iter().copied()).collect();
        two.home.host().start(&words)
    }

    fn evict(&self) -> Result<Process> {
        let two = &self.three.two;
        let socket = two.c_daemon.socket().display();
        let line = format!("{} --socket {socket} evict {PID}", env!("CARGO_BIN_EXE_redirect"));
        let words = two.c.enter();
        let words = words.iter().map(String::as_str).chain(line.split(' '));
        two.c.host().start(&words.collect::<Vec<_>>())
    }

    fn place(&self) -> Result<String> {
        let places = ["home", "c", "d"].into_iter().filter(|name| self.runs_on(name));
        let places: Vec<&str> = places.collect();
        ensure!(places.len() == 1, "the process runs on {places:?}");
        Ok(places[0].to_owned())
    }

    pub(super) fn runs_on(&self, name: &str) -> bool {
        let status = self.machine(name).proc().join(PID.to_string()).join("status");
        fs::read_to_string(status).is_ok_and(|status| !status.contains("State:\tZ"))
    }

    /// The process runs there, and on no other machine.
    fn ends_on(&mut self, name: &str) -> Result<()> {
        let there = || self.place().ok().filter(|place| place == name);
        until(LONGEST, &format!("the process runs on {name} alone"), there).map(drop).with_context(
            || {
                let place = self.place();
                format!("it is at {place:?}; {}", self.logs())
            },
        )
    }

    /// What the daemons say.
    pub(super) fn logs(&self) -> String {
        let two = &self.three.two;
        let logs = [&two.daemon, &two.c_daemon, &self.three.d_daemon].map(Daemon::log);
        format!("home: {}\nc: {}\nd: {}", logs[0], logs[1], logs[2])
    }

    /// It goes on, or has ended for both sides.
    fn connection(&mut self, fault: Fault<'_>) -> Result<()> {
        let error = match self.talk.hear() {
            Ok(_) => {
                self.talk.line()?;
                return Ok(());
            }
            Err(error) => error,
        };
        // Nothing heard for a long time is not an end.
        let silent = error.downcast_ref::<std::io::Error>().is_some_and(|error| {
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        });
        ensure!(
            fault.may_reset && !silent,
            "the connection does not go on: {error:#}; {}",
            self.logs()
        );
        let peer = self.three.two.peer();
        // One that is made while the process is being revived may be reset as well.
        let again = soon("the server takes new connections", || {
            let mut talk = Talk::open(peer, SERVER).ok()?;
            talk.line().ok()?;
            Some(talk)
        });
        self.talk = again.with_context(|| format!("after {error:#}"))?;
        Ok(())
    }

    /// The process can go on from `place`, and is on `first` at the end.
    fn next_move_works(&mut self, place: &str, first: &str) -> Result<()> {
        let ways: &[&str] = match (place, first) {
            (place, first) if place != first => &[first],
            ("home", _) => &["d", "home"],
            (_, _) => &["home", place],
        };
        for to in ways {
            let mut command = self.start(to)?;
            let status = command.wait(LONGEST)?;
            ensure!(status.success(), "the next move, to {to}: {}", command.log());
            self.talk.line().with_context(|| format!("after the next move, to {to}"))?;
        }
        Ok(())
    }

    /// The daemon on `name` dies, and is started again.
    pub(super) fn daemon_dies(&mut self, name: &str) -> Result<()> {
        let daemon = self.daemon(name);
        daemon.sigkill()?;
        daemon.start_again()
    }

    /// Lets c and home reach each other, or not: what they send each other goes
    /// nowhere, and nobody is told.
    pub(super) fn link(&self, goes: bool) -> Result<()> {
        self.three.two.link(goes)
    }
}
