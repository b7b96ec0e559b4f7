//! One redirect as people write it → the redirects it means.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    endpoint::{self, HomeEndpoint, HostName, TargetEndpoint, Wrong},
    hosts::Hosts,
    report::shown,
    text::Spec,
};
use crate::{
    error::{Error, Kind},
    rule::{self, Field, Flows, Mode, PortRange, Protocol, Redirect},
};

/// The part of a [`Spec`] that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Name,
    Protocol(usize),
    Home,
    To,
    Peers(usize),
    Mode,
    Flows,
}

/// One thing that is wrong with a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) part: Part,
    /// The piece of the part's text that is wrong; empty if all of it.
    pub(super) token: String,
    pub(super) what: String,
    pub(super) cure: String,
}

/// The redirects that `spec` means under `name`: one if it gives a home address;
/// else one for each of the `home` addresses whose family the host and the
/// peers have. Of several, the first keeps `name`; those of IPv6 get the suffix
/// `.6` where there are some of IPv4; further ones of a family `.2`, `.3`, ….
///
/// # Errors
/// The first thing that is wrong with it, of kind [`Kind::Usage`].
pub fn redirects_from(
    name: &str,
    spec: &Spec,
    hosts: &Hosts,
    home: &[IpAddr],
) -> Result<Vec<Redirect>, Error> {
    expand(name, spec, hosts, home).map_err(|faults| {
        // `expand` gives at least one fault with an error.
        faults.into_iter().next().map_or_else(
            || Error::new(Kind::Usage, "the redirect is wrong"),
            |fault| {
                let what = match fault.part {
                    Part::Name => fault.what,
                    _ => format!("redirect `{name}`: {}", fault.what),
                };
                Error::new(Kind::Usage, what).cure(fault.cure)
            },
        )
    })
}

/// As [`redirects_from`], with everything that is wrong.
pub(super) fn expand(
    name: &str,
    spec: &Spec,
    hosts: &Hosts,
    home: &[IpAddr],
) -> Result<Vec<Redirect>, Vec<Fault>> {
    let mut faults = Vec::new();
    let read = read(name, spec, &mut faults);
    let (Some(read), true) = (read, faults.is_empty()) else { return Err(faults) };
    let pairs = read.pairs(hosts, home).map_err(|fault| vec![fault])?;

    let some_v4 = pairs.iter().any(|(home, _)| home.is_ipv4());
    let mut redirects = Vec::with_capacity(pairs.len());
    let (mut of_v4, mut of_v6) = (0, 0);
    for (home, target) in pairs {
        let count = if home.is_ipv4() { &mut of_v4 } else { &mut of_v6 };
        *count += 1;
        let name = numbered(name, some_v4 && home.is_ipv6(), *count);
        redirects.push(read.redirect(name, home, target, &mut faults));
    }
    if faults.is_empty() { Ok(redirects) } else { Err(faults) }
}

fn numbered(name: &str, six: bool, nth: usize) -> String {
    match (six, nth) {
        (false, 1) => name.to_owned(),
        (true, 1) => format!("{name}.6"),
        (false, n) => format!("{name}.{n}"),
        (true, n) => format!("{name}.6.{n}"),
    }
}

/// A [`Spec`] understood part by part, before addresses are paired.
struct Read<'a> {
    protocols: Vec<Protocol>,
    home: HomeEndpoint,
    to: TargetEndpoint<'a>,
    target_port: u16,
    /// With their places in the spec.
    peers: Vec<(usize, IpNet)>,
    mode: Mode,
    flows: Flows,
}

/// Reads all parts; `None` goes with a fault.
fn read<'a>(name: &str, spec: &'a Spec, faults: &mut Vec<Fault>) -> Option<Read<'a>> {
    if let Some(flaw) = rule::name_flaw("redirect", name) {
        let token = String::new();
        faults.push(Fault { part: Part::Name, token, what: flaw.what, cure: flaw.cure });
    }
    let protocols = protocols(spec, faults);
    let mode = choice(Part::Mode, spec.mode.as_deref(), faults);
    let flows = choice(Part::Flows, spec.flows.as_deref(), faults);
    let peers = peers(spec, faults);
    let home = endpoint::home(&spec.home).map_err(|wrong| fault(Part::Home, wrong));
    let home = home.map_err(|fault| faults.push(fault)).ok();
    let to = endpoint::target(&spec.to).map_err(|wrong| fault(Part::To, wrong));
    let to = to.map_err(|fault| faults.push(fault)).ok();
    let (home, to) = (home?, to?);
    let port = first_target_port(home.ports, to.ports);
    let target_port = port.map_err(|fault| faults.push(fault)).ok()?;
    Some(Read { protocols, home, to, target_port, peers, mode, flows })
}

