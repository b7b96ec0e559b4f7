//! The last part of the demonstration: a live process moves from machine to machine
//! and home again, and its connections stay open.

mod clients;
mod plot;

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Binaries, Daemon, Lab, Lan, Machine, soon, with_criu};

use self::{
    clients::{Answer, LINE, Peer, RATE, SIZE, VISIT, Visits, WEB},
    plot::Plot,
};
use super::narrator::Narrator;

const SERVER: &str = include_str!("journey/server.py");
/// The server's number, which is free on every machine.
const PID: &str = "4711";
const HOME: &str = "home: [10.0.0.2, 'fd00::2']
hosts: { c: [10.0.0.3, 'fd00::3'], d: [10.0.0.4, 'fd00::4'] }
interfaces: { eth0: { attach: tc } }
node: { listen: '10.0.0.2:9311' }
";
const HOST: &str = "interfaces: { eth0: { attach: tc } }
";
/// Where the server goes, and its own address there.
const STOPS: [(&str, &str); 3] = [("c", "10.0.0.3"), ("d", "10.0.0.4"), ("home", "10.0.0.2")];
/// How long it stays everywhere, at least.
const STAY: Duration = Duration::from_secs(2);

/// Three machines whose daemons know each other, in the order in which they must
/// leave.
pub(super) struct Journey<'a> {
    narrator: &'a mut Narrator,
    binaries: &'a Binaries,
    daemon: Daemon,
    _c_daemon: Daemon,
    _d_daemon: Daemon,
    home: Machine,
    _c: Machine,
    _d: Machine,
    lan: Lan,
    _lab: Lab,
}

/// One move that has been made.
struct Leg {
    to: &'static str,
    begun: Instant,
    ended: Instant,
    /// What `redirect migrate --json` said.
    report: Value,
}

/// What the clients saw.
struct Seen {
    answers: Vec<Answer>,
    visits: Visits,
    hash: String,
}

impl<'a> Journey<'a> {
    /// Starts the machines and has them know each other.
    pub(super) fn prepare(narrator: &'a mut Narrator, binaries: &'a Binaries) -> Result<Self> {
        narrator.chapter("A live process is to move: three machines that know each other");
        let lab = Lab::new()?;
        let lan = Lan::new(&lab)?;
        for (host, address, what) in [
            (&lan.peer, "10.0.0.1", "the clients; they know only home's address"),
            (&lan.home, "10.0.0.2", "the home node: redirectd, and the server, for now"),
            (&lan.c, "10.0.0.3", "another machine: redirectd, and nothing else"),
            (&lan.d, "10.0.0.4", "a third one: the same"),
        ] {
            narrator.host(host.name(), address, what);
        }
        let machine = |host| Machine::new(host);
        let (home, c, d) = (machine(&lan.home)?, machine(&lan.c)?, machine(&lan.d)?);
        let daemon = Daemon::start_on(&home, binaries, HOME)?;
        let c_daemon = Daemon::start_on(&c, binaries, HOST)?;
        let d_daemon = Daemon::start_on(&d, binaries, HOST)?;
        let journey = Self {
            narrator,
            binaries,
            daemon,
            _c_daemon: c_daemon,
            _d_daemon: d_daemon,
            home,
            _c: c,
            _d: d,
            lan,
            _lab: lab,
        };
        journey.acquaint()?;
        Ok(journey)
    }

    /// Makes c and d known to home.
    fn acquaint(&self) -> Result<()> {
        let init = ["node", "init", "--name", "home-node"];
        self.narrator.command("home", &format!("redirect {}", init.join(" ")));
        let mut invited = self.daemon.json(&init)?["invitation"].take();
        for (daemon, name, listen) in
            [(&self._c_daemon, "c", "10.0.0.3:9311"), (&self._d_daemon, "d", "10.0.0.4:9311")]
        {
            if invited.is_null() {
                self.narrator.command("home", "redirect node invite");
                invited = self.daemon.json(&["node", "invite"])?;
            }
            let token = invited["token"].as_str().context("an invitation has a token")?;
            let shown: String = token.chars().take(24).collect();
            let rest = format!("--name {name} --listen {listen}");
            self.narrator.command(name, &format!("redirect node join {shown}… {rest}"));
            let said =
                daemon.redirect(&["node", "join", token, "--name", name, "--listen", listen])?;
            self.narrator.output(&said);
            invited = Value::Null;
        }
        Ok(())
    }

