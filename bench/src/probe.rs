//! A steady stream of numbered packets, and what sees them arrive: when a
//! change of a redirect counts for packets, to one interval of the stream.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
    programs::{Xdp, xdp::XdpMode},
};
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use redirectd_bench_bpf::{Expect, HEADERS, IP_LENGTH, Seen};

use crate::{netns::Netns, processor, traffic::OBJECT};

/// From one packet to the next.
pub(crate) const INTERVAL: Duration = Duration::from_micros(20);

/// Bytes that follow the UDP header: what makes the frames those of the
/// generator, which the bench's BPF programs know.
const PAYLOAD: usize = IP_LENGTH as usize - (HEADERS - 14);

/// CLOCK_MONOTONIC, in nanoseconds: the clock of the BPF programs.
pub(crate) fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("cannot read the clock")?;
    Ok(Duration::from(now).as_nanos() as u64)
}

/// The stream; it ends when this is dropped.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<Result<Sent>>>,
}

/// What was sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    /// Packets.
    pub(crate) packets: u64,
    /// From the sending of each packet to that of the next, in nanoseconds.
    pub(crate) intervals: Vec<u32>,
}

impl Probe {
    /// Sends one packet each [`INTERVAL`] from `from` to `to` (an address and a
    /// port each), on `processor`, from a process in `netns`.
    ///
    /// # Errors
    /// There is no such address in `netns`, or no such processor.
    pub(crate) fn start(
        netns: &Netns,
        processor: usize,
        from: (Ipv4Addr, u16),
        to: (Ipv4Addr, u16),
    ) -> Result<Self> {
        let socket = netns.enter(|| {
            UdpSocket::bind(from).with_context(|| format!("cannot send from {from:?}"))
        })?;
        socket.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = thread::spawn(move || {
            processor::occupy(processor)?;
            send(&socket, to, &stopped)
        });
        Ok(Self { stop, sender: Some(sender) })
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// A packet could not be sent.
    pub(crate) fn finish(mut self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        let sender = self.sender.take().expect("it is taken once");
        sender.join().map_err(|_| anyhow!("the sender has panicked"))?
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}

/// Sends until told to stop. It sleeps between packets, so that the kernel can
/// use the processor for what it does with them.
fn send(socket: &UdpSocket, to: (Ipv4Addr, u16), stop: &AtomicBool) -> Result<Sent> {
    let mut sent = Sent::default();
    let mut payload = [0; PAYLOAD];
    let mut last = now()?;
    let mut due = last;
    while !stop.load(Ordering::Relaxed) {
        sleep_until(due)?;
        payload[..8].copy_from_slice(&sent.packets.to_ne_bytes());
        let at = now()?;
        let length = socket.send_to(&payload, to).context("cannot send to home")?;
        debug_assert_eq!(length, PAYLOAD);
        if sent.packets > 0 {
            sent.intervals.push(u32::try_from(at - last).unwrap_or(u32::MAX));
        }
        sent.packets += 1;
        last = at;
        // What could not be sent in time is left out, not made up for.
        due = at.max(due + INTERVAL.as_nanos() as u64);
    }
    Ok(sent)
}

fn sleep_until(due: u64) -> Result<()> {
    let due = Duration::from_nanos(due).into();
    match clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &due) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error).context("cannot sleep"),
    }
}

/// Sees the packets of a stream arrive, and answers; taken off when dropped.
pub(crate) struct Witness {
    seen: Array<MapData, Seen>,
    _bpf: Ebpf,
}

impl Witness {
    /// Puts one on `interface` in `netns`, for what comes to `expect`.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(crate) fn attach(netns: &Netns, interface: &str, expect: &Expect) -> Result<Self> {
        netns
            .enter(|| {
                let mut bpf =
                    EbpfLoader::new().override_global("EXPECT", expect, true).load(OBJECT)?;
                let program: &mut Xdp =
                    bpf.program_mut("witness").context("no BPF program `witness`")?.try_into()?;
                program.load()?;
                program.attach(interface, XdpMode::Driver)?;
                let seen = bpf.take_map("SEEN").context("no BPF map `SEEN`")?;
                Ok(Self { seen: seen.try_into()?, _bpf: bpf })
            })
            .with_context(|| format!("cannot put a witness on {interface}"))
    }

    /// What it has seen so far. While packets arrive, what belongs to the last
    /// one may not be of one packet.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(crate) fn seen(&self) -> Result<Seen> {
        Ok(self.seen.get(&0, 0)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        route::tests::is_root,
        topology::{HOME, HOST0, HOST0_MAC, PEER, PEER0, PEER0_MAC, neighbour, wire},
    };

    const PORT: u16 = 7777;

    /// What `witness` has seen as soon as it is `enough`.
    fn seen(witness: &Witness, enough: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = witness.seen().unwrap();
            if enough(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{} packets were seen", seen.packets);
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_witness_knows_number_and_time_of_the_first_and_of_the_last_packet() {
        if !is_root() {
            return;
        }
        let _alone = processor::tests::alone();
        let (peer, host) = (Netns::new("peer").unwrap(), Netns::new("host").unwrap());
        wire((&peer, PEER0, PEER0_MAC), (&host, HOST0, HOST0_MAC)).unwrap();
        peer.run("ip", &format!("address add {PEER}/24 dev {PEER0}")).unwrap();
        neighbour(&peer, HOME, HOST0_MAC, PEER0).unwrap();
        let expect = Expect { addr: HOME.into(), first: PORT, last: PORT };
        let witness = Witness::attach(&host, HOST0, &expect).unwrap();
        let start = now().unwrap();
        let processor = processor::last().unwrap();
        let probe = Probe::start(&peer, processor, (PEER, 7000), (HOME, PORT)).unwrap();
        let first = seen(&witness, |seen| seen.packets > 0);
        let middle = now().unwrap();
        let some = seen(&witness, |_| true).packets;
        seen(&witness, |seen| seen.packets > some);
        let sent = probe.finish().unwrap();
        let last = seen(&witness, |seen| seen.packets == sent.packets);
        assert_eq!((last.visits, last.first, last.last), (1, 0, sent.packets - 1));
        assert!(start < first.first_at && first.first_at < middle, "{}", first.first_at);
        assert_eq!(last.first_at, first.first_at);
        assert!(last.last_at > middle, "{} after {middle}", last.last_at);
        assert_eq!(sent.intervals.len() as u64, sent.packets - 1);
    }
}
