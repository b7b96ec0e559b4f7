//! What may not be left of a move that is over.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xtask::lab::until;

use super::field::{Field, LONGEST, NOWHERE};

impl Field {
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

    pub(super) fn redirects(&self) -> Result<Vec<String>> {
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
}