    /// Shows all of it.
    pub(super) fn show(mut self) -> Result<()> {
        self.narrator.chapter("A server at home, of plain Python, that knows nothing of all this");
        let hash = self.serve()?;
        self.narrator.chapter("It moves while it runs: home → c → d → home");
        let begun = Instant::now();
        let (legs, seen) = self.travel()?;
        self.narrator.chapter("What the clients saw");
        self.tell(begun, &legs, &seen, &hash);
        seen.judge(&hash)
    }

    /// Starts the server, and gives the SHA-256 of its download.
    fn serve(&self) -> Result<String> {
        let pid = PID.parse()?;
        self.narrator.command("home", "python3 server.py &");
        let log = self.home.start_as(pid, &["python3", "-c", SERVER])?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        soon("the server listens", || said().contains("listening").then_some(()))
            .with_context(|| format!("its log: {}", said()))?;
        self.page()?;
        let line = format!("curl --silent http://{WEB}/download | sha256sum");
        self.narrator.command("peer", &line);
        let said = self.lan.peer.run(&["sh", "-c", &line])?;
        self.narrator.output(&said);
        clients::first_word(&said)
    }

    /// Asks for the page by which the server says where it is.
    fn page(&self) -> Result<String> {
        let line = format!("curl --silent --max-time 10 http://{WEB}/");
        self.narrator.command("peer", &line);
        let said = self.lan.peer.run(&line.split(' ').collect::<Vec<_>>())?;
        self.narrator.output(&said);
        Ok(said)
    }

