//! A bulk stream by iperf3.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Host, Process, iperf3_server};

/// How long iperf3 may take to say farewell.
const FAREWELL: Duration = Duration::from_secs(20);

/// An iperf3 server, which receives one stream after the other. Between two of them, it
/// closes its listener and makes another, and refuses who comes before that.
pub(super) struct Sink {
    host: String,
    server: Process,
    expected: usize,
}

impl Sink {
    /// Starts it on `host`.
    pub(super) fn start(host: &Host) -> Result<Self> {
        let server = iperf3_server(host, 5201)?;
        Ok(Self { host: host.name().to_owned(), server, expected: 0 })
    }

    /// The name of its host.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Waits until it listens for one more stream than it has had.
    pub(super) fn expect(&mut self) -> Result<()> {
        self.expected += 1;
        let listens = |log: &str| log.matches("Server listening").count() >= self.expected;
        self.server.ready_when("the iperf3 server listens again", listens)
    }
}

/// A stream that is under way.
pub(super) struct Stream {
    process: Process,
    begun: Instant,
    /// What was seen of it, and of streams before it.
    pub(super) ways: Ways,
}

/// What iperf3 says of a stream that has come to its end.
pub(super) struct Summary {
    bytes: f64,
    seconds: f64,
    /// The stream's port at the client.
    pub(super) port: u16,
}

impl Summary {
    /// 10^9 bits a second that the server received.
    pub(super) fn gigabits(&self) -> f64 {
        self.bytes * 8.0 / self.seconds / 1e9
    }
}

impl Stream {
    /// Starts iperf3's client, as `line` says, on `peer`.
    pub(super) fn start(peer: &Host, line: &[&str]) -> Result<Self> {
        let process = peer.start(line)?;
        Ok(Self { process, begun: Instant::now(), ways: Ways::default() })
    }

    /// Time since its start.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Whether it has come to its end, in one way or another.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        let ended = self.process.has_ended()?;
        ensure!(ended || self.elapsed() < FAREWELL, "iperf3 is stuck: {}", self.process.log());
        Ok(ended)
    }

    /// What it says of itself, if it succeeded, and what was seen.
    pub(super) fn summary(mut self) -> Result<(Summary, Ways)> {
        let status = self.process.wait(FAREWELL)?;
        let said = self.process.log();
        ensure!(status.success(), "iperf3 ended with {status}: {said}");
        let report: Value = serde_json::from_str(&said).context("iperf3 writes JSON")?;
        let received = &report["end"]["sum_received"];
        let number = |field: &str| {
            received[field].as_f64().with_context(|| format!("iperf3 tells no {field}: {said}"))
        };
        let port = report["start"]["connected"][0]["local_port"].as_u64();
        let port = port.and_then(|port| port.try_into().ok()).context("iperf3 tells its port")?;
        let summary = Summary { bytes: number("bytes")?, seconds: number("seconds")?, port };
        Ok((summary, self.ways))
    }
}

/// Which host each of the peer's ports talked to.
#[derive(Default)]
pub(super) struct Ways(BTreeMap<u16, BTreeSet<String>>);

impl Ways {
    /// Takes what `redirect flows --json` says.
    pub(super) fn note(&mut self, flows: &Value) {
        for flow in flows["flows"].as_array().into_iter().flatten() {
            let endpoint = |side: &str| flow[side].as_str()?.parse::<SocketAddr>().ok();
            let (Some(peer), Some(host)) = (endpoint("peer"), endpoint("host")) else { continue };
            let host = match host.ip().to_string().as_str() {
                "10.0.0.3" => "c".to_owned(),
                "10.0.0.4" => "d".to_owned(),
                other => other.to_owned(),
            };
            self.0.entry(peer.port()).or_default().insert(host);
        }
    }

    /// The hosts that `port` of the peer talked to.
    pub(super) fn hosts(&self, port: u16) -> Vec<&str> {
        self.0.get(&port).into_iter().flatten().map(String::as_str).collect()
    }
}
