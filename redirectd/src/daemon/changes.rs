//! The changes that come through the API.

use std::net::IpAddr;

use super::Daemon;
use crate::{
    api::types::{AddRequest, ChangeReport, RemoveRequest, RulesText},
    config::{self, Config},
    dataplane::Removal,
    error::Error,
    host,
    rule::Redirect,
};

impl Daemon {
    /// The target's name in `request`, if it is neither an address nor one of
    /// the configured hosts, and so has to be asked of the resolver.
    #[must_use]
    pub fn unresolved_host(&self, request: &AddRequest) -> Option<String> {
        config::unresolved_host(&request.redirect, &self.config.hosts).map(str::to_owned)
    }

    /// The redirects that `request` asks for: one, or one for each home address
    /// when it gives only ports. `resolved` is a target that is not among the
    /// configured hosts, with its addresses.
    ///
    /// # Errors
    /// The request makes no sense; what is wrong is said as for a rule file.
    pub fn read_addition(
        &self,
        request: &AddRequest,
        resolved: Option<(String, Vec<IpAddr>)>,
    ) -> Result<Vec<Redirect>, Error> {
        let Config { hosts, home, snat_ports, .. } = &self.config;
        let redirects = match resolved {
            None => config::redirects_from(&request.name, &request.redirect, hosts, home),
            Some((name, addresses)) => {
                let hosts = hosts.with_resolved(&name, &addresses)?;
                config::redirects_from(&request.name, &request.redirect, &hosts, home)
            }
        }?;
        for redirect in &redirects {
            redirect.keeps_off(*snat_ports)?;
        }
        Ok(redirects)
    }

    /// Adds `redirects`, which [`Daemon::read_addition`] made of `request`.
    ///
    /// # Errors
    /// One is there already and differs, they contradict others, or the kernel
    /// or the disk refuses; nothing is changed then.
    pub fn add(
        &mut self,
        request: &AddRequest,
        redirects: Vec<Redirect>,
    ) -> Result<ChangeReport, Error> {
        let warnings = host::warnings(&redirects);
        let edit = self.desired.addition(&request.name, redirects, request.replace)?;
        let mut report = self.edit(edit, Removal::default())?;
        report.warnings = warnings;
        Ok(report)
    }

    /// Removes all the redirects named.
    ///
    /// # Errors
    /// One of them is not there or comes from a file, or the kernel or the disk
    /// refuses; nothing is changed then.
    pub fn remove(&mut self, request: &RemoveRequest) -> Result<ChangeReport, Error> {
        let edit = self.desired.removal(&request.names)?;
        self.edit(edit, request.removal)
    }

    /// Puts the redirects of `rules` in place of all that came through the API.
    ///
    /// # Errors
    /// `rules` makes no sense or contradicts the configuration files, or the
    /// kernel or the disk refuses; nothing is changed then.
    pub fn apply_rules(&mut self, rules: &RulesText, dry_run: bool) -> Result<ChangeReport, Error> {
        let Self { config, .. } = self;
        let redirects =
            config::parse_rules(&rules.text, &rules.source, &config.hosts, &config.home)?;
        for redirect in &redirects {
            redirect.keeps_off(config.snat_ports)?;
        }
        let warnings = host::warnings(&redirects);
        let next = self.desired.with_api(redirects)?;
        let mut report = if dry_run { self.preview(&next) } else { self.replace(next, true)? };
        report.warnings = warnings;
        Ok(report)
    }
}
