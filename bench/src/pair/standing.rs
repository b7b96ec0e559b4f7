//! A route in its lab, with servers at its end: ready to be measured, round
//! after round.

use std::any::Any;

use anyhow::{Context, Result, ensure};

use super::{
    client::Extent,
    figures::Figures,
    process::{self, Process},
    server::Behaviour,
};
use crate::{
    interrupt,
    lan::{Lan, Placement, Wire},
    load::{HomeCpu, HomeLoad, HomePressure},
    route::Route,
};

/// The first server's port; the others' follow it.
const FIRST_PORT: u16 = 5001;

/// Dropped in the order of its fields: servers end before what leads to them.
pub(crate) struct Standing<'a> {
    _servers: Vec<Process>,
    _running: Box<dyn Any>,
    lan: Lan,
    route: &'a dyn Route,
    placement: &'a Placement,
    ports: Vec<u16>,
    buffer: usize,
}

/// What a run of the client and home's meters have shown.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The client's.
    pub(crate) figures: Figures,
    /// Share of home's processor that was busy, 0 to 1.
    pub(crate) cpu: f64,
    /// Mean number of home's threads that ran or wanted to.
    pub(crate) load: f64,
    /// Share of time in which some process of home waited for its processor;
    /// an error tells why there is none.
    pub(crate) pressure: Result<f64>,
    /// Bytes, with headers, that came to home.
    pub(crate) into_home: u64,
}

impl<'a> Standing<'a> {
    /// Sets `route` up for `pairs` pairs, with servers that receive.
    ///
    /// # Errors
    /// It cannot be set up here.
    pub(crate) fn new(
        route: &'a dyn Route,
        wire: &Wire,
        placement: &'a Placement,
        pairs: u16,
        buffer: usize,
    ) -> Result<Self> {
        interrupt::check()?;
        let lan = Lan::placed(wire, placement)?;
        let ports: Vec<u16> = (FIRST_PORT..FIRST_PORT + pairs).collect();
        let running = route.set_up(&lan, &ports)?;
        let servers = process::servers(&lan, route, &ports, Behaviour::Receive, buffer)?;
        Ok(Self { _servers: servers, _running: running, lan, route, placement, ports, buffer })
    }

    /// The route's name.
    pub(crate) fn name(&self) -> &'static str {
        self.route.name()
    }

    /// Sends `bytes` on each of `pairs` connections at once.
    ///
    /// # Errors
    /// Not all has arrived, or the run was interrupted.
    pub(crate) fn send(&self, pairs: u16, bytes: u64) -> Result<Measured> {
        interrupt::check()?;
        let ports = &self.ports[..pairs.into()];
        let extent = Extent { amount: Some(bytes), time: None };
        let before = self.lan.bytes_into_home()?;
        let pressure = HomePressure::start(&self.lan.home);
        let load = HomeLoad::start(&self.lan.home, self.placement)?;
        let cpu = HomeCpu::start(self.placement.home)?;
        let figures = process::client(&self.lan, self.route, ports, extent, self.buffer)
            .with_context(|| format!("{}, {pairs} connections", self.name()))?;
        let cpu = cpu.busy()?;
        let load = load.finish()?;
        let pressure = pressure.and_then(|pressure| pressure.share());
        let into_home = self.lan.bytes_into_home()? - before;
        let wanted = u64::from(pairs) * bytes;
        let arrived = figures.arrived();
        ensure!(arrived == wanted, "{}: of {wanted} bytes {arrived} arrived", self.name());
        Ok(Measured { figures, cpu, load, pressure, into_home })
    }
}
