//! The main file's settings: everything but hosts and redirects.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    ApiConfig, Tables,
    report::{Issue, Issues, Spot, shown},
    text,
    tree::Step,
};
use crate::{
    dataplane::{Attach, Timers},
    rule::PortRange,
};

/// Above the ports that Linux hands out by itself (32768 to 60999), so that
/// home's own connections and translated ones do not meet.
const SNAT_PORTS: PortRange = PortRange::constant::<61000, 65535>();

/// Ports below are for services (RFC 6335, section 6), and only root's.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// The longest timer. A flow that is idle for longer than this is nobody's.
const LONGEST_TIMER: Duration = Duration::from_secs(366 * 24 * 3600);

/// The largest table: 2^24 flows take gigabytes of kernel memory.
const LARGEST_TABLE: u32 = 1 << 24;

/// The longest path that fits `sun_path` with its terminating zero (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// The longest name of an interface: IFNAMSIZ less its terminating zero.
const LONGEST_INTERFACE: usize = 15;

/// The ports that home uses towards hosts where the peer's own is taken.
pub(super) fn snat_ports(text: Option<&str>, spot: &Spot, issues: &mut Issues) -> PortRange {
    let Some(text) = text else { return SNAT_PORTS };
    let issue = match text.parse::<PortRange>() {
        Ok(ports) if ports.first() >= FIRST_UNPRIVILEGED_PORT => return ports,
        Ok(ports) => Issue::new(
            spot.clone(),
            format!(
                "snat_ports {ports} has ports below {FIRST_UNPRIVILEGED_PORT}, which are for services"
            ),
            format!("begin at {FIRST_UNPRIVILEGED_PORT} or above; the default is {SNAT_PORTS}"),
        ),
        Err(error) => Issue::new(
            spot.clone(),
            error.what,
            format!("write a range of ports; the default is {SNAT_PORTS}"),
        ),
    };
    issues.add(issue);
    SNAT_PORTS
}

/// Idle timers. What is shorter than the RFCs allow is taken, with a warning:
/// tests and closed networks have their reasons.
pub(super) fn timers(texts: Option<&text::Timers>, spot: &Spot, issues: &mut Issues) -> Timers {
    const MINUTE: u64 = 60;
    let mut timer = |key, text: Option<&String>, default: u64, least: u64, source: &str| {
        let spot = spot.at(key);
        let Some(text) = text else { return Duration::from_secs(default) };
        let Some(time) = duration(key, text, &spot, issues) else {
            return Duration::from_secs(default);
        };
        if time < Duration::from_secs(least) {
            let least = humantime::format_duration(Duration::from_secs(least));
            issues.warn(Issue::new(
                spot,
                format!("{key} of {text} is shorter than the {least} of {source}"),
                "connections that are idle for longer may be lost",
            ));
        }
        time
    };
    let nothing = text::Timers::default();
    let texts = texts.unwrap_or(&nothing);
    let of_tcp = "RFC 5382, REQ-5";
    let of_udp = "RFC 4787, REQ-5";
    Timers {
        tcp_established: timer(
            "tcp_established",
            texts.tcp_established.as_ref(),
            124 * MINUTE,
            124 * MINUTE,
            of_tcp,
        ),
        tcp_transitory: timer(
            "tcp_transitory",
            texts.tcp_transitory.as_ref(),
            4 * MINUTE,
            4 * MINUTE,
            of_tcp,
        ),
        udp: timer("udp", texts.udp.as_ref(), 5 * MINUTE, 2 * MINUTE, of_udp),
        udp_unreplied: timer(
            "udp_unreplied",
            texts.udp_unreplied.as_ref(),
            2 * MINUTE,
            2 * MINUTE,
            of_udp,
        ),
    }
}

fn duration(key: &str, text: &str, spot: &Spot, issues: &mut Issues) -> Option<Duration> {
    let cure = "write a time such as 90s, 5m or 2h4m";
    let (what, cure) = match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => {
            (format!("{key} is zero: every flow would end at once"), cure.to_owned())
        }
        Ok(time) if time > LONGEST_TIMER => (
            format!("{key} of {} is longer than a year", shown(text)),
            "write a time of at most 366days".to_owned(),
        ),
        Ok(time) => return Some(time),
        Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => (
            format!("{key} of {} has no unit", shown(text)),
            format!("write {}s for seconds", shown(text)),
        ),
        Err(error) => (format!("`{}` is not a time: {error}", shown(text)), cure.to_owned()),
    };
    issues.add(Issue::new(spot.clone(), what, cure));
    None
}

