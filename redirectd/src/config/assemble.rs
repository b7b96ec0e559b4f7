//! The files together: what they say, and whether it can be so.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{
    Config,
    files::Source,
    hosts::{Host, Hosts},
    read::read,
    report::{Issue, Issues, Spot, shown},
    settings, shape,
    spec::{self, Part},
    text::{MainFile, Many, Named, RulesFile, Spec},
    tree::Step,
};
use crate::{
    error::Error,
    rule::{self, Contradiction, Field, PortRange, Redirect},
};

/// The configuration of a main file and the rule files after it.
pub(super) fn config(sources: &[Source]) -> Result<Config, Error> {
    let mut issues = Issues::default();
    let files: Vec<Option<MainFile>> = sources
        .iter()
        .enumerate()
        .map(|(n, source)| match n {
            0 => read::<MainFile>(source, n, &shape::MAIN, &mut issues),
            _ => read::<RulesFile>(source, n, &shape::RULES, &mut issues).map(MainFile::from),
        })
        .collect();
    // Half of the files would only give errors about what the others name.
    let Some(files) = files.into_iter().collect::<Option<Vec<_>>>() else {
        return Err(unreadable(issues, sources));
    };
    let nothing = MainFile::default();
    let main = files.first().unwrap_or(&nothing);
    let root = Spot::file(0);

    let home = home(&main.home, &root.at("home"), &mut issues);
    let (hosts, broken) = all_hosts(&files, Hosts::default(), &mut issues);
    let mut rules = Rules::default();
    for (n, file) in files.iter().enumerate() {
        rules.read(n, &file.redirects, &hosts, &home, &broken, &mut issues);
    }
    let snat_ports =
        settings::snat_ports(main.snat_ports.as_deref(), &root.at("snat_ports"), &mut issues);
    let tables = settings::tables(main.tables.as_ref(), &root.at("tables"), &mut issues);
    rules.check_contradictions(&mut issues);
    rules.check_snat_ports(snat_ports, &mut issues);
    rules.check_count(tables.redirects, &mut issues);
    rules.warn_of_home_as_target(&home, &mut issues);
    if main.interfaces.0.is_empty() {
        issues.warn(Issue::new(
            root.at("interfaces"),
            "no interfaces are named: connections from other machines are not redirected",
            "name those that peers and hosts are reached by under `interfaces`",
        ));
    }
    let mut config = Config {
        interfaces: settings::interfaces(&main.interfaces, &root.at("interfaces"), &mut issues),
        timers: settings::timers(main.timers.as_ref(), &root.at("timers"), &mut issues),
        api: settings::api(main.api.as_ref(), &root.at("api"), &mut issues),
        metrics: settings::metrics(main.metrics.as_deref(), &root.at("metrics"), &mut issues),
        node_listen: settings::node(main.node.as_ref(), &root.at("node"), &mut issues),
        home,
        hosts,
        snat_ports,
        tables,
        redirects: rules.redirects,
        warnings: Vec::new(),
    };
    config.warnings = issues.finish(sources)?;
    Ok(config)
}

/// The redirects of one file in the form of `rules.d`.
pub(super) fn rules(
    source: &Source,
    hosts: &Hosts,
    home: &[IpAddr],
) -> Result<Vec<Redirect>, Error> {
    let sources = std::slice::from_ref(source);
    let mut issues = Issues::default();
    let Some(file) = read::<RulesFile>(source, 0, &shape::RULES, &mut issues) else {
        return Err(unreadable(issues, sources));
    };
    let files = [MainFile::from(file)];
    let (hosts, broken) = all_hosts(&files, hosts.clone(), &mut issues);
    let mut rules = Rules::default();
    rules.read(0, &files[0].redirects, &hosts, home, &broken, &mut issues);
    rules.check_contradictions(&mut issues);
    issues.finish(sources)?;
    Ok(rules.redirects)
}

/// The error of a set of files that could not be read to the end.
fn unreadable(issues: Issues, sources: &[Source]) -> Error {
    match issues.finish(sources) {
        Err(error) => error,
        // Not reached: a file that cannot be read leaves an issue.
        Ok(_) => Error::new(crate::error::Kind::Failed, "a file cannot be read"),
    }
}

