//! The last part of the demonstration: a live process moves from machine to machine
//! and home again, and its connections stay open.

mod clients;
mod machines;
mod plot;
mod seen;

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Binaries, soon};

use self::{
    clients::{LINE, Peer, RATE, SIZE, VISIT, WEB},
    machines::Machines,
    seen::{Leg, Seen},
};
use super::narrator::Narrator;

const SERVER: &str = include_str!("journey/server.py");
/// The server's number, which is free on every machine.
const PID: &str = "4711";
/// Where the server goes, and its own address there.
const STOPS: [(&str, &str); 3] = [("c", "10.0.0.3"), ("d", "10.0.0.4"), ("home", "10.0.0.2")];
/// Its addresses, in turn.
const ADDRESSES: [&str; 4] = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.2"];
/// How long it stays everywhere, at least.
const STAY: Duration = Duration::from_secs(2);

/// The stage of this part.
pub(super) struct Journey<'a> {
    narrator: &'a mut Narrator,
    machines: Machines,
}

impl<'a> Journey<'a> {
    /// Sets the stage.
    pub(super) fn prepare(narrator: &'a mut Narrator, binaries: &Binaries) -> Result<Self> {
        narrator.chapter("Now a live process is to move: three machines that know each other");
        let machines = Machines::prepare(narrator, binaries)?;
        Ok(Self { narrator, machines })
    }

    /// Shows all of it.
    pub(super) fn show(self) -> Result<()> {
        self.narrator.chapter("A server at home: plain Python, which knows nothing of all this");
        let hash = self.serve()?;
        self.narrator.chapter("It moves while it runs: home → c → d → home");
        let (legs, seen) = self.travel()?;
        self.narrator.chapter("What the clients saw");
        self.narrator.say("The echo session: time from one answer to the next");
        self.narrator.chart(&seen.chart(&legs));
        let heads = ["MOVE", "FROZEN", "HELD AT HOME, THEN DELIVERED", "LONGEST GAP"];
        self.narrator.rows(heads, &seen.moves(&legs));
        self.narrator.blank();
        self.narrator.rows(["CLIENT", "SAW"], &seen.clients(&hash));
        seen.judge(&hash, &ADDRESSES)?;
        self.narrator.blank();
        self.narrator
            .say("No connection broke and nothing was lost: the clients only had to wait.");
        Ok(())
    }

    /// Starts the server, and gives the SHA-256 of its download.
    fn serve(&self) -> Result<String> {
        self.narrator.command("home", "python3 xtask/src/demo/journey/server.py &");
        let log = self.machines.home.start_as(PID.parse()?, &["python3", "-c", SERVER])?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        soon("the server listens", || said().contains("listening").then_some(()))
            .with_context(|| format!("its log: {}", said()))?;
        self.page()?;
        let line = format!("curl --silent http://{WEB}/download | sha256sum");
        self.narrator.command("peer", &line);
        let said = self.machines.peer().run(&["sh", "-c", &line])?;
        self.narrator.output(&said);
        clients::first_word(&said)
    }

    /// Asks for the page by which the server says where it is.
    fn page(&self) -> Result<String> {
        let line = format!("curl --silent --max-time 10 http://{WEB}/");
        self.narrator.command("peer", &line);
        let said = self.machines.peer().run(&line.split(' ').collect::<Vec<_>>())?;
        self.narrator.output(&said);
        Ok(said)
    }

    /// The whole journey, with the clients at work from before its beginning until
    /// after its end.
    fn travel(&self) -> Result<(Vec<Leg>, Seen)> {
        let (over, came) = (AtomicBool::new(false), AtomicU64::new(0));
        let peer = Peer { host: self.machines.peer(), over, came };
        self.narrator.say(&format!(
            "On the peer, from now until the end: a download of {} MiB, at {} MiB a second;",
            SIZE >> 20,
            RATE >> 20
        ));
        self.narrator.say(&format!(
            "an echo session, with a line every {} ms; and a new connection every {} ms.",
            LINE.as_millis(),
            VISIT.as_millis()
        ));
        thread::scope(|scope| {
            let echo = scope.spawn(|| peer.echo());
            let visits = scope.spawn(|| peer.visit());
            let download = scope.spawn(|| peer.download());
            let legs = self.legs(&peer);
            peer.over.store(true, Relaxed);
            let answers = echo.join().expect("it does not panic");
            let visits = visits.join().expect("it does not panic");
            let hash = download.join().expect("it does not panic");
            // A move that failed is the reason for whatever came after it.
            let legs = legs?;
            let answers = answers.context("the echo session broke")?;
            let hash = hash.context("the download broke")?;
            Ok((legs, Seen { answers, visits, hash }))
        })
    }

    fn legs(&self, peer: &Peer<'_>) -> Result<Vec<Leg>> {
        soon("the download is under way", || (peer.came.load(Relaxed) > 0).then_some(()))?;
        thread::sleep(STAY);
        let mut legs = Vec::new();
        for (to, address) in STOPS {
            let begun = Instant::now();
            let report = self.machines.migrate(self.narrator, to)?;
            let leg = Leg { to, begun, ended: Instant::now(), report };
            let (frozen, held) = (leg.frozen(), leg.held());
            self.narrator.output(&format!(
                "process {PID} runs on {to}; frozen for {frozen}, {held} held and delivered",
            ));
            let page = self.page()?;
            ensure!(page.trim_end().ends_with(address), "it is not on {to}: {page}");
            let download = peer.came.load(Relaxed) >> 20;
            self.narrator
                .say(&format!("The download has come to {download} of {} MiB.", SIZE >> 20));
            thread::sleep(STAY.saturating_sub(leg.ended.elapsed()));
            legs.push(leg);
        }
        Ok(legs)
    }
}
