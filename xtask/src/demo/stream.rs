//! A bulk stream by iperf3.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Host, Process};

/// How long iperf3 may take to say farewell.
const FAREWELL: Duration = Duration::from_secs(20);

/// A stream that is under way.
pub(super) struct Stream {
    process: Process,
    begun: Instant,
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
        Ok(Self { process: peer.start(line)?, begun: Instant::now() })
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

    /// What it says of itself, if it succeeded.
    pub(super) fn summary(mut self) -> Result<Summary> {
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
        Ok(Summary { bytes: number("bytes")?, seconds: number("seconds")?, port })
    }
}
