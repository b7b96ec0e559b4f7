//! Reading the configuration anew, at SIGHUP or `redirect apply`.
//!
//! A configuration is in force whole or not at all: it is read and checked, the
//! programs are put on interfaces that are new, the redirects are changed; a
//! failure anywhere undoes what came before it. What only a start can set (the
//! sizes of tables, the socket) is named in a warning.

use std::{collections::BTreeSet, time::SystemTime};

use tracing::{info, warn};

use crate::{
    api::{events::Happening, types::ChangeReport},
    config::{self, Config},
    daemon::Daemon,
    error::Error,
    host,
};

impl Daemon {
    /// Reads the configuration files and brings everything to what they say.
    /// With `dry_run`, only says what would change.
    ///
    /// # Errors
    /// The files are wrong, or what they say cannot be done; nothing is changed
    /// then.
    pub fn reload(&mut self, dry_run: bool) -> Result<ChangeReport, Error> {
        let result = config::load(&self.config_path)
            .and_then(|new| if dry_run { self.preview_config(&new) } else { self.adopt(new) });
        if dry_run {
            return result;
        }
        match &result {
            Ok(report) => {
                let changes = report.changes.len();
                info!(changes, "configuration reloaded");
                self.config_refused = None;
                self.events.publish(Happening::ConfigurationReloaded { changes });
            }
            Err(error) => {
                warn!(error = error.one_line(), "configuration refused, nothing changed");
                self.config_refused = Some(error.clone());
                self.events.publish(Happening::ConfigurationRefused { error: error.clone() });
            }
        }
        result
    }

    fn preview_config(&self, new: &Config) -> Result<ChangeReport, Error> {
        let next = self.desired.with_files(new.redirects.clone())?;
        let mut report = self.preview(&next);
        report.warnings = self.warnings_of(new);
        Ok(report)
    }

    fn adopt(&mut self, new: Config) -> Result<ChangeReport, Error> {
        let next = self.desired.with_files(new.redirects.clone())?;
        let before = self.wanted_interfaces(&self.config);
        let wanted = self.wanted_interfaces(&new);
        self.keep_written(&next)?;
        self.attach_all(&wanted)?;
        let mut report = match self.replace(next, false) {
            Ok(report) => report,
            Err(error) => {
                self.detach_unwanted(&before);
                return Err(error);
            }
        };
        self.detach_unwanted(&wanted);
        self.forget_placements();
        report.warnings = self.warnings_of(&new);
        for warning in &report.warnings {
            warn!("{warning}");
        }
        self.config = new;
        self.config_loaded = SystemTime::now();
        Ok(report)
    }

    /// What of `new` ought to be looked at.
    fn warnings_of(&self, new: &Config) -> Vec<String> {
        let mut warnings = new.warnings.clone();
        warnings.extend(host::warnings(&new.redirects));
        warnings.extend(self.needs_restart(new));
        warnings
    }

    /// What `new` says that only a start can bring about.
    fn needs_restart(&self, new: &Config) -> Vec<String> {
        let old = &self.config;
        let mut keys = BTreeSet::new();
        if old.tables != new.tables {
            keys.insert("tables");
        }
        if old.snat_ports != new.snat_ports {
            keys.insert("snat_ports");
        }
        if old.api != new.api {
            keys.insert("api");
        }
        if old.metrics != new.metrics {
            keys.insert("metrics");
        }
        if old.node_listen != new.node_listen {
            keys.insert("node");
        }
        keys.iter()
            .map(|key| match *key {
                "tables" => {
                    "`tables` changed; tables that are in the kernel keep their sizes until \
                             `redirectd --uninstall`, which cuts all flows"
                        .to_owned()
                }
                key => format!("`{key}` changed; it takes effect at the next start"),
            })
            .collect()
    }
}
