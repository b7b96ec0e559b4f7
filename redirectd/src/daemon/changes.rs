//! The changes that come through the API.

use std::{collections::BTreeMap, net::IpAddr};

use super::Daemon;
use crate::{
    api::types::{AddAllRequest, Addition, ChangeReport, RemoveRequest, RulesText},
    config::{self, Config, Spec},
    dataplane::Removal,
    desired::Edit,
    error::Error,
    host,
    rule::Redirect,
};

impl Daemon {
    /// The target's name in `redirect`, if it is neither an address nor one of the
    /// configured hosts, and so has to be asked of the resolver.
    #[must_use]
    pub fn unresolved_host(&self, redirect: &Spec) -> Option<String> {
        config::unresolved_host(redirect, &self.config.hosts).map(str::to_owned)
    }

    /// The redirects that `addition` asks for: one, or one for each home address
    /// when it gives only ports. `resolved` are targets that are not among the
    /// configured hosts, with their addresses.
    ///
    /// # Errors
    /// The addition makes no sense; what is wrong is said as for a rule file.
    pub fn read_addition(
        &self,
        addition: &Addition,
        resolved: &BTreeMap<String, Vec<IpAddr>>,
    ) -> Result<Vec<Redirect>, Error> {
        let Addition { name, redirect, .. } = addition;
        let Config { hosts, home, snat_ports, .. } = &self.config;
        let asked = self.unresolved_host(redirect);
        let redirects = match asked.as_ref().and_then(|host| resolved.get_key_value(host)) {
            None => config::redirects_from(name, redirect, hosts, home),
            Some((host, addresses)) => {
                let hosts = hosts.with_resolved(host, addresses)?;
                config::redirects_from(name, redirect, &hosts, home)
            }
        }?;
        for redirect in &redirects {
            redirect.keeps_off(*snat_ports)?;
        }
        Ok(redirects)
    }

    /// Adds `redirects`: for each addition of `request`, in its order, those that
    /// [`Daemon::read_addition`] made of it.
    ///
    /// # Errors
    /// One is there already and differs, they contradict each other or others, or
    /// the kernel or the disk refuses; nothing is changed then.
    pub fn add(
        &mut self,
        request: &AddAllRequest,
        redirects: Vec<Vec<Redirect>>,
    ) -> Result<ChangeReport, Error> {
        let warnings = host::warnings(redirects.iter().flatten());
        let mut edit = Edit::default();
        for (addition, redirects) in request.additions.iter().zip(redirects) {
            let one = self.desired.addition(&addition.name, redirects, request.replace)?;
            edit.out.extend(one.out);
            edit.into.extend(one.into);
        }
        let mut report = if request.dry_run {
            let mut next = self.desired.clone();
            next.make(edit)?;
            self.preview(&next)
        } else {
            self.edit(edit, Removal::default())?
        };
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
