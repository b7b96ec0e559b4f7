//! redirectd's programs as its daemon has loaded them, with flows that were
//! opened through them before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Entry, counters::Counters, frame::Spread, opening::Opening};
use crate::{
    daemon::Daemon,
    stream::{HOME_PORT, HOST_PORT, PORTS},
    topology::{HOME, HOST, HOST0_MAC, IN0, Lab, OUT0, PEER, PEER0_MAC, PEERS, nth},
};
use anyhow::{Context, Result, ensure};
use aya::{
    maps::MapInfo,
    programs::{ProgramFd, ProgramInfo, SchedClassifier, loaded_programs},
};

/// Home's address; the networks are RFC 5180's, for benchmarks.
pub(super) const HOME6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
/// The first peer address; the others follow it.
pub(super) const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2);
/// The host's address.
pub(super) const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 2);
/// Home's address towards the host.
const HOME_OUT6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, 1);

/// First home port of the redirect that takes new flows.
pub(super) const NEW_PORT: u16 = 9100;
/// Home port of a process that is being moved.
pub(super) const HELD_PORT: u16 = 9200;
/// Half-open flows that there is room for.
pub(super) const HALF_OPEN: u32 = 65_536;
/// First peer port of all flows.
pub(super) const PEER_PORT: u16 = 10_000;

/// A map that both entries use; by it they are told from those of other
/// daemons on the machine.
const SHARED_MAP: &str = "FLOWS4";

/// The programs, and the daemon behind them.
pub(super) struct Tested {
    xdp: ProgramFd,
    tc: ProgramFd,
    /// What it counts.
    pub(super) counters: Counters,
    /// Stopped when dropped.
    pub(super) daemon: Daemon,
}

impl Tested {
    /// Starts a daemon in `lab`, and opens flows through its programs: `tcp` of
    /// TCP over IPv4, `tcp6` over IPv6, and two of UDP, one of which is held from
    /// then on. Call it in home's namespace.
    ///
    /// # Errors
    /// The daemon does not start, or its programs do not translate.
    pub(super) fn new(lab: &Lab, tcp: Spread, tcp6: Spread) -> Result<Self> {
        add_ipv6(lab)?;
        let flows = flows(tcp) + flows(tcp6) + 2;
        let daemon = Daemon::configured(&lab.home, &configuration(flows))?;
        daemon.apply(&daemon.rule_file("rules.yaml", &rules())?)?;
        let map = MapInfo::from_pin(daemon.pins().join(SHARED_MAP))
            .with_context(|| format!("redirectd has pinned no {SHARED_MAP}"))?
            .id();
        let tc = find("redirectd_tc", map)?;
        let runnable = SchedClassifier::from_program_info(tc, "redirectd_tc".into())?;
        let opening = Opening::new(runnable)?;
        let (home, host) =
            (SocketAddr::from((HOME, HOME_PORT)), SocketAddr::from((HOST, HOST_PORT)));
        opening.tcp((PEER, PEER_PORT).into(), home, host, tcp)?;
        opening.udp((PEER, PEER_PORT).into(), home, host)?;
        let held = [(HOME, HELD_PORT).into(), (HOST, HELD_PORT).into()];
        opening.udp((PEER, PEER_PORT).into(), held[0], held[1])?;
        let (home, host) = ((HOME6, HOME_PORT).into(), (HOST6, HOST_PORT).into());
        opening.tcp((PEER6, PEER_PORT).into(), home, host, tcp6)?;
        let counted = daemon.established()?;
        ensure!(counted == u64::from(flows), "{counted} of {flows} flows are established");
        // A move that gets no further, so that its packets are held all the time.
        daemon.redirect(["move", "begin", "held", "--to", "home", "--timeout", "1h"])?;
        daemon.redirect(["move", "park", "1"])?;
        let counters = Counters::open(&daemon.pins())?;
        let (xdp, tc) = (fd("redirectd_xdp", map)?, fd("redirectd_tc", map)?);
        Ok(Self { xdp, tc, counters, daemon })
    }