    /// The whole journey, with the clients at work from before its begin until
    /// after its end.
    fn travel(&mut self) -> Result<(Vec<Leg>, Seen)> {
        let host = self.lan.peer.clone();
        let (over, came) = (AtomicBool::new(false), AtomicU64::new(0));
        let peer = Peer { host: &host, over, came };
        self.narrator.say(&format!(
            "On the peer, from now until the end: one download of {} MiB, at {} MiB a second;",
            SIZE >> 20,
            RATE >> 20
        ));
        self.narrator.say(&format!(
            "one echo session, a line every {} ms; a new connection every {} ms.",
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
            let report = self.migrate(to)?;
            let ended = Instant::now();
            let download = peer.came.load(Relaxed) >> 20;
            self.narrator.output(&format!(
                "process {PID} runs on {to}: frozen for {}, {} held and delivered",
                frozen(&report),
                held(&report)
            ));
            self.narrator.output(&format!("the download is at {download} of {} MiB", SIZE >> 20));
            let page = self.page()?;
            ensure!(page.trim_end().ends_with(address), "it is not on {to}: {page}");
            legs.push(Leg { to, begun, ended, report });
            thread::sleep(STAY.saturating_sub(ended.elapsed()));
        }
        Ok(legs)
    }

    /// `redirect migrate`, as root at home.
    fn migrate(&self, to: &str) -> Result<Value> {
        self.narrator.command("home", &format!("redirect migrate {PID} --to {to} --json"));
        let text = |path: &std::path::Path| path.display().to_string();
        let binary = text(&self.binaries.redirect);
        let (socket, state) = (text(self.daemon.socket()), text(self.daemon.state()));
        let line = [&binary, "migrate", PID, "--to", to, "--json"];
        let lab = ["--socket", &socket, "--state-dir", &state];
        let with_criu = with_criu();
        let with_criu: Vec<&str> = with_criu.iter().map(String::as_str).collect();
        let said = self.home.run(&[&with_criu[..], &line, &lab].concat())?.success()?;
        let report: Value = serde_json::from_str(&said).context("not JSON")?;
        let lost = report["lost"].as_array().is_none_or(|lost| !lost.is_empty());
        ensure!(report["move"]["state"] == "committed" && !lost, "not as it should be: {report:#}");
        Ok(report)
    }

    /// The chart, the moves, and what became of each client.
    fn tell(&self, begun: Instant, legs: &[Leg], seen: &Seen, hash: &str) {
        let since = |at: Instant| at.saturating_duration_since(begun).as_secs_f64();
        let points: Vec<_> =
            seen.answers.iter().map(|answer| (since(answer.at), millis(answer.gap))).collect();
        let worst: Vec<_> = legs.iter().filter_map(|leg| leg.worst(&seen.answers)).collect();
        let names: Vec<_> = legs.iter().map(|leg| format!("to {}", leg.to)).collect();
        let marks = worst.iter().zip(&names);
        let marks: Vec<_> = marks.map(|(answer, name)| (since(answer.at), name.as_str())).collect();
        let seconds = points.last().map_or(1.0, |&(at, _)| at);
        self.narrator.say("The echo session: time from one answer to the next, and the moves");
        self.narrator.chart(&Plot { seconds, points: &points, marks: &marks }.lines());
        let rows: Vec<_> = legs.iter().zip(&worst).map(|(leg, worst)| leg.row(worst)).collect();
        self.narrator.rows(["MOVE", "FROZEN", "HELD AND DELIVERED", "LONGEST GAP"], &rows);
        self.narrator.rows(["CLIENT", "SEEN"], &seen.rows(hash));
    }
}

impl Leg {
    /// The answer that the echo session waited for longest.
    fn worst<'s>(&self, answers: &'s [Answer]) -> Option<&'s Answer> {
        // One that came after the end may have been waited for since before it.
        let during =
            |answer: &&Answer| self.begun < answer.at && answer.at - answer.gap < self.ended;
        answers.iter().filter(during).max_by_key(|answer| answer.gap)
    }

    fn row(&self, worst: &Answer) -> [String; 4] {
        let gap = format!("{:.0} ms", millis(worst.gap));
        [format!("to {}", self.to), frozen(&self.report), held(&self.report), gap]
    }
}

impl Seen {
    fn rows(&self, hash: &str) -> [[String; 2]; 3] {
        let Visits { opened, answered, .. } = &self.visits;
        let slowest = answered.iter().max().copied().unwrap_or_default();
        let echo = format!("{} answers to as many lines, in one connection", self.answers.len());
        let visits = format!(
            "{} of {opened} answered; the slowest took {:.0} ms",
            answered.len(),
            millis(slowest)
        );
        let right = if self.hash == hash { "the same as before the moves" } else { "WRONG" };
        let download = format!("{} MiB in one connection; SHA-256 {right}", SIZE >> 20);
        [
            ["echo session".to_owned(), echo],
            ["new connections".to_owned(), visits],
            ["download".to_owned(), download],
        ]
    }

    /// Whether nothing was lost.
    fn judge(&self, hash: &str) -> Result<()> {
        let mut from: Vec<_> = self.answers.iter().map(|answer| answer.from.as_str()).collect();
        from.dedup();
        ensure!(from == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.2"], "answers of {from:?}");
        let failures = &self.visits.failures;
        ensure!(failures.is_empty(), "new connections failed: {}", failures.join("; "));
        ensure!(self.hash == hash, "the download came as {} and not as {hash}", self.hash);
        Ok(())
    }
}

fn frozen(report: &Value) -> String {
    let seconds = report["seconds"]["frozen"].as_f64().unwrap_or_default();
    format!("{:.0} ms", seconds * 1e3)
}

fn held(report: &Value) -> String {
    let traffic = &report["move"]["held"]["traffic"];
    let number = |unit: &str| traffic[unit].as_u64().unwrap_or_default();
    format!("{} packets ({:.1} kB)", number("packets"), number("bytes") as f64 / 1e3)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
