//! A contestant in its lab, with its flows established: ready to be measured,
//! round after round.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    contestant::{Forwarder, Running},
    interrupt,
    measure::Sample,
    processor,
    stream::{self, Turns, at_home, at_host},
    topology::{HOST0, Lab, PEER0},
    traffic::{Generator, Role, Sink},
};

/// How often all flows are tried before they must be established.
const ATTEMPTS: u32 = 5;

/// Dropped in the order of its fields: the lab goes last.
pub(crate) struct Track {
    generator: Generator,
    sink: Sink,
    _contestant: Option<Box<dyn Forwarder>>,
    lab: Lab,
    processor: usize,
}

impl Track {
    /// Establishes `flows` flows through the contestant that runs in `lab`, and
    /// puts the counting sink where they end. All work with packets is done by
    /// `processor`.
    ///
    /// # Errors
    /// Packets do not arrive, in one direction or the other, or arrive wrong.
    pub(crate) fn new(lab: Lab, running: Running, flows: u32, processor: usize) -> Result<Self> {
        let mut generator = lab.peer.enter(|| Generator::new(PEER0, &stream::stream(flows)))?;
        let (contestant, sink) = match running {
            Running::Drops(sink) => (None, *sink),
            Running::Forwards(contestant) => {
                establish(&lab, &mut generator, flows, processor)?;
                let counted = contestant.flows(&lab)?;
                ensure!(counted == u64::from(flows), "{counted} of {flows} flows are established");
                (Some(contestant), Sink::attach(&lab.host, HOST0, Role::Sink, &at_host())?)
            }
        };
        Ok(Self { generator, sink, _contestant: contestant, lab, processor })
    }

    /// Counts packets, made `chunk` at a time, for at least `duration`.
    ///
    /// # Errors
    /// The generator or the counters fail, or the run was interrupted.
    pub(crate) fn sample(&mut self, duration: Duration, chunk: u32) -> Result<Sample> {
        let Self { generator, .. } = self;
        self.lab.peer.enter(|| {
            processor::occupy(self.processor)?;
            let mut sample = Sample::default();
            let before = self.sink.counts()?;
            let switches = processor::switches()?;
            while sample.elapsed < duration {
                interrupt::check()?;
                let pace =
                    generator.send(chunk, Turns::FarApart)?.context("too few packets at a time")?;
                sample.sent += u64::from(chunk);
                sample.timed += pace.packets;
                sample.elapsed += pace.elapsed;
            }
            sample.switches = processor::switches()? - switches;
            sample.arrived = self.sink.settled_counts()?.expected - before.expected;
            Ok(sample)
        })
    }
}

/// Sends one packet of each flow to the host, which answers, until every answer
/// has come back to the peer; twice over, as some state is complete only with
/// the third packet.
///
/// # Errors
/// Packets do not arrive, in one direction or the other, or arrive wrong.
pub(crate) fn establish(
    lab: &Lab,
    generator: &mut Generator,
    flows: u32,
    processor: usize,
) -> Result<()> {
    let host = Sink::attach(&lab.host, HOST0, Role::Reflect, &at_host())?;
    let peer = Sink::attach(&lab.peer, PEER0, Role::Returns, &at_home())?;
    let mut complete = 0;
    for _ in 0..ATTEMPTS {
        interrupt::check()?;
        let before = (host.counts()?, peer.counts()?);
        lab.peer.enter(|| {
            processor::occupy(processor)?;
            generator.send(flows, Turns::InOrder)
        })?;
        let after = (host.settled_counts()?, peer.settled_counts()?);
        ensure!(
            after.0.bad_checksum == 0 && after.1.bad_checksum == 0,
            "packets with wrong checksums: {} at the host, {} at the peer",
            after.0.bad_checksum,
            after.1.bad_checksum,
        );
        let there = after.0.expected - before.0.expected;
        let back = after.1.expected - before.1.expected;
        complete += u32::from(there == u64::from(flows) && back == u64::from(flows));
        if complete == 2 {
            return Ok(());
        }
    }
    let (host, peer) = (host.counts()?, peer.counts()?);
    let sent = u64::from(flows) * u64::from(ATTEMPTS);
    ensure!(
        complete > 0,
        "of {sent} packets ({} different flows) {} reached the host ({} others did), \
         and {} answers came back ({} others did)",
        flows,
        host.expected,
        host.other,
        peer.expected,
        peer.other,
    );
    Ok(())
}
