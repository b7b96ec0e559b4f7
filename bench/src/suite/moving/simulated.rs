//! Freezes of a given length, with the packets of the peer held or dropped.

use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    explain,
    frozen::{Freeze, Lock, Server},
    locks::{Dropped, Held},
    peer::{self, Heard, Traffic},
};
use crate::{
    command::not_installed,
    daemon::{Daemon, Settings},
    interrupt,
    lan::{HOME, INTERFACE, Lan, Wire},
    measure::order,
    recorder::Recorder,
    suite::Effort,
};

/// Who keeps the packets.
pub(super) const HELD: &str = "held";
/// As [`HELD`].
pub(super) const DROPPED: &str = "dropped";

/// The server's port.
const PORT: u16 = 7000;
/// Before the freeze, for a stream to get going.
const BEFORE: Duration = Duration::from_millis(200);
/// Rounds, if nothing else is asked for.
pub(super) const ROUNDS: usize = 5;
/// veth as it comes.
pub(super) const WIRE: Wire = Wire { rate: None, offloads: true, xdp: false };

/// How long the freezes are; those of a quick run first.
const FREEZES: [Duration; 4] = [
    Duration::from_millis(36),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(4),
];
const QUICK: usize = 2;

/// What the peer sends.
pub(super) const TRAFFICS: [Traffic; 2] = [Traffic::Requests, Traffic::Bulk];

/// The freezes of a run.
pub(super) fn freezes(effort: &Effort) -> &'static [Duration] {
    if effort.quick { &FREEZES[..QUICK] } else { &FREEZES }
}

/// How many steps of progress it has.
pub(super) fn steps(effort: &Effort) -> usize {
    let contestants = [HELD, DROPPED].iter().filter(|name| effort.wants(name)).count();
    contestants * (1 + effort.rounds(ROUNDS) * freezes(effort).len() * TRAFFICS.len())
}

/// Measures all freezes, both contestants in turns.
///
/// # Errors
/// A lab cannot be made, a connection breaks, or the run was interrupted.
pub(super) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let mut sites = Vec::new();
    for name in [HELD, DROPPED].into_iter().filter(|name| effort.wants(name)) {
        interrupt::check()?;
        recorder.progress.step("simulated freezes", &format!("setting up {name}"));
        if let Some(reason) = (name == DROPPED).then(|| not_installed("nft")).flatten() {
            recorder.absent(name, None, &reason);
            continue;
        }
        sites.push(Site::new(name).with_context(|| name.to_owned())?);
    }
    for (round, n) in order(sites.len(), effort.rounds(ROUNDS)) {
        for &length in freezes(effort) {
            for traffic in TRAFFICS {
                interrupt::check()?;
                let (site, case) = (&sites[n], explain::freeze(length));
                let doing = format!("{}, round {}, {}", case, round + 1, site.name);
                recorder.progress.step(&format!("simulated freezes, {}", traffic.name()), &doing);
                let seen = site.measure(length, traffic);
                // It may have ended the tools too.
                interrupt::check()?;
                let (frozen, heard) = seen.with_context(|| doing)?;
                explain::Of::Freeze(traffic).record(recorder, &case, site.name, frozen, &heard);
            }
        }
    }
    Ok(())
}

/// A lab in which servers are frozen. Dropped in the order of its fields.
struct Site {
    name: &'static str,
    /// Home's, if packets are held.
    daemon: Option<Daemon>,
    lan: Lan,
}

impl Site {
    fn new(name: &'static str) -> Result<Self> {
        let lan = Lan::new(&WIRE)?;
        let settings = Settings {
            home: HOME,
            attach: "tc",
            interfaces: &[INTERFACE],
            redirects: 1024,
            flows: 8192,
            half_open: 8192,
        };
        let daemon = (name == HELD).then(|| Daemon::with(&lan.home, &settings)).transpose()?;
        Ok(Self { name, daemon, lan })
    }

    /// Freezes a server at home once: how long it did not run, in nanoseconds, and
    /// what its peer heard.
    fn measure(&self, length: Duration, traffic: Traffic) -> Result<(u64, Heard)> {
        let server = SocketAddr::from((HOME, PORT));
        let listener = self.lan.home.enter(|| Ok(TcpListener::bind(server)?));
        let listener = listener.with_context(|| format!("cannot listen at {server}"))?;
        if let Some(daemon) = &self.daemon {
            // As it is with a process that has not moved yet.
            let to = [Held::REDIRECT, &server.to_string(), "--to", "home", "--protocol", "tcp"];
            daemon.redirect(["add"].iter().chain(&to).chain(&[
                "--flows",
                "follow",
                "--no-check",
                "--replace",
            ]))?;
        }
        let connection = peer::connect(&self.lan.peer, HOME, PORT)?;
        let (accepted, from) = listener.accept()?;
        // Only the connection moves.
        drop(listener);
        let SocketAddr::V4(from) = from else { bail!("{from} is no address of IPv4") };
        let mut lock: Box<dyn Lock + '_> = match &self.daemon {
            Some(daemon) => Box::new(Held::begin(daemon, &self.lan, from, PORT)?),
            None => Box::new(Dropped::new(&self.lan.home, from, PORT)),
        };
        let server = Server::new(accepted, traffic)?;
        let freeze = Freeze { after: BEFORE, length };
        let (thawed, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let (frozen, heard) = thread::scope(|scope| {
            let serving = scope.spawn(|| server.serve(freeze, lock.as_mut(), (&thawed, &ended)));
            let heard = peer::send(&connection, traffic, &thawed);
            // The server ends when its peer has.
            drop(connection);
            ended.store(true, Ordering::Relaxed);
            (serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), heard)
        });
        // If the server fails, the peer only sees a broken connection.
        let (frozen, heard) = (frozen?, heard?);
        ensure!(frozen >= length.as_nanos() as u64, "the freeze was too short: {frozen} ns");
        Ok((frozen, heard))
    }
}