/// Sizes of the kernel's tables.
pub(super) fn tables(texts: Option<&text::Tables>, spot: &Spot, issues: &mut Issues) -> Tables {
    let mut size = |key, text: Option<&String>, default| {
        let Some(text) = text else { return default };
        match text.parse::<u32>() {
            Ok(size) if (1..=LARGEST_TABLE).contains(&size) => size,
            _ => {
                issues.add(Issue::new(
                    spot.at(key),
                    format!("`{}` is not a size of the table of {key}", shown(text)),
                    format!("write a number of entries from 1 to {LARGEST_TABLE}; the default is {default}"),
                ));
                default
            }
        }
    };
    let nothing = text::Tables::default();
    let texts = texts.unwrap_or(&nothing);
    Tables {
        redirects: size("redirects", texts.redirects.as_ref(), 16_384),
        flows: size("flows", texts.flows.as_ref(), 262_144),
        half_open: size("half_open", texts.half_open.as_ref(), 65_536),
        held_mib: size("held_mib", texts.held_mib.as_ref(), 64),
    }
}

/// Where the daemon is spoken to.
pub(super) fn api(texts: Option<&text::Api>, spot: &Spot, issues: &mut Issues) -> ApiConfig {
    let default = "/run/redirectd/redirectd.sock";
    let nothing = text::Api::default();
    let texts = texts.unwrap_or(&nothing);
    let socket = texts.socket.as_deref().unwrap_or(default);
    let wrong = if !Path::new(socket).is_absolute() {
        Some("is not an absolute path")
    } else if socket.len() > LONGEST_SOCKET_PATH {
        Some("is longer than the 107 bytes that a socket's path may have")
    } else if socket.contains('\0') || socket.ends_with('/') {
        Some("is not a path of a file")
    } else {
        None
    };
    if let Some(wrong) = wrong {
        issues.add(Issue::new(
            spot.at("socket"),
            format!("the socket `{}` {wrong}", shown(socket)),
            format!("write a path such as {default}"),
        ));
    }
    let group = texts.group.clone();
    if group.as_ref().is_some_and(|group| !is_group(group)) {
        issues.add(Issue::new(
            spot.at("group"),
            format!("`{}` is not a name of a group", shown(group.as_deref().unwrap_or_default())),
            "write a group of /etc/group, or leave `group` out: then only root is served",
        ));
    }
    ApiConfig { socket: PathBuf::from(socket), group }
}

/// Whether it can stand in the first field of group(5).
fn is_group(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control())
}

/// Where metrics are read.
pub(super) fn metrics(text: Option<&str>, spot: &Spot, issues: &mut Issues) -> Option<SocketAddr> {
    let text = text?;
    let (what, cure) = match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => return Some(address),
        Ok(address) => (
            format!("metrics at {address} would be open to the network, and ask nobody who he is"),
            format!("write 127.0.0.1:{0} or \"[::1]:{0}\"", address.port()),
        ),
        Err(_) => (
            format!("`{}` is not an address with a port", shown(text)),
            "write 127.0.0.1:9310".to_owned(),
        ),
    };
    issues.add(Issue::new(spot.clone(), what, cure));
    None
}

/// Where other nodes call.
pub(super) fn node(
    texts: Option<&text::Node>,
    spot: &Spot,
    issues: &mut Issues,
) -> Option<SocketAddr> {
    let text = texts?.listen.as_deref()?;
    let what = match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 && !address.ip().is_multicast() => return Some(address),
        Ok(address) => format!("no node can call {address}"),
        Err(_) => format!("`{}` is not an address with a port", shown(text)),
    };
    let cure = "write an address of this machine and a port, such as 192.0.2.1:9311";
    issues.add(Issue::new(spot.at("listen"), what, cure));
    None
}

/// Interfaces and how the programs are put on them.
pub(super) fn interfaces(
    texts: &text::Named<Option<text::Interface>>,
    spot: &Spot,
    issues: &mut Issues,
) -> BTreeMap<String, Attach> {
    let mut interfaces = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (n, (name, interface)) in texts.0.iter().enumerate() {
        let spot = spot.then(Step::Entry(n));
        if !is_interface(name) {
            issues.add(Issue::new(
                spot.key(),
                format!("`{}` is not a name of an interface", shown(name)),
                format!("write 1 to {LONGEST_INTERFACE} bytes without `/`, `:` and spaces, as `ip link` shows them"),
            ));
        }
        let text = interface.as_ref().and_then(|interface| interface.attach.as_deref());
        let attach = attach(text, &spot.at("attach"), issues);
        interfaces.insert(name.clone(), attach);
        if let Some(first) = places.insert(name, spot.key()) {
            issues.add(
                Issue::new(
                    spot.key(),
                    format!("the interface `{}` is given twice", shown(name)),
                    "remove one",
                )
                .also(first, "it is here already"),
            );
        }
    }
    interfaces
}

/// As the kernel's dev_valid_name() has it.
fn is_interface(name: &str) -> bool {
    (1..=LONGEST_INTERFACE).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control())
}

fn attach(text: Option<&str>, spot: &Spot, issues: &mut Issues) -> Attach {
    match text {
        None | Some("auto") => Attach::Auto,
        Some("xdp") => Attach::Xdp,
        Some("tc") => Attach::Tc,
        Some(other) => {
            issues.add(Issue::new(
                spot.clone(),
                format!("`{}` is not a way to attach", shown(other)),
                "write `auto` (native XDP where the driver has it, else tc), `xdp` or `tc`",
            ));
            Attach::Auto
        }
    }
}
