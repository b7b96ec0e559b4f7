//! redirectd, by tc and by XDP.

use std::{any::Any, fmt::Write as _};

use anyhow::Result;

use super::Route;
use crate::{
    daemon::{Daemon, Settings},
    lan::{HOME, HOST, INTERFACE, Lan, Wire},
};

/// More connections than any suite has open or still closing at a time.
const FLOWS: u32 = 1 << 17;

/// redirectd, attached in one way.
pub(super) enum Redirectd {
    /// tc only.
    Tc,
    /// Native XDP, with tc behind it.
    Xdp,
}

impl Route for Redirectd {
    fn name(&self) -> &'static str {
        match self {
            Self::Tc => "redirectd-tc",
            Self::Xdp => "redirectd-xdp",
        }
    }

    fn unfit(&self, wire: &Wire) -> Option<String> {
        match self {
            Self::Tc => None,
            Self::Xdp => super::unfit_for_xdp(wire),
        }
    }

    fn set_up(&self, lan: &Lan, ports: &[u16]) -> Result<Box<dyn Any>> {
        let attach = match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        };
        let settings = Settings {
            home: HOME,
            interfaces: &[INTERFACE],
            attach,
            redirects: ports.len() as u32,
            flows: FLOWS,
        };
        let daemon = Daemon::start_with(&lan.home, &settings)?;
        daemon.apply(&daemon.rule_file("rules.yaml", &rules(ports))?)?;
        Ok(Box::new(daemon))
    }
}

/// A redirect for each port, as a rule file.
fn rules(ports: &[u16]) -> String {
    let mut text = "version: 1\nredirects:\n".to_owned();
    for port in ports {
        let _ = writeln!(
            text,
            "  server-{port}: {{ protocol: tcp, home: \"{HOME}:{port}\", to: \"{HOST}:{port}\" }}"
        );
    }
    text
}
