//! Machines whose daemons know each other: home, c, and perhaps d.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Binaries, Daemon, Finished, Host, Lab, Lan, Machine, soon, with_criu};

use crate::programs::Talk;

const SERVER: &str = "10.0.0.2:7000";
/// A number that no other process of a machine has.
pub(crate) const PID: i32 = 3000;
const HOME: &str = "home: [10.0.0.2, 'fd00::2']
hosts: { c: [10.0.0.3, 'fd00::3'], d: [10.0.0.4, 'fd00::4'] }
tables: { redirects: 64, flows: 1024, half_open: 512 }
interfaces: { eth0: { attach: tc } }
node: { listen: '10.0.0.2:9311' }
";
pub(crate) const C: &str = "tables: { redirects: 64, flows: 1024, half_open: 512 }
interfaces: { eth0: { attach: tc } }
";

pub(crate) fn binaries() -> Binaries {
    Binaries {
        redirectd: env!("CARGO_BIN_EXE_redirectd").into(),
        redirect: env!("CARGO_BIN_EXE_redirect").into(),
    }
}

/// Home and c. The fields are in the order in which they must go.
pub(crate) struct Two {
    pub(crate) daemon: Daemon,
    pub(crate) c_daemon: Daemon,
    pub(crate) home: Machine,
    pub(crate) c: Machine,
    pub(crate) lan: Lan,
    _lab: Lab,
}

impl Two {
    /// With nodes that have joined, and `start_c` for c's daemon.
    pub(crate) fn new(start_c: impl FnOnce(&Machine) -> Result<Daemon>) -> Result<Self> {
        let lab = Lab::new()?;
        let lan = Lan::new(&lab)?;
        let (home, c) = (Machine::new(&lan.home)?, Machine::new(&lan.c)?);
        let daemon = Daemon::start_on(&home, &binaries(), HOME)?;
        let c_daemon = start_c(&c)?;
        let begun = daemon.json(&["node", "init", "--name", "home-node"])?;
        let token = begun["invitation"]["token"].as_str().context("a token")?;
        c_daemon.json(&["node", "join", token, "--name", "c", "--listen", "10.0.0.3:9311"])?;
        Ok(Self { daemon, c_daemon, home, c, lan, _lab: lab })
    }

    pub(crate) fn joined() -> Result<Self> {
        Self::new(|c| Daemon::start_on(c, &binaries(), C))
    }

    /// Starts a server of [`crate::programs`] at home, with the number [`PID`].
    pub(crate) fn serve(&self, program: &str) -> Result<()> {
        self.serve_at(program, "0.0.0.0")
    }

    /// The same, listening at `address`.
    pub(crate) fn serve_at(&self, program: &str, address: &str) -> Result<()> {
        let log = self.home.start_as(PID, &["python3", "-c", program, address])?;
        let said = || fs::read_to_string(&log).ok().filter(|log| log.contains("listening"));
        soon("a server listens", said).map(drop)
    }

    /// `redirect migrate`, as root at home.
    pub(crate) fn migrate(&self, options: &[&str]) -> Result<Finished> {
        self.run(&[], "c", options)
    }

    pub(crate) fn run(&self, by: &[&str], to: &str, options: &[&str]) -> Result<Finished> {
        let (socket, state) = (self.daemon.socket(), self.daemon.state());
        let (with_criu, pid) = (with_criu(), PID.to_string());
        let text = |path: &std::path::Path| path.display().to_string();
        let binary = env!("CARGO_BIN_EXE_redirect");
        let (socket, state) = (text(socket), text(state));
        let line =
            [binary, "migrate", &pid, "--to", to, "--socket", &socket, "--state-dir", &state];
        let with_criu: Vec<&str> = with_criu.iter().map(String::as_str).collect();
        self.home.run(&[by, &with_criu, &line, options].concat())
    }

    /// `redirect`, run where the process at home is.
    pub(crate) fn redirect_on_home(&self, words: &[&str]) -> Result<Finished> {
        let socket = self.daemon.socket().display().to_string();
        let line = [&[env!("CARGO_BIN_EXE_redirect"), "--socket", &socket], words].concat();
        self.home.run(&line)
    }

    pub(crate) fn redirects(&self) -> Result<Value> {
        Ok(self.daemon.json(&["list"])?["redirects"].take())
    }

    pub(crate) fn moves(&self) -> Result<Vec<Value>> {
        let list = self.daemon.json(&["move", "list"])?;
        Ok(list["moves"].as_array().context("moves")?.clone())
    }

    /// The process is at home, and `talk` goes on there; nothing is held, and no
    /// redirect has stayed.
    pub(crate) fn goes_on_at_home(&self, talk: &mut Talk) -> Result<()> {
        for _ in 0..20 {
            assert_eq!(talk.line()?, "10.0.0.2");
        }
        assert_eq!(Talk::open(self.peer(), SERVER)?.line()?, "10.0.0.2");
        ensure!(self.home.has(PID) && !self.c.has(PID), "{PID} is not at home alone");
        assert_eq!(self.redirects()?, Value::Array(Vec::new()));
        Ok(())
    }

    /// Lets c and home reach each other, or not: what they send each other goes
    /// nowhere, and nobody is told.
    pub(crate) fn link(&self, goes: bool) -> Result<()> {
        for (host, other) in [(&self.lan.home, "10.0.0.3"), (&self.lan.c, "10.0.0.2")] {
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

    pub(crate) fn peer(&self) -> &Host {
        &self.lan.peer
    }
}

/// Home, c and d.
pub(crate) struct Three {
    pub(crate) two: Two,
    pub(crate) d_daemon: Daemon,
    pub(crate) d: Machine,
}

impl Three {
    pub(crate) fn joined() -> Result<Self> {
        let start = |machine: &_| Ok((Daemon::start_on(machine, &binaries(), C)?, ()));
        Ok(Self::new(start)?.0)
    }

    /// With `start` for the daemons of c and d, and what that gives besides.
    pub(crate) fn new<T>(
        mut start: impl FnMut(&Machine) -> Result<(Daemon, T)>,
    ) -> Result<(Self, T, T)> {
        let mut of_c = None;
        let two = Two::new(|c| {
            let (daemon, it) = start(c)?;
            of_c = Some(it);
            Ok(daemon)
        })?;
        let d = Machine::new(&two.lan.d)?;
        let (d_daemon, of_d) = start(&d)?;
        let invited = two.daemon.json(&["node", "invite"])?;
        let token = invited["token"].as_str().context("a token")?;
        d_daemon.json(&["node", "join", token, "--name", "d", "--listen", "10.0.0.4:9311"])?;
        Ok((Self { two, d_daemon, d }, of_c.context("c has a daemon")?, of_d))
    }

    /// Whether the process is on the machine called `name`, and on no other one.
    pub(crate) fn must_be_on(&self, name: &str) -> Result<()> {
        let machines = [("home", &self.two.home), ("c", &self.two.c), ("d", &self.d)];
        for (one, machine) in machines {
            ensure!(machine.has(PID) == (one == name), "{PID} is not on {name} alone: {one}");
        }
        Ok(())
    }
}

pub(crate) fn refused(done: &Finished, code: i32, part: &str) -> Result<()> {
    ensure!(done.code == code && done.stderr.contains(part), "not {code}, {part:?}: {done}");
    ensure!(done.stderr.contains("cure:"), "{done}");
    Ok(())
}
