//! Home, c and d, each with processes of its own and a redirectd that knows the
//! others'.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use xtask::lab::{Binaries, Daemon, Finished, Host, Lab, Lan, Machine, with_criu};

use super::PID;
use crate::demo::narrator::Narrator;

const HOME: &str = "home: [10.0.0.2, 'fd00::2']
hosts: { c: [10.0.0.3, 'fd00::3'], d: [10.0.0.4, 'fd00::4'] }
interfaces: { eth0: { attach: tc } }
node: { listen: '10.0.0.2:9311' }
";
const HOST: &str = "interfaces: { eth0: { attach: tc } }
";

/// The machines, in the order in which they must leave.
pub(super) struct Machines {
    redirect: String,
    daemon: Daemon,
    others: [Other; 2],
    pub(super) home: Machine,
    lan: Lan,
    _lab: Lab,
}

/// A machine that is not home.
struct Other {
    daemon: Daemon,
    name: &'static str,
    /// Where nodes reach it.
    listen: &'static str,
    // Held: dropping it ends all that runs there.
    _machine: Machine,
}

impl Machines {
    /// Starts them and has them know each other.
    pub(super) fn prepare(narrator: &Narrator, binaries: &Binaries) -> Result<Self> {
        let lab = Lab::new()?;
        let lan = Lan::new(&lab)?;
        for (host, address, what) in [
            (&lan.peer, "10.0.0.1", "the clients; they know only home's address"),
            (&lan.home, "10.0.0.2", "the home node: redirectd, CRIU, and the server, for now"),
            (&lan.c, "10.0.0.3", "a second machine: redirectd and CRIU, and nothing else"),
            (&lan.d, "10.0.0.4", "a third one: the same"),
        ] {
            narrator.host(host.name(), address, what);
        }
        let home = Machine::new(&lan.home)?;
        let daemon = Daemon::start_on(&home, binaries, HOME)?;
        let other = |host: &Host, name, listen| -> Result<_> {
            let machine = Machine::new(host)?;
            let daemon = Daemon::start_on(&machine, binaries, HOST)?;
            Ok(Other { daemon, name, listen, _machine: machine })
        };
        let others = [other(&lan.c, "c", "10.0.0.3:9311")?, other(&lan.d, "d", "10.0.0.4:9311")?];
        let redirect = text(&binaries.redirect);
        let machines = Self { redirect, daemon, others, home, lan, _lab: lab };
        machines.acquaint(narrator)?;
        Ok(machines)
    }

    /// The machine of the clients.
    pub(super) fn peer(&self) -> &Host {
        &self.lan.peer
    }

    /// Makes c and d known to home.
    fn acquaint(&self, narrator: &Narrator) -> Result<()> {
        let on_home = |words: &[&str]| {
            narrator.command("home", &format!("redirect {}", words.join(" ")));
            self.daemon.json(words)
        };
        let mut invitation =
            on_home(&["node", "init", "--name", "home-node"])?["invitation"].take();
        for Other { daemon, name, listen, .. } in &self.others {
            if invitation.is_null() {
                invitation = on_home(&["node", "invite"])?;
            }
            let token = invitation["token"].as_str().context("an invitation has a token")?;
            let beginning: String = token.chars().take(24).collect();
            let rest = format!("--name {name} --listen {listen}");
            narrator.command(name, &format!("redirect node join {beginning}… {rest}"));
            daemon.redirect(&["node", "join", token, "--name", name, "--listen", listen])?;
            invitation = Value::Null;
        }
        narrator.command("home", "redirect node list");
        narrator.output(&self.daemon.redirect(&["node", "list"])?);
        Ok(())
    }

    /// `redirect migrate`, as root at home; gives the report.
    pub(super) fn migrate(&self, narrator: &Narrator, to: &str) -> Result<Value> {
        narrator.command("home", &format!("redirect migrate {PID} --to {to} --json"));
        let (socket, state) = (text(self.daemon.socket()), text(self.daemon.state()));
        let line = [&self.redirect, "migrate", PID, "--to", to, "--json"];
        let lab = ["--socket", &socket, "--state-dir", &state];
        let with_criu = with_criu();
        let with_criu: Vec<&str> = with_criu.iter().map(String::as_str).collect();
        let done = self.home.run(&[&with_criu[..], &line, &lab].concat())?;
        report(&done).with_context(|| format!("the move to {to} failed"))
    }
}

/// What `redirect migrate --json` said of a move that succeeded.
fn report(done: &Finished) -> Result<Value> {
    let said = if done.code == 0 { &done.stdout } else { &done.stderr };
    let Ok(said) = serde_json::from_str::<Value>(said) else { bail!("{done}") };
    if let Some(what) = said["error"]["what"].as_str() {
        bail!("{what}\n  cure: {}", said["error"]["cure"].as_str().unwrap_or("none is known"));
    }
    let complete = said["lost"].as_array().is_some_and(Vec::is_empty);
    ensure!(said["move"]["state"] == "committed" && complete, "not as it should be: {said:#}");
    Ok(said)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32, stdout: &str, stderr: &str) -> Finished {
        let [line, stdout, stderr] = ["redirect migrate", stdout, stderr].map(str::to_owned);
        Finished { line, code, stdout, stderr }
    }

    #[test]
    fn a_move_counts_if_it_is_committed_and_nothing_is_lost() {
        let committed = r#"{"move":{"state":"committed"},"lost":[]}"#;
        assert!(report(&ended(0, committed, "")).is_ok());
        for other in [
            r#"{"move":{"state":"aborted"},"lost":[]}"#,
            r#"{"move":{"state":"committed"},"lost":["an option"]}"#,
            "{}",
            "",
        ] {
            assert!(report(&ended(0, other, "")).is_err(), "{other}");
        }
    }

    #[test]
    fn a_move_that_failed_tells_why_and_what_helps() {
        let said = r#"{"version":1,"error":{"what":"there is no CRIU","cure":"install it"}}"#;
        let told = report(&ended(1, "", said)).unwrap_err().to_string();
        assert_eq!(told, "there is no CRIU\n  cure: install it");
        let told = report(&ended(127, "", "no such file")).unwrap_err().to_string();
        assert!(told.contains("no such file"), "{told}");
    }
}