fn fault(part: Part, wrong: Wrong) -> Fault {
    Fault { part, token: wrong.token, what: wrong.what, cure: wrong.cure }
}

fn unreadable(part: Part, token: &str, error: Error) -> Fault {
    let (what, cure) = (error.what, error.cure.unwrap_or_default());
    Fault { part, token: token.to_owned(), what, cure }
}

fn protocols(spec: &Spec, faults: &mut Vec<Fault>) -> Vec<Protocol> {
    if spec.protocol.is_empty() {
        return vec![Protocol::Tcp];
    }
    let mut protocols = Vec::with_capacity(spec.protocol.len());
    for (n, text) in spec.protocol.iter().enumerate() {
        match text.parse() {
            Ok(protocol) if protocols.contains(&protocol) => faults.push(Fault {
                part: Part::Protocol(n),
                token: text.clone(),
                what: format!("the protocol `{protocol}` is given twice"),
                cure: "name it once".to_owned(),
            }),
            Ok(protocol) => protocols.push(protocol),
            Err(_) => faults.push(Fault {
                part: Part::Protocol(n),
                token: text.clone(),
                what: format!("`{}` is not a protocol", shown(text)),
                cure: "write `tcp`, `udp` or `[tcp, udp]`".to_owned(),
            }),
        }
    }
    protocols.sort_unstable();
    protocols
}

fn choice<T>(part: Part, text: Option<&str>, faults: &mut Vec<Fault>) -> T
where
    T: Default + std::str::FromStr<Err = Error>,
{
    let Some(text) = text else { return T::default() };
    text.parse().unwrap_or_else(|error| {
        faults.push(unreadable(part, text, error));
        T::default()
    })
}

fn peers(spec: &Spec, faults: &mut Vec<Fault>) -> Vec<(usize, IpNet)> {
    let mut peers = Vec::with_capacity(spec.peers.len());
    for (n, text) in spec.peers.iter().enumerate() {
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or_else(|_| one()) {
            Ok(prefix) => peers.push((n, prefix)),
            Err(_) => faults.push(Fault {
                part: Part::Peers(n),
                token: text.clone(),
                what: format!("`{}` is not an address or prefix of peers", shown(text)),
                cure: "write a prefix such as 198.51.100.0/24 or 2001:db8:1::/48, or an address"
                    .to_owned(),
            }),
        }
    }
    peers
}

/// The port at the target that the first home port maps to.
fn first_target_port(home: PortRange, to: Option<PortRange>) -> Result<u16, Fault> {
    let Some(to) = to else { return Ok(home.first()) };
    // One port stands for the range that begins there.
    if to.len() == 1 || to.len() == home.len() {
        return Ok(to.first());
    }
    let cure = match to.first().checked_add(home.len() - 1) {
        Some(last) => {
            format!("write {}-{last}, or only the first port, {}", to.first(), to.first())
        }
        None => format!("give as many ports as home has: {}", home.len()),
    };
    Err(Fault {
        part: Part::To,
        token: to.to_string(),
        what: format!(
            "the target's {} ports {to} are not as many as the {} home ports {home}",
            to.len(),
            home.len()
        ),
        cure,
    })
}

