//! What the daemon shows of itself.

use std::{collections::HashMap, process};

use humantime::format_rfc3339_seconds;

use super::Daemon;
use crate::{
    api::types::{
        ConfigurationStatus, DaemonStatus, FlowList, FlowQuery, FlowView, Moving, RedirectList,
        RedirectStats, RedirectTotals, RedirectView, Stats, Status,
    },
    dataplane::{Installed, RedirectCounters, Slot, State, Traffic},
    desired::{Origin, not_found},
    error::Error,
};

impl Daemon {
    /// All redirects, or those of that name (with the IPv6 half that goes with it).
    ///
    /// # Errors
    /// There is none of that name, or a table cannot be read.
    pub fn list(&self, name: Option<&str>) -> Result<RedirectList, Error> {
        let mut installed = self.dataplane.installed()?;
        if let Some(name) = name {
            let named: Vec<&str> = self.desired.named(name).map(|r| r.name.as_str()).collect();
            installed.retain(|there| {
                let asked = there.redirect.name.as_str();
                asked == name || named.contains(&asked)
            });
            if installed.is_empty() {
                return Err(not_found(name));
            }
        }
        installed.sort_by(|a, b| order(a).cmp(&order(b)));
        let open = self.open_flows()?;
        let view = |there: Installed| {
            let moving = match there.state {
                State::Draining => None,
                _ => self.moves.book.ledger().moving(&there.redirect.name),
            };
            Ok(RedirectView {
                moving: moving.map(|there| Moving { id: there.id, state: there.state }),
                origin: match there.state {
                    State::Draining => Origin::Removed,
                    _ => self.desired.origin(&there.redirect.name),
                },
                placement: match there.state {
                    State::Draining => None,
                    _ => self.desired.placement(&there.redirect.name).cloned(),
                },
                state: there.state,
                open_flows: open.get(&there.slot).copied().unwrap_or(0),
                counters: self.dataplane.counters(there.slot)?,
                redirect: there.redirect,
            })
        };
        let redirects = installed.into_iter().map(view).collect::<Result<_, Error>>()?;
        Ok(RedirectList { redirects })
    }

    /// The flows that match `query`.
    ///
    /// # Errors
    /// There is no redirect of that name, or a table cannot be read.
    pub fn flows(&self, query: &FlowQuery) -> Result<FlowList, Error> {
        let names: HashMap<Slot, String> = self
            .dataplane
            .installed()?
            .into_iter()
            .filter(|there| query.redirect.as_ref().is_none_or(|name| there.redirect.name == *name))
            .map(|there| (there.slot, there.redirect.name))
            .collect();
        if let Some(name) = &query.redirect
            && names.is_empty()
        {
            return Err(not_found(name));
        }
        let limit = query.limit.unwrap_or(usize::MAX);
        let mut list = FlowList { matching: 0, flows: Vec::new() };
        self.dataplane.flows(&mut |flow| {
            let Some(name) = names.get(&flow.slot) else { return };
            if query.peer.is_some_and(|peer| peer != flow.peer.0) {
                return;
            }
            list.matching += 1;
            if list.flows.len() < limit {
                list.flows.push(FlowView::new(&flow, name));
            }
        })?;
        Ok(list)
    }

    /// All counters.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut stats = Stats {
            total: RedirectCounters::default(),
            open_flows: 0,
            redirects: Vec::new(),
            reasons: self.dataplane.reasons()?,
            tables: self.dataplane.tables()?,
        };
        for view in self.list(None)?.redirects {
            add(&mut stats.total, &view.counters);
            stats.open_flows += view.open_flows;
            stats.redirects.push(RedirectStats {
                name: view.redirect.name,
                state: view.state,
                open_flows: view.open_flows,
                counters: view.counters,
            });
        }
        Ok(stats)
    }

    /// How the daemon and the packet path are.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn status(&self) -> Result<Status, Error> {
        let all = self.desired.all().len();
        let api = self.desired.api().len();
        Ok(Status {
            daemon: DaemonStatus {
                release: env!("CARGO_PKG_VERSION").to_owned(),
                pid: process::id(),
                uptime_seconds: self.started.elapsed().as_secs(),
            },
            configuration: ConfigurationStatus {
                path: self.config_path.clone(),
                loaded: format_rfc3339_seconds(self.config_loaded).to_string(),
                refused: self.config_refused.clone(),
            },
            redirects: RedirectTotals {
                file: all - api,
                api,
                draining: self.draining.values().sum(),
            },
            interfaces: self.dataplane.attached(),
            tables: self.dataplane.tables()?,
            warnings: self.warnings(),
        })
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = crate::host::warnings(self.desired.all());
        warnings.extend(self.in_force().err().map(|error| error.what));
        warnings
    }

    fn open_flows(&self) -> Result<HashMap<Slot, u64>, Error> {
        let mut open = HashMap::new();
        self.dataplane.flows(&mut |flow| *open.entry(flow.slot).or_insert(0) += 1)?;
        Ok(open)
    }
}

/// By name, those that drain last.
fn order(there: &Installed) -> (bool, &str, Slot) {
    (there.state == State::Draining, &there.redirect.name, there.slot)
}

fn add(total: &mut RedirectCounters, more: &RedirectCounters) {
    let sum = |total: &mut Traffic, more: Traffic| {
        total.packets += more.packets;
        total.bytes += more.bytes;
    };
    sum(&mut total.to_host, more.to_host);
    sum(&mut total.to_peer, more.to_peer);
    total.flows_opened += more.flows_opened;
    total.flows_refused += more.flows_refused;
}
