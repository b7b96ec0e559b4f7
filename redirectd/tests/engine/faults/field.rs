//! Three machines on which something dies in the middle of a move, and what has to be
//! so afterwards.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use xtask::lab::{Daemon, Machine, Process, soon, until};

use super::halts::Halts;
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

/// A move to be hit, as it is where it was stopped.
pub(super) struct Hit<'a> {
    pub(super) field: &'a mut Field,
    pub(super) on: &'a str,
    /// CRIU's number on its machine.
    pub(super) criu: String,
    command: Process,
}

impl Field {
    pub(super) fn new() -> Result<Self> {
        Self::serving(&[], |two| two.serve(SELECT))
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

    fn halts(&self, name: &str) -> &Halts {
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
        let what = format!("{} stopped at {}", fault.on, fault.at);
        self.survives(to, fault, hit).context(what)
    }

    fn survives(
        &mut self,
        to: &str,
        fault: Fault<'_>,
        hit: impl FnOnce(&mut Hit<'_>) -> Result<()>,
    ) -> Result<()> {
        let from = self.place()?;
        let before = self.redirects()?.len();
        self.talk.line()?;
        self.halts(fault.on).at(fault.at)?;
        let command = self.start(to)?;
        let criu = self.halts(fault.on).halted()?;
        if !fault.may_reset {
            // It is held, and may not be lost.
            self.talk.say()?;
        }
        let mut move_hit = Hit { field: self, on: fault.on, criu, command };
        hit(&mut move_hit)?;
        let Hit { mut command, .. } = move_hit;
        let code = command.wait(LONGEST)?.code();
        let said = command.log();
        let told = || format!("the move ended with {code:?}: {said}");
        self.ends_on(fault.then_on).with_context(told)?;
        if fault.then_on == from {
            ensure!(code != Some(0), "{}", told());
        }
        self.connection(fault).with_context(told)?;
        self.nothing_stays(fault.then_on, before).with_context(told)?;
        self.next_move_works(fault.then_on, &from).with_context(told)
    }

    fn start(&self, to: &str) -> Result<Process> {
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
        let heard = if fault.may_reset { self.talk.line() } else { self.talk.hear() };
        let error = match heard {
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
        ensure!(fault.may_reset && !silent, "the connection does not go on: {error:#}");
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

    /// Nothing is left of a move that is over, before which there were so many
    /// redirects; the process is on `place`.
    pub(super) fn nothing_stays(&self, place: &str, redirects: usize) -> Result<()> {
        let two = &self.three.two;
        let rest = |what: &str, of: &dyn Fn() -> Result<Vec<String>>| {
            let mut last = Vec::new();
            let none = || {
                last = of().unwrap_or_else(|error| vec![format!("{error:#}")]);
                last.is_empty().then_some(())
            };
            let waited = until(LONGEST, what, none);
            waited.with_context(|| format!("{what}: {last:?}"))
        };
        rest("no move is open and nothing is held", &|| {
            let open = |moved: &&Value| moved["delivered"].is_null();
            Ok(two.moves()?.iter().filter(open).map(Value::to_string).collect())
        })?;
        rest("no redirect is left", &|| {
            // Whoever comes home keeps those it left by.
            let wanted = if place == "home" { redirects } else { 1 };
            Ok(Some(self.redirects()?).filter(|all| all.len() != wanted).unwrap_or_default())
        })?;
        rest("who is where is known", &|| self.wrongly_known(place))?;
        for name in ["home", "c", "d"] {
            rest(&format!("no images stay on {name}"), &|| {
                let folder = self.machine(name).proc().join("../run/redirectd");
                let all = fs::read_dir(folder).into_iter().flatten().flatten();
                Ok(all.map(|entry| entry.path().display().to_string()).collect())
            })?;
            rest(&format!("no zombie and no CRIU stays on {name}"), &|| self.strangers(name))?;
        }
        Ok(())
    }

    /// There is a move whose packets are held.
    pub(super) fn holds(&self) -> Result<()> {
        let moves = self.three.two.moves()?;
        let parked = moves.iter().any(|moved| moved["state"] == "parked");
        ensure!(parked, "nothing is held: {moves:?}");
        Ok(())
    }

    fn redirects(&self) -> Result<Vec<String>> {
        let redirects = self.three.two.redirects()?;
        Ok(redirects.as_array().context("redirects")?.iter().map(Value::to_string).collect())
    }

    fn wrongly_known(&self, place: &str) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let two = &self.three.two;
        let daemons = [("home", &two.daemon), ("c", &two.c_daemon), ("d", &self.three.d_daemon)];
        for (name, daemon) in daemons {
            let list = daemon.json(&["ps"])?;
            let guest = list["guests"].as_array().is_some_and(|all| !all.is_empty());
            let away = list["away"][0]["place"].as_str();
            let right = match name {
                "home" => {
                    let elsewhere = Some(place).filter(|place| !["home", NOWHERE].contains(place));
                    away == elsewhere && list["dependent"].is_null()
                }
                name => guest == (name == place),
            };
            if !right {
                wrong.push(format!("{name} says {list}"));
            }
        }
        Ok(wrong)
    }

    /// Zombies, and processes of CRIU's, on a machine.
    fn strangers(&self, name: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.machine(name).proc())?.flatten() {
            let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if status.contains("State:\tZ")
                || line.contains(" swrk ")
                || line.contains(" lazy-pages ")
            {
                found.push(format!("{}: {line}{}", entry.path().display(), &status[..20]));
            }
        }
        Ok(found)
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
        let lan = &self.three.two.lan;
        for (host, other) in [(&lan.home, "10.0.0.3"), (&lan.c, "10.0.0.2")] {
            let wrong = ["lladdr", "02:00:00:00:00:99", "nud", "permanent"];
            match goes {
                true => host.ip(&["neigh", "del", other, "dev", "eth0"])?,
                false => {
                    host.ip(&[&["neigh", "replace", other, "dev", "eth0"], &wrong[..]].concat())?;
                }
            }
        }
        Ok(())
    }
}

impl Hit<'_> {
    /// CRIU goes on from where it stopped.
    pub(super) fn go(&self) -> Result<()> {
        self.field.halts(self.on).go()
    }

    /// The daemon on `name` dies, and is started again.
    pub(super) fn daemon_dies(&mut self, name: &str) -> Result<()> {
        self.field.daemon_dies(name)
    }

    /// CRIU dies where it stopped.
    pub(super) fn criu_dies(&self) -> Result<()> {
        let machine = self.field.machine(self.on);
        machine.run(&["kill", "-KILL", self.criu.trim()])?.success()?;
        self.go()
    }

    /// CRIU and the daemon of its machine die, as when all of a service is killed; the
    /// daemon is started again.
    pub(super) fn both_die(&mut self) -> Result<()> {
        self.field.daemon(self.on).sigkill()?;
        self.criu_dies()?;
        self.field.daemon(self.on).start_again()
    }

    /// `redirect migrate` dies.
    pub(super) fn command_dies(&self) -> Result<()> {
        let home = self.field.machine("home");
        home.run(&["pkill", "-KILL", "--exact", "redirect"])?.success().map(drop)
    }

    /// Waits until `redirect migrate` has ended.
    pub(super) fn command_ends(&mut self) -> Result<()> {
        let command = &mut self.command;
        until(LONGEST, "the command ends", || command.has_ended().ok().filter(|ended| *ended))
            .map(drop)
    }

    /// Waits until `redirect migrate` has said `text`.
    pub(super) fn command_says(&mut self, text: &str) -> Result<()> {
        let said = until(LONGEST, &format!("the command says {text:?}"), || {
            self.command.log().contains(text).then_some(())
        });
        said.with_context(|| self.command.log())
    }

    /// Waits until the daemon on `name` has logged `text`.
    pub(super) fn daemon_says(&mut self, name: &str, text: &str) -> Result<()> {
        let daemon = self.field.daemon(name);
        let said = || daemon.log().contains(text).then_some(());
        match until(LONGEST, &format!("{name} says {text:?}"), said) {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error}: {}", daemon.log()),
        }
    }
}
