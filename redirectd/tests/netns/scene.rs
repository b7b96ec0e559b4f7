//! Where a test begins: hosts on a switch, and redirectd on home.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Binaries, Daemon, Host, Lab, Lan};

/// What home's configuration says besides its interfaces. The tables are small,
/// so that many daemons fit on a machine, and so that they can be filled.
pub(crate) const HOME: &str = "home: [10.0.0.2, 'fd00::2']
tables: { redirects: 64, flows: 8192, half_open: 2048 }
";

/// The peer, home with redirectd on `eth0`, and the hosts c and d, with no
/// redirect yet. The fields are in the order in which they must go.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) lan: Lan,
    pub(crate) lab: Lab,
}

impl Scene {
    /// With redirectd at tc.
    pub(crate) fn tc() -> Result<Self> {
        Self::attached("tc")
    }

    /// With redirectd attached as `attach` says: `tc`, or `xdp` on hosts
    /// without offloads.
    pub(crate) fn attached(attach: &str) -> Result<Self> {
        Self::in_lab(Lab::new()?, attach)
    }

    /// At tc, with no other lab beside it: see [`Lab::alone`].
    pub(crate) fn alone() -> Result<Self> {
        Self::in_lab(Lab::alone()?, "tc")
    }

    /// At tc, on a home whose configuration has `rest` instead of the usual
    /// tables.
    pub(crate) fn configured(lab: Lab, rest: &str) -> Result<Self> {
        let lan = Lan::new(&lab)?;
        let interfaces = "interfaces: { eth0: { attach: tc } }";
        let yaml = format!("home: [10.0.0.2, 'fd00::2']\n{interfaces}\n{rest}\n");
        let daemon = Daemon::start(&lan.home, &binaries(), &yaml)?;
        Ok(Self { daemon, lan, lab })
    }

    pub(crate) fn in_lab(lab: Lab, attach: &str) -> Result<Self> {
        let lan = if attach == "xdp" { Lan::for_xdp(&lab)? } else { Lan::new(&lab)? };
        let daemon = start(&lan.home, &format!("interfaces: {{ eth0: {{ attach: {attach} }} }}"))?;
        Ok(Self { daemon, lan, lab })
    }

    /// Runs `redirect add ARGS`.
    pub(crate) fn add(&self, args: &[&str]) -> Result<()> {
        self.daemon.redirect(&[&["add"], args].concat()).map(drop)
    }

    /// Redirects a port of home to `port` on c, in both families.
    pub(crate) fn add_both(&self, name: &str, protocol: &str, home: u16, port: u16) -> Result<()> {
        add_both(&self.daemon, name, protocol, home, port)
    }

    /// All flows there are, as `redirect flows --json` lists them.
    pub(crate) fn flows(&self) -> Result<Vec<Value>> {
        let list = self.daemon.json(&["flows"])?;
        Ok(list["flows"].as_array().context("a list of flows")?.clone())
    }

    /// The state of the only flow there is.
    pub(crate) fn state(&self) -> Result<String> {
        let flows = self.flows()?;
        ensure!(flows.len() == 1, "there is not one flow: {flows:#?}");
        Ok(flows[0]["state"].as_str().context("a flow has a state")?.to_owned())
    }

    /// How many packets were counted under a reason.
    pub(crate) fn reason(&self, name: &str) -> Result<u64> {
        let stats = self.daemon.json(&["stats"])?;
        let reasons = stats["reasons"].as_array().context("reasons")?;
        let one = reasons.iter().find(|reason| reason["reason"] == name);
        let packets = one.and_then(|reason| reason["traffic"]["packets"].as_u64());
        packets.with_context(|| format!("no reason {name} in {stats:#}"))
    }

    /// The counters of one redirect, as `redirect stats --json` tells them.
    pub(crate) fn counters(&self, name: &str) -> Result<Value> {
        let stats = self.daemon.json(&["stats"])?;
        let redirects = stats["redirects"].as_array().context("statistics of redirects")?;
        let one = redirects.iter().find(|redirect| redirect["name"] == name);
        Ok(one.with_context(|| format!("no {name} in {stats:#}"))?["counters"].clone())
    }
}

/// Redirects a port of 10.0.0.2 and fd00::2 to `port` of 10.0.0.3 and fd00::3,
/// by the names NAME-4 and NAME-6.
pub(crate) fn add_both(
    daemon: &Daemon,
    name: &str,
    protocol: &str,
    home: u16,
    port: u16,
) -> Result<()> {
    for (family, at_home, host) in [(4, "10.0.0.2", "10.0.0.3"), (6, "[fd00::2]", "[fd00::3]")] {
        let name = format!("{name}-{family}");
        let (at_home, target) = (format!("{at_home}:{home}"), format!("{host}:{port}"));
        let what = [&name, &at_home, "--to", &target, "--protocol", protocol];
        // Some servers come later, and some not at all.
        daemon.redirect(&[&["add", "--no-check"], &what[..]].concat())?;
    }
    Ok(())
}

/// Starts redirectd on `home` with the rest of its configuration.
pub(crate) fn start(home: &Host, rest: &str) -> Result<Daemon> {
    Daemon::start(home, &binaries(), &format!("{HOME}{rest}\n"))
}

/// The programs under test; another folder's with `REDIRECTD_TEST_PROGRAMS`.
pub(crate) fn binaries() -> Binaries {
    let built = Binaries {
        redirectd: PathBuf::from(env!("CARGO_BIN_EXE_redirectd")),
        redirect: PathBuf::from(env!("CARGO_BIN_EXE_redirect")),
    };
    let others = env::var_os("REDIRECTD_TEST_PROGRAMS").map(PathBuf::from);
    others.map_or(built, |folder| Binaries {
        redirectd: folder.join("redirectd"),
        redirect: folder.join("redirect"),
    })
}