/// The node's home addresses; wrong ones are left out.
fn home(texts: &[String], spot: &Spot, issues: &mut Issues) -> Vec<IpAddr> {
    let mut home = Vec::with_capacity(texts.len());
    for (n, text) in texts.iter().enumerate() {
        let spot = spot.then(Step::Item(n));
        let Some(address) = address(text, &spot, issues) else { continue };
        if let Some(flaw) = rule::address_flaw(Field::Home, "home", address) {
            issues.add(Issue::new(spot, flaw.what, flaw.cure).token(text));
        } else if home.contains(&address) {
            let what = format!("the home address {address} is given twice");
            issues.add(Issue::new(spot, what, "name it once").token(text));
        } else {
            home.push(address);
        }
    }
    home
}

fn address(text: &str, spot: &Spot, issues: &mut Issues) -> Option<IpAddr> {
    let address = text.parse();
    if address.is_err() {
        let bare = text.trim_matches(['[', ']']).parse::<IpAddr>();
        let cure = match bare {
            Ok(address) => format!("write {address} without brackets"),
            Err(_) => "write an address such as 192.0.2.1 or 2001:db8::1".to_owned(),
        };
        let what = format!("`{}` is not an IP address", shown(text));
        issues.add(Issue::new(spot.clone(), what, cure).token(text));
    }
    address.ok()
}

/// The hosts of all files beside those `known` already, and the names of those
/// that are wrong in themselves.
fn all_hosts<'a>(
    files: &'a [MainFile],
    known: Hosts,
    issues: &mut Issues,
) -> (Hosts, HashSet<&'a str>) {
    let mut hosts = known;
    let mut broken = HashSet::new();
    let mut places: HashMap<&str, Spot> = HashMap::new();
    for (n, file) in files.iter().enumerate() {
        for (m, (name, addresses)) in file.hosts.0.iter().enumerate() {
            let spot = Spot::file(n).at("hosts").then(Step::Entry(m));
            let Some(host) = host(name, addresses, &spot, issues) else {
                broken.insert(name.as_str());
                continue;
            };
            let before = hosts.insert(name, host);
            let first = places.insert(name, spot.key());
            let what = format!("the host `{name}` is given twice");
            let cure = "give one of them another name, or remove it";
            match (first, before) {
                (Some(first), _) => {
                    let issue = Issue::new(spot.key(), what, cure);
                    issues.add(issue.also(first, "it is here already"));
                }
                // The same host may be named again where the file is to stand alone.
                (None, Some(before)) if before != host => issues.add(Issue::new(
                    spot.key(),
                    format!("the host `{name}` has other addresses in the configuration"),
                    cure,
                )),
                _ => {}
            }
        }
    }
    (hosts, broken)
}

fn host(name: &str, texts: &Many, spot: &Spot, issues: &mut Issues) -> Option<Host> {
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
    if let Some(flaw) = rule::name_flaw("host", name) {
        issues.add(Issue::new(spot.key(), flaw.what, flaw.cure));
    } else if name == rule::AT_HOME {
        issues.add(Issue::new(
            spot.key(),
            "a host cannot be called `home`: that means this node itself".to_owned(),
            "give it another name",
        ));
    } else if numeric {
        issues.add(Issue::new(
            spot.key(),
            format!("the host name `{name}` could be taken for an address or a port"),
            "use at least one letter",
        ));
    }
    let items = || texts.0.iter().enumerate();
    let addresses: Vec<Option<IpAddr>> =
        items().map(|(n, text)| address(text, &spot.then(Step::Item(n)), issues)).collect();
    let addresses = addresses.into_iter().collect::<Option<Vec<_>>>()?;
    match Host::new(&addresses) {
        Ok(host) => Some(host),
        Err(Some((n, flaw))) => {
            let token = texts.0.get(n).map_or("", String::as_str);
            let spot = spot.then(Step::Item(n));
            issues.add(Issue::new(spot, flaw.what, flaw.cure).token(token));
            None
        }
        Err(None) => {
            let what = format!("the host `{}` has no address", shown(name));
            issues.add(Issue::new(spot.key(), what, "write one, or one of each family"));
            None
        }
    }
}

