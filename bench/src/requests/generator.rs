//! The open loop: sends what is due, takes what arrives, and waits for whichever
//! comes next.

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use super::{Requests, schedule::Schedule};

/// What the loop sends and receives by, and its clock.
pub(crate) trait Link {
    /// The time, in ns from any beginning.
    fn now(&self) -> u64;

    /// Waits until something has arrived or `until` (ns); and, for connections
    /// that are `blocked`, until more can be sent.
    ///
    /// # Errors
    /// It cannot wait.
    fn wait(&mut self, until: u64, blocked: impl Fn(usize) -> bool) -> Result<()>;

    /// Sends up to `bytes` by `connection`, and returns how many; never waits.
    ///
    /// # Errors
    /// The connection is broken.
    fn send(&mut self, connection: usize, bytes: usize) -> Result<usize>;

    /// Takes what has arrived by `connection`, and returns how many bytes; never
    /// waits.
    ///
    /// # Errors
    /// The connection is broken, or the server has closed it.
    fn receive(&mut self, connection: usize) -> Result<usize>;
}

/// What became of the requests that are counted.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// From when a request was due until its response was there, in ns. It has
    /// every request: one that was not answered has waited until the end.
    pub(crate) latency: Histogram<u64>,
    /// From when a request was due until the kernel had taken it, in ns: what
    /// the generator, or a full connection, adds of its own.
    pub(crate) lateness: Histogram<u64>,
    /// Requests that were due.
    pub(crate) requests: u64,
    /// Those that were answered.
    pub(crate) answered: u64,
    /// Requests answered a second, from when the first was due until the last
    /// was answered.
    pub(crate) achieved: f64,
}

/// Sends the requests `asked` for to `link`, all of whose connections are open and quiet.
///
/// # Errors
/// Those of `link`, or more was received than asked for.
pub(crate) fn generate(asked: &Requests, link: &mut impl Link) -> Result<Outcome> {
    // A moment to get ready, so that the first request is not late by design.
    let schedule = Schedule::new(asked, link.now() + 1_000_000);
    let mut run = Generator::new(asked, schedule);
    let mut patience = Patience::new(asked, schedule.due(schedule.requests));
    loop {
        run.send(link)?;
        run.receive(link)?;
        patience.pass(link.now());
        if run.finished == schedule.requests || patience.left == 0 {
            return Ok(run.outcome(link.now()));
        }
        let next = if run.next < schedule.requests {
            schedule.due(run.next)
        } else {
            link.now() + patience.left.min(patience.step)
        };
        link.wait(next, |connection| run.connections[connection].unsent() > 0)?;
    }
}

/// How much longer responses are waited for, once all requests are due.
///
/// Where all stood still, generator and server alike, nobody has waited: of what
/// passes between two looks no more counts than a step. In ns.
struct Patience {
    left: u64,
    step: u64,
    /// Until when it has been counted.
    until: u64,
}

impl Patience {
    fn new(asked: &Requests, from: u64) -> Self {
        let left = asked.patience.as_nanos() as u64;
        Self { left, step: (left / 10).max(1), until: from }
    }

    fn pass(&mut self, now: u64) {
        self.left = self.left.saturating_sub(now.saturating_sub(self.until).min(self.step));
        self.until = self.until.max(now);
    }
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, Default)]
struct Connection {
    /// Bytes of all requests that are due.
    owed: u64,
    /// Bytes sent.
    sent: u64,
    /// Bytes received.
    received: u64,
}

impl Connection {
    fn unsent(&self) -> u64 {
        self.owed - self.sent
    }
}

struct Generator {
    schedule: Schedule,
    request: u64,
    response: u64,
    connections: Vec<Connection>,
    /// The next request to be due.
    next: u64,
    /// Requests answered, those of the warm-up too.
    finished: u64,
    /// When the last of them was.
    last: u64,
    outcome: Outcome,
}

impl Generator {
    fn new(asked: &Requests, schedule: Schedule) -> Self {
        let outcome = Outcome {
            latency: histogram(),
            lateness: histogram(),
            requests: schedule.requests - schedule.first_counted,
            answered: 0,
            achieved: 0.0,
        };
        Self {
            schedule,
            request: asked.request as u64,
            response: asked.response as u64,
            connections: vec![Connection::default(); asked.connections],
            next: 0,
            finished: 0,
            last: 0,
            outcome,
        }
    }

    /// Sends what is due, as far as the connections take it.
    fn send(&mut self, link: &mut impl Link) -> Result<()> {
        let now = link.now();
        while self.next < self.schedule.requests && self.schedule.due(self.next) <= now {
            let n = self.schedule.connection(self.next);
            self.connections[n].owed += self.request;
            self.next += 1;
            self.send_by(n, link)?;
        }
        for n in 0..self.connections.len() {
            if self.connections[n].unsent() > 0 {
                self.send_by(n, link)?;
            }
        }
        Ok(())
    }

    fn send_by(&mut self, n: usize, link: &mut impl Link) -> Result<()> {
        let connection = &mut self.connections[n];
        let before = connection.sent / self.request;
        connection.sent += link.send(n, connection.unsent() as usize)? as u64;
        let after = connection.sent / self.request;
        let now = link.now();
        for request in (before..after).map(|nth| self.schedule.of(n, nth)) {
            if self.schedule.counted(request) {
                self.outcome.lateness.saturating_record(now - self.schedule.due(request));
            }
        }
        Ok(())
    }

    /// Takes all responses that are there.
    fn receive(&mut self, link: &mut impl Link) -> Result<()> {
        for n in 0..self.connections.len() {
            let connection = &mut self.connections[n];
            let before = connection.received / self.response;
            connection.received += link.receive(n)? as u64;
            let after = connection.received / self.response;
            ensure!(
                after <= connection.sent / self.request,
                "connection {n} has {after} responses to {} requests",
                connection.sent / self.request
            );
            if before == after {
                continue;
            }
            self.last = link.now();
            self.finished += after - before;
            for request in (before..after).map(|nth| self.schedule.of(n, nth)) {
                if self.schedule.counted(request) {
                    self.outcome.answered += 1;
                    // From when it was due, not from when it was sent.
                    let latency = self.last - self.schedule.due(request);
                    self.outcome.latency.saturating_record(latency);
                }
            }
        }
        Ok(())
    }

    /// The end: what was not answered by `now` has waited until then.
    fn outcome(mut self, now: u64) -> Outcome {
        for (n, connection) in self.connections.iter().enumerate() {
            let unanswered = connection.received / self.response..connection.owed / self.request;
            for request in unanswered.map(|nth| self.schedule.of(n, nth)) {
                if self.schedule.counted(request) {
                    let waited = now - self.schedule.due(request);
                    self.outcome.latency.saturating_record(waited);
                }
            }
        }
        let first = self.schedule.due(self.schedule.first_counted);
        let seconds = self.last.saturating_sub(first) as f64 / 1e9;
        if self.outcome.answered > 0 {
            self.outcome.achieved = self.outcome.answered as f64 / seconds;
        }
        self.outcome
    }
}

/// From 1 ns to a minute, to three digits; recording allocates nothing.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
