//! A contestant in its lab, with its flows established: ready to be measured,
//! round after round.

use std::{
    any::Any,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    contestant::Running,
    interrupt,
    measure::Sample,
    processor,
    stream::{self, Turns, at_home, at_host},
    topology::{HOST0, Lab, PEER0},
    traffic::{Generator, Role, Sink},
};

/// How often all flows are tried before they must be established.
const ATTEMPTS: u32 = 5;

/// Flows that are opened before the first of them goes on. Half-open ones have
/// a table of their own, which need not hold all flows there will ever be.
pub(crate) const AT_ONCE: u32 = 131_072;

/// Dropped in the order of its fields: the lab goes last.
pub(crate) struct Track {
    generator: Generator,
    sink: Sink,
    _contestant: Option<Box<dyn Any>>,
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
        let (contestant, sink): (Option<Box<dyn Any>>, _) = match running {
            Running::Drops(sink) => (None, *sink),
            Running::Bounces(guard) => {
                // As at home: nothing but MAC addresses was rewritten.
                (Some(guard), Sink::attach(&lab.host, HOST0, Role::Sink, &at_home())?)
            }
            Running::Forwards(contestant) => {
                establish(&lab, &mut generator, processor)?;
                let counted = contestant.flows(&lab)?;
                ensure!(counted == u64::from(flows), "{counted} of {flows} flows are established");
                (
                    Some(Box::new(contestant)),
                    Sink::attach(&lab.host, HOST0, Role::Sink, &at_host())?,
                )
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
                let start = Instant::now();
                let pace =
                    generator.send(chunk, Turns::FarApart)?.context("too few packets at a time")?;
                sample.wall += start.elapsed();
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

/// Establishes all flows of the stream, a portion after the other.
///
/// # Errors
/// Packets do not arrive, in one direction or the other, or arrive wrong.
pub(crate) fn establish(lab: &Lab, generator: &mut Generator, processor: usize) -> Result<()> {
    let host = Sink::attach(&lab.host, HOST0, Role::Reflect, &at_host())?;
    let peer = Sink::attach(&lab.peer, PEER0, Role::Returns, &at_home())?;
    let flows = generator.stream().per_target;
    let portion = AT_ONCE / generator.stream().targets;
    for first in (0..flows).step_by(portion as usize) {
        let count = portion.min(flows - first);
        establish_portion(lab, generator, (&host, &peer), first, count, processor)?;
    }
    Ok(())
}

/// Sends one packet of each of `count` flows of each target, from `first` on, to
/// the host, which answers, until every answer has come back to the peer; twice
/// over, as some state is complete only with the third packet.
fn establish_portion(
    lab: &Lab,
    generator: &mut Generator,
    (host, peer): (&Sink, &Sink),
    first: u32,
    count: u32,
    processor: usize,
) -> Result<()> {
    let packets = count * generator.stream().targets;
    let start = (host.counts()?, peer.counts()?);
    let mut complete = 0;
    for _ in 0..ATTEMPTS {
        interrupt::check()?;
        let before = (host.counts()?, peer.counts()?);
        lab.peer.enter(|| {
            processor::occupy(processor)?;
            generator.go_to(first)?;
            generator.send(packets, Turns::InOrder)
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
        complete += u32::from(there == u64::from(packets) && back == u64::from(packets));
        if complete == 2 {
            return Ok(());
        }
    }
    let (host, peer) = (host.counts()?, peer.counts()?);
    ensure!(
        complete > 0,
        "of {} packets ({packets} different flows) {} reached the host ({} others did), \
         and {} answers came back ({} others did)",
        u64::from(packets) * u64::from(ATTEMPTS),
        host.expected - start.0.expected,
        host.other - start.0.other,
        peer.expected - start.1.expected,
        peer.other - start.1.other,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        contestant::{self, Forwarder},
        route::tests::is_root,
        scenario::Scenario,
    };

    /// A contestant that counts one flow too many.
    struct Boasting(Box<dyn Forwarder>);

    impl Forwarder for Boasting {
        fn flows(&self, lab: &Lab) -> Result<u64> {
            Ok(self.0.flows(lab)? + 1)
        }
    }

    #[test]
    fn the_contestants_own_count_of_flows_must_be_that_of_the_case() {
        if !is_root() {
            return;
        }
        let _alone = processor::tests::alone();
        let contestants = contestant::all();
        let nftables = contestants.iter().find(|one| one.name() == "nftables").unwrap();
        let flows = 8;
        let lab = Lab::new().unwrap();
        let running = nftables.set_up(&lab, &Scenario { flows, redirects: 1 }).unwrap();
        let Running::Forwards(contestant) = running else { panic!("nftables forwards") };
        let boasting = Running::Forwards(Box::new(Boasting(contestant)));
        let track = Track::new(lab, boasting, flows, processor::last().unwrap());
        let error = track.err().expect("the count is wrong").to_string();
        assert_eq!(error, "9 of 8 flows are established");
    }
}