/// The redirects of all files with their places.
#[derive(Debug, Default)]
struct Rules {
    redirects: Vec<Redirect>,
    /// For each redirect, the file and the entry it comes from.
    origins: Vec<(usize, usize)>,
}

fn spot_of((file, entry): (usize, usize)) -> Spot {
    Spot::file(file).at("redirects").then(Step::Entry(entry))
}

impl Rules {
    fn read(
        &mut self,
        file: usize,
        specs: &Named<Spec>,
        hosts: &Hosts,
        home: &[IpAddr],
        broken: &HashSet<&str>,
        issues: &mut Issues,
    ) {
        for (entry, (name, spec)) in specs.0.iter().enumerate() {
            match spec::expand(name, spec, hosts, home) {
                Ok(redirects) => {
                    self.origins.extend(redirects.iter().map(|_| (file, entry)));
                    self.redirects.extend(redirects);
                }
                Err(faults) => {
                    let spot = spot_of((file, entry));
                    // That there is no such host would not be true of a broken one.
                    for fault in faults.into_iter().filter(|f| !broken.contains(&*f.token)) {
                        let spot = spot_of_part(&spot, fault.part, spec);
                        issues.add(Issue::new(spot, fault.what, fault.cure).token(fault.token));
                    }
                }
            }
        }
    }

    /// Reports each pair of redirects that cannot be in force together, once.
    fn check_contradictions(&self, issues: &mut Issues) {
        let views: Vec<&Redirect> = self.redirects.iter().collect();
        let mut seen = HashSet::new();
        for conflict in rule::conflicts(&views) {
            let (first, second) = (self.origins[conflict.first], self.origins[conflict.second]);
            if !seen.insert((first, second)) {
                continue;
            }
            let (what, cure) = conflict.why.describe(views[conflict.first], views[conflict.second]);
            let (at, also) = match conflict.why {
                Contradiction::Name => (spot_of(second).key(), spot_of(first).key()),
                Contradiction::Overlap { .. } => {
                    (spot_of(second).at("home"), spot_of(first).at("home"))
                }
                Contradiction::Chain { .. } => {
                    (spot_of(first).at("to"), spot_of(second).at("home"))
                }
            };
            issues.add(Issue::new(at, what, cure).also(also, "the other one is here"));
        }
    }

    fn check_snat_ports(&self, snat_ports: PortRange, issues: &mut Issues) {
        for (redirect, origin) in self.redirects.iter().zip(&self.origins) {
            if let Err(error) = redirect.keeps_off(snat_ports) {
                let cure = error.cure.unwrap_or_default();
                issues.add(Issue::new(spot_of(*origin).at("home"), error.what, cure));
            }
        }
    }

    fn check_count(&self, most: u32, issues: &mut Issues) {
        let count = self.redirects.len();
        if count > most as usize {
            issues.add(Issue::new(
                Spot::file(0).at("tables").at("redirects"),
                format!("there are {count} redirects, but the table of redirects holds {most}"),
                format!("write `tables: {{ redirects: {} }}`", count.next_power_of_two()),
            ));
        }
    }

    fn warn_of_home_as_target(&self, home: &[IpAddr], issues: &mut Issues) {
        for (redirect, origin) in self.redirects.iter().zip(&self.origins) {
            if home.contains(&redirect.target) && !redirect.is_at_home() {
                issues.warn(Issue::new(
                    spot_of(*origin).at("to"),
                    format!("the target {} is one of home's own addresses", redirect.target),
                    "redirects are for other machines; at home, let the server listen there",
                ));
            }
        }
    }
}

fn spot_of_part(redirect: &Spot, part: Part, spec: &Spec) -> Spot {
    // What is not given at all is missing in the redirect as a whole.
    match part {
        Part::Name => redirect.key(),
        Part::Home if spec.home.is_empty() => redirect.key(),
        Part::To if spec.to.is_empty() => redirect.key(),
        Part::Home => redirect.at("home"),
        Part::To => redirect.at("to"),
        Part::Protocol(n) => redirect.at("protocol").then(Step::Item(n)),
        Part::Peers(n) => redirect.at("peers").then(Step::Item(n)),
        Part::Mode => redirect.at("mode"),
        Part::Flows => redirect.at("flows"),
    }
}