impl Read<'_> {
    /// Home addresses, each with the target for it.
    fn pairs(&self, hosts: &Hosts, home: &[IpAddr]) -> Result<Vec<(IpAddr, IpAddr)>, Fault> {
        match self.home.address {
            Some(address) => Ok(vec![(address, self.target_for(address, hosts)?)]),
            None => self.pairs_for_all(hosts, home),
        }
    }

    fn target_for(&self, home: IpAddr, hosts: &Hosts) -> Result<IpAddr, Fault> {
        let name = match self.to.host {
            HostName::Address(address) => return Ok(address),
            HostName::Home => return Ok(home),
            HostName::Name(name) => name,
        };
        let host = hosts.get(name).ok_or_else(|| unknown_host(name, hosts))?;
        host.beside(home).ok_or_else(|| Fault {
            part: Part::To,
            token: name.to_owned(),
            what: format!(
                "the host `{name}` has no {} address, which the home address {home} needs",
                rule::family(home)
            ),
            cure: "give it one under `hosts`, or redirect from a home address of its family"
                .to_owned(),
        })
    }

    fn pairs_for_all(
        &self,
        hosts: &Hosts,
        home: &[IpAddr],
    ) -> Result<Vec<(IpAddr, IpAddr)>, Fault> {
        if home.is_empty() {
            return Err(Fault {
                part: Part::Home,
                token: String::new(),
                what: "only ports are given, and this node's home addresses are not configured"
                    .to_owned(),
                cure: format!(
                    "write an address too, such as 192.0.2.1:{}, or list the addresses under the \
                     main file's `home`",
                    self.home.ports
                ),
            });
        }
        let targets: Vec<IpAddr> = match self.to.host {
            HostName::Address(address) => vec![address],
            HostName::Home => home.to_vec(),
            HostName::Name(name) => {
                hosts.get(name).ok_or_else(|| unknown_host(name, hosts))?.addresses().collect()
            }
        };
        let alike = |a: IpAddr, b: IpAddr| a.is_ipv4() == b.is_ipv4();
        let for_peers = |address| {
            // Without this, peers of one family would open the other to all.
            self.peers.is_empty() || self.peers.iter().any(|(_, p)| alike(p.addr(), address))
        };
        let pairs: Vec<_> = home
            .iter()
            .filter(|home| for_peers(**home))
            .filter_map(|home| Some((*home, self.among(&targets, *home)?)))
            .collect();
        if pairs.is_empty() {
            return Err(self.no_family(home, &targets));
        }
        Ok(pairs)
    }

    /// The one of `targets` that goes with `home`.
    fn among(&self, targets: &[IpAddr], home: IpAddr) -> Option<IpAddr> {
        match self.to.host {
            HostName::Home => Some(home),
            _ => targets.iter().copied().find(|target| target.is_ipv4() == home.is_ipv4()),
        }
    }

    fn no_family(&self, home: &[IpAddr], targets: &[IpAddr]) -> Fault {
        let addresses =
            |all: &[IpAddr]| all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        let peers = if self.peers.is_empty() { "" } else { " and of the peers" };
        Fault {
            part: Part::To,
            token: String::new(),
            what: format!(
                "no address of the host ({}) is of the family of a home address ({}){peers}",
                addresses(targets),
                addresses(home)
            ),
            cure: "give the host an address of the other family".to_owned(),
        }
    }

    /// The redirect from `home` to `target`; what is wrong with it goes to `faults`.
    fn redirect(
        &self,
        name: String,
        home: IpAddr,
        target: IpAddr,
        faults: &mut Vec<Fault>,
    ) -> Redirect {
        // With a home address in the spec, peers of the other family are a
        // mistake to be shown; without one they belong to the other redirect.
        let of_this = |prefix: &IpNet| {
            self.home.address.is_some() || prefix.addr().is_ipv4() == home.is_ipv4()
        };
        let peers: Vec<_> = self.peers.iter().filter(|(_, prefix)| of_this(prefix)).collect();
        let redirect = Redirect {
            name,
            protocols: self.protocols.clone(),
            home,
            ports: self.home.ports,
            target,
            target_port: self.target_port,
            host: match self.to.host {
                HostName::Name(name) => Some(name.to_owned()),
                HostName::Address(_) | HostName::Home => None,
            },
            peers: peers.iter().map(|(_, prefix)| *prefix).collect(),
            mode: self.mode,
            flows: self.flows,
        };
        for flaw in redirect.flaws() {
            let part = match flaw.field {
                Field::Name => Part::Name,
                Field::Protocols => Part::Protocol(0),
                Field::Home => Part::Home,
                Field::Target => Part::To,
                Field::Peers(n) => Part::Peers(peers.get(n).map_or(n, |(place, _)| *place)),
            };
            let fault = Fault { part, token: String::new(), what: flaw.what, cure: flaw.cure };
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        redirect
    }
}

fn unknown_host(name: &str, hosts: &Hosts) -> Fault {
    Fault {
        part: Part::To,
        token: name.to_owned(),
        what: format!("there is no host `{}`", shown(name)),
        cure: hosts.cure_for(name),
    }
}
