//! All contestants, side by side in labs of their own.

use std::{any::Any, net::SocketAddr};

use anyhow::Result;

use super::{BYTES, CONNECTIONS, RATES, ROUNDS};
use crate::{
    command::run,
    interrupt,
    lan::{Lan, Wire},
    measure::order,
    pair::{
        Exchange,
        process::{Process, servers},
        server::Behaviour,
    },
    recorder::Recorder,
    route::{self, Route},
    suite::Effort,
};

/// The first server's port; the others' follow it.
const PORT: u16 = 5000;

/// What a server reads at most by one call.
const BUFFER: usize = 8192;

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
        let routes = route::all().into_iter().chain(route::deputies());
        let routes: Vec<_> = routes.filter(|route| effort.wants(route.name())).collect();
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
            match set_up(route.as_ref(), effort.processor) {
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

fn set_up(route: &dyn Route, processor: usize) -> Result<Contestant> {
    let mut lan = Lan::new(&WIRE)?;
    for netns in [&mut lan.peer, &mut lan.home, &mut lan.host] {
        netns.keep_on(&[processor]);
    }
    for netns in [&lan.peer, &lan.home] {
        // Ports come back a second after they were used, and are few enough that
        // the connections that are closing fit everyone's tables.
        netns.run("sysctl", "-qw net.ipv4.tcp_tw_reuse=1")?;
        let range = "net.ipv4.ip_local_port_range=32768 49151";
        run(netns.command("sysctl").args(["-qw", range]), "")?;
    }
    let ports: Vec<u16> = (PORT..PORT + CONNECTIONS).collect();
    let running = route.set_up(&lan, &ports)?;
    let behaviour = Behaviour::Answer(Exchange { request: BYTES, response: BYTES });
    let processes = servers(&lan, route, &ports, behaviour, BUFFER)?;
    Ok(Contestant {
        name: route.name(),
        servers: ports.iter().map(|port| (route.target(), *port).into()).collect(),
        _processes: processes,
        _running: running,
        lan,
    })
}
