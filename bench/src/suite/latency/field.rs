//! All contestants, side by side in labs of their own.

use std::{
    any::Any,
    net::{SocketAddr, SocketAddrV4},
};

use anyhow::{Context, Result};

use super::{BYTES, CONNECTIONS, RATES, ROUNDS};
use crate::{
    command::run,
    interrupt,
    lan::{HOME, Lan, Placement, Wire},
    measure::order,
    pair::process::{Process, pair},
    recorder::Recorder,
    route::{self, Route, Server},
    suite::Effort,
};

/// The first server's port; the others' follow it.
const PORT: u16 = 5000;

/// From a server's port to that of its deputy.
const DEPUTY: u16 = 1000;

/// Frames as on a wire, and XDP may take part.
const WIRE: Wire = Wire { rate: None, offloads: false, xdp: true };

/// Everyone that takes part.
pub(super) struct Field {
    /// In the order of reports.
    pub(super) contestants: Vec<Contestant>,
}

/// A route that stands, with servers at its end.
pub(super) struct Contestant {
    /// Its name in reports.
    pub(super) name: &'static str,
    /// Where its client connects to.
    pub(super) servers: Vec<SocketAddr>,
    // Taken away in this order.
    _processes: Vec<Process>,
    _running: Box<dyn Any>,
    /// Nobody else's.
    pub(super) lan: Lan,
}

impl Field {
    /// Sets up everyone that is wanted and can take part.
    ///
    /// # Errors
    /// A lab cannot be made, or the run was interrupted.
    pub(super) fn set_up(effort: &Effort, recorder: &mut Recorder) -> Result<Self> {
        let routes: Vec<_> =
            route::all().into_iter().filter(|route| effort.wants(route.name())).collect();
        let placement = Placement::new(effort.processor)?;
        let mut contestants = Vec::new();
        let measured = (RATES.len() + 1) * effort.rounds(ROUNDS) * routes.len();
        recorder.progress.expect(routes.len() + measured);
        for route in routes {
            interrupt::check()?;
            let name = route.name();
            recorder.progress.step("setting up", name);
            if let Some(reason) = route.unavailable().or_else(|| route.unfit(&WIRE)) {
                recorder.absent(name, None, &reason);
                continue;
            }
            match set_up(route.as_ref(), &placement) {
                Ok(contestant) => contestants.push(contestant),
                Err(error) => recorder.absent(name, None, &format!("{error:#}")),
            }
        }
        Ok(Self { contestants })
    }

    /// Who is measured when, round by round.
    pub(super) fn rounds(&self, rounds: usize) -> Vec<Vec<&Contestant>> {
        let mut all = vec![Vec::new(); rounds];
        for (round, n) in order(self.contestants.len(), rounds) {
            all[round].push(&self.contestants[n]);
        }
        all
    }
}

fn set_up(route: &dyn Route, placement: &Placement) -> Result<Contestant> {
    let lan = Lan::placed(&WIRE, placement)?;
    for netns in [&lan.peer, &lan.home] {
        // Ports come back a second after they were used, and are few enough that
        // the connections that are closing fit everyone's tables.
        netns.run("sysctl", "-qw net.ipv4.tcp_tw_reuse=1")?;
        let range = "net.ipv4.ip_local_port_range=32768 49151";
        run(netns.command("sysctl").args(["-qw", range]), "")?;
    }
    let ports: Vec<u16> = (PORT..PORT + CONNECTIONS).collect();
    let running = route.set_up(&lan, &ports)?;
    let processes = ports
        .iter()
        .map(|port| serve(&lan, route.server(), *port))
        .collect::<Result<Vec<_>>>()
        .context("a server does not start")?
        .into_iter()
        .flatten()
        .collect();
    Ok(Contestant {
        name: route.name(),
        servers: ports.iter().map(|port| (route.target(), *port).into()).collect(),
        _processes: processes,
        _running: running,
        lan,
    })
}

/// What answers requests at `port`: a server on the host, behind its deputy at
/// home if it has one.
fn serve(lan: &Lan, server: Server, port: u16) -> Result<Vec<Process>> {
    let mut command = pair(&lan.host)?;
    command.args(["server", "--port", &port.to_string()]);
    command.args(["--answer", &format!("{BYTES}:{BYTES}")]);
    let mut processes = Vec::new();
    if let Server::Deputy { gather } = server {
        let at = SocketAddrV4::new(HOME, port + DEPUTY).to_string();
        let mut deputy = pair(&lan.home)?;
        deputy.args(["deputy", "--at", &at]).args(gather.then_some("--gather"));
        processes.push(Process::start(&mut deputy)?);
        command.args(["--deputy", &at]);
    }
    processes.push(Process::start(&mut command)?);
    Ok(processes)
}
