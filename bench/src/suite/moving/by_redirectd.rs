//! Moves by `redirect migrate`.

use anyhow::{Context, Result};

use super::machines::{Machines, Mover};
use crate::{
    command::run,
    daemon::{Daemon, program},
    lan::{HOME, HOST, INTERFACE},
};

/// What home calls the host.
const NAME: &str = "host";
/// Where nodes listen.
const PORT: u16 = 9311;
/// No redirects, as a rule file.
const NONE: &str = "version: 1\nredirects: {}\n";

/// redirectd at home and on the host, which know each other. Dropped in the order of
/// its fields.
pub(super) struct Redirectd {
    daemon: Daemon,
    _there: Daemon,
    machines: Machines,
    /// How memory is moved, as `redirect migrate` is told.
    options: &'static [&'static str],
}

impl Redirectd {
    /// Sets it up.
    ///
    /// # Errors
    /// A daemon does not start, or they cannot be made known to each other.
    pub(super) fn set_up(options: &'static [&'static str]) -> Result<Self> {
        let machines = Machines::new()?;
        let common = format!(
            "version: 1\ninterfaces: {{ {INTERFACE}: {{ attach: tc }} }}\n\
             tables: {{ redirects: 1024, flows: 8192, half_open: 8192 }}\n"
        );
        let home = format!(
            "{common}home: [{HOME}]\nhosts: {{ {NAME}: [{HOST}] }}\n\
             node: {{ listen: '{HOME}:{PORT}' }}\n"
        );
        let daemon = Daemon::configured(&machines.lan.home, &home)?;
        let there = Daemon::among(&machines.host, &common)?;
        let begun = daemon.json(&["node", "init", "--name", "home-node"])?;
        let token = begun["invitation"]["token"].as_str().context("no invitation")?;
        let listen = format!("{HOST}:{PORT}");
        there.json(&["node", "join", token, "--name", NAME, "--listen", &listen])?;
        Ok(Self { daemon, _there: there, machines, options })
    }
}

impl Mover for Redirectd {
    fn machines(&self) -> &Machines {
        &self.machines
    }

    fn prepare(&mut self) -> Result<()> {
        self.daemon.apply(&self.daemon.rule_file("none.yaml", NONE)?)
    }

    fn migrate(&mut self, pid: i32) -> Result<u64> {
        let mut command = self.machines.home.command(&program("redirect")?.display().to_string());
        command.args(["migrate", &pid.to_string(), "--to", NAME, "--json"]).args(self.options);
        command.arg("--socket").arg(self.daemon.socket());
        command.arg("--state-dir").arg(self.daemon.state());
        let said = run(&mut command, "")?;
        let report: serde_json::Value =
            serde_json::from_str(&said).with_context(|| format!("not JSON: {said}"))?;
        let images = report["bytes"].as_u64();
        // What followed was no image, but went over as well.
        let followed = report["memory"]["bytes"].as_u64().unwrap_or_default();
        let bytes = images.map(|images| images + followed);
        bytes.with_context(|| format!("no bytes in the report: {said}"))
    }
}