    /// The program for `entry`.
    pub(super) fn program(&self, entry: Entry) -> &ProgramFd {
        match entry {
            Entry::Xdp => &self.xdp,
            Entry::Tc => &self.tc,
        }
    }
}

fn flows(spread: Spread) -> u32 {
    spread.targets * spread.per_target
}

/// Gives home addresses and neighbours of IPv6, which labs have not.
fn add_ipv6(lab: &Lab) -> Result<()> {
    let home = &lab.home;
    for which in ["all", "default", IN0, OUT0] {
        home.run("sysctl", &format!("-qw net.ipv6.conf.{which}.disable_ipv6=0"))?;
    }
    home.run("ip", &format!("-6 address add {HOME6}/64 dev {IN0} nodad"))?;
    home.run("ip", &format!("-6 address add {HOME_OUT6}/64 dev {OUT0} nodad"))?;
    let neighbour = |address: IpAddr, mac: [u8; 6], interface: &str| {
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let words = format!("neighbour add {address} lladdr {mac} dev {interface} nud permanent");
        home.run("ip", &words).map(drop)
    };
    for n in 0..u128::from(PEERS) {
        let peer = Ipv6Addr::from_bits(PEER6.to_bits() + n);
        neighbour(peer.into(), PEER0_MAC, IN0)?;
    }
    neighbour(HOST6.into(), HOST0_MAC, OUT0)
}

fn configuration(flows: u32) -> String {
    let flows = 2 * flows + 1024;
    format!(
        "version: 1\nhome: [{HOME}, \"{HOME6}\"]\ninterfaces:\n  {IN0}: {{ attach: xdp }}\n  \
         {OUT0}: {{ attach: xdp }}\ntimers: {{ udp: 24h, udp_unreplied: 24h }}\n\
         tables: {{ redirects: 64, flows: {flows}, half_open: {HALF_OPEN} }}\n"
    )
}

fn rules() -> String {
    let (last, new_last) = (HOME_PORT + PORTS - 1, NEW_PORT + PORTS - 1);
    let new_host_port = HOST_PORT + NEW_PORT - HOME_PORT;
    let mut text = "version: 1\nredirects:\n".to_owned();
    for (name, protocol, home, to) in [
        ("tcp", "tcp", format!("{HOME}:{HOME_PORT}-{last}"), format!("{HOST}:{HOST_PORT}")),
        ("udp", "udp", format!("{HOME}:{HOME_PORT}-{last}"), format!("{HOST}:{HOST_PORT}")),
        ("tcp6", "tcp", format!("[{HOME6}]:{HOME_PORT}-{last}"), format!("[{HOST6}]:{HOST_PORT}")),
        ("new", "tcp", format!("{HOME}:{NEW_PORT}-{new_last}"), format!("{HOST}:{new_host_port}")),
        ("held", "udp", format!("{HOME}:{HELD_PORT}"), format!("{HOST}:{HELD_PORT}")),
    ] {
        text += &format!("  {name}: {{ protocol: {protocol}, home: \"{home}\", to: \"{to}\" }}\n");
    }
    text
}

/// The first peer address that opens new flows: none of the established ones'.
pub(super) fn new_peer() -> Ipv4Addr {
    nth(PEER, 100)
}

/// The loaded program `name` that uses the map with the id `map`.
fn find(name: &str, map: u32) -> Result<ProgramInfo> {
    loaded_programs()
        .flatten()
        .find(|program| {
            program.name_as_str() == Some(name)
                && matches!(program.map_ids(), Ok(Some(maps)) if maps.contains(&map))
        })
        .with_context(|| format!("redirectd has loaded no {name}"))
}

fn fd(name: &str, map: u32) -> Result<ProgramFd> {
    find(name, map)?.fd().with_context(|| format!("cannot get at {name}"))
}
