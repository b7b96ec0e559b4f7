//! The open loop against a server and a clock that are made up.

use std::{collections::VecDeque, ops::Range, time::Duration};

use super::*;

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;

/// What goes wrong, once, and when (ns from the start of the clock).
#[derive(Debug, Clone)]
enum Stall {
    Never,
    /// The server answers nothing.
    Server(Range<u64>),
    /// The connections take nothing.
    Sending(Range<u64>),
    /// The generator itself sleeps.
    Generator(Range<u64>),
    /// All stand still, the server and the generator.
    Machine(Range<u64>),
}

/// A server that answers requests of any connection one after the other, each
/// within [`Self::SERVICE`].
struct Fake {
    now: u64,
    stall: Stall,
    /// Bytes of responses and when they arrive, by connection.
    arriving: Vec<VecDeque<(u64, usize)>>,
    busy_until: u64,
    /// Answers no more after this many requests.
    answers: usize,
}

impl Fake {
    const SERVICE: u64 = 10 * US;

    fn new(stall: Stall) -> Self {
        let arriving = vec![VecDeque::new(); asked().connections];
        Self { now: 0, stall, arriving, busy_until: 0, answers: usize::MAX }
    }

    /// `time`, or the end of a stall that it falls into.
    fn after(stall: Option<&Range<u64>>, time: u64) -> u64 {
        stall.filter(|stall| stall.contains(&time)).map_or(time, |stall| stall.end)
    }

    /// When a request that is sent now is answered.
    fn answer_at(&mut self) -> u64 {
        let stall = match &self.stall {
            Stall::Server(stall) | Stall::Machine(stall) => Some(stall),
            _ => None,
        };
        let begin = Self::after(stall, self.now.max(self.busy_until));
        self.busy_until = begin + Self::SERVICE;
        self.busy_until
    }
}

impl Link for Fake {
    fn now(&self) -> u64 {
        self.now
    }

    fn wait(&mut self, until: u64, blocked: impl Fn(usize) -> bool) -> Result<()> {
        let arrivals = self.arriving.iter().filter_map(VecDeque::front).map(|first| first.0);
        let mut wake = arrivals.chain([until]).min().unwrap_or(until);
        match &self.stall {
            Stall::Sending(stall) if (0..self.arriving.len()).any(blocked) => {
                wake = wake.min(stall.end);
            }
            Stall::Generator(stall) | Stall::Machine(stall) => {
                wake = Self::after(Some(stall), wake);
            }
            _ => {}
        }
        self.now = self.now.max(wake);
        Ok(())
    }

    fn send(&mut self, connection: usize, bytes: usize) -> Result<usize> {
        if matches!(&self.stall, Stall::Sending(stall) if stall.contains(&self.now)) {
            return Ok(0);
        }
        for _ in 0..bytes / asked().request {
            if self.answers > 0 {
                self.answers -= 1;
                let at = self.answer_at();
                self.arriving[connection].push_back((at, asked().response));
            }
        }
        Ok(bytes)
    }

    fn receive(&mut self, connection: usize) -> Result<usize> {
        let mut bytes = 0;
        while let Some((_, response)) =
            self.arriving[connection].pop_front_if(|(at, _)| *at <= self.now)
        {
            bytes += response;
        }
        Ok(bytes)
    }
}

/// 1,000 requests in a second, one each ms.
fn asked() -> Requests {
    Requests {
        rate: 1_000,
        connections: 4,
        request: 64,
        response: 100,
        warm_up: Duration::from_millis(200),
        duration: Duration::from_secs(1),
        patience: Duration::from_secs(1),
    }
}

/// From 500 ms on, 100 ms long: past the warm-up.
const STALL: Range<u64> = 500 * MS..600 * MS;

fn at(outcome: &Outcome, quantile: f64) -> u64 {
    outcome.latency.value_at_quantile(quantile)
}

/// How many requests took `latency` (ns) or longer.
fn slower(outcome: &Outcome, latency: u64) -> u64 {
    outcome.latency.count_between(latency, u64::MAX)
}

/// A stall of 100 ms is met by the 100 requests that are due within it, the
/// first waiting for all of it, the last for a ms of it.
fn shows_the_stall(outcome: &Outcome) {
    assert_eq!((outcome.requests, outcome.answered), (1_000, 1_000));
    assert_eq!(outcome.latency.len(), 1_000);
    assert!((98 * MS..102 * MS).contains(&at(outcome, 0.999)), "{}", at(outcome, 0.999));
    assert!((88 * MS..92 * MS).contains(&at(outcome, 0.99)), "{}", at(outcome, 0.99));
    assert!((48..=52).contains(&slower(outcome, 50 * MS)), "{}", slower(outcome, 50 * MS));
    assert!(at(outcome, 0.5) < 2 * Fake::SERVICE);
}

#[test]
fn without_a_stall_latency_is_the_servers_own() {
    let outcome = generate(&asked(), &mut Fake::new(Stall::Never)).unwrap();
    assert_eq!((outcome.requests, outcome.answered), (1_000, 1_000));
    assert!(outcome.latency.max() < Fake::SERVICE + US);
    assert_eq!(outcome.lateness.max(), 0);
    assert!((outcome.achieved - 1_001.0).abs() < 1.0, "{}", outcome.achieved);
}

#[test]
fn all_requests_due_while_the_server_stalls_show_it() {
    let outcome = generate(&asked(), &mut Fake::new(Stall::Server(STALL))).unwrap();
    shows_the_stall(&outcome);
    // They were sent meanwhile: a stalled server does not stop the asking.
    assert_eq!(outcome.lateness.max(), 0);
}

/// Fails if latency is counted from when a request was sent: all were answered
/// at once after that.
#[test]
fn requests_that_cannot_be_sent_in_time_wait_from_when_they_were_due() {
    for stall in [Stall::Sending(STALL), Stall::Generator(STALL)] {
        let outcome = generate(&asked(), &mut Fake::new(stall)).unwrap();
        shows_the_stall(&outcome);
        assert!(outcome.lateness.max() > 98 * MS);
    }
}

/// What this generator is there to avoid: one request at a time, timed from
/// when it is sent.
#[test]
fn a_closed_loop_would_hide_the_stall() {
    let mut link = Fake::new(Stall::Server(STALL));
    let mut latency = histogram();
    while link.now < 1_200 * MS {
        let sent = link.now;
        assert_eq!(link.send(0, asked().request).unwrap(), asked().request);
        while link.receive(0).unwrap() == 0 {
            link.wait(u64::MAX, |_| false).unwrap();
        }
        latency.record(link.now - sent).unwrap();
        link.now = link.now.max(sent + MS);
    }
    assert_eq!(latency.count_between(MS, u64::MAX), 1);
    assert!(latency.value_at_quantile(0.999) < 2 * Fake::SERVICE);
}

#[test]
fn a_stall_within_the_warm_up_is_left_out() {
    let outcome = generate(&asked(), &mut Fake::new(Stall::Server(10 * MS..110 * MS))).unwrap();
    assert_eq!(outcome.latency.len(), 1_000);
    assert!(outcome.latency.max() < Fake::SERVICE + US);
}

#[test]
fn a_server_that_is_too_slow_is_found_out() {
    // 10 µs for each of 200,000 requests a second: twice what it can do.
    let asked = Requests { rate: 200_000, patience: Duration::from_secs(5), ..asked() };
    let outcome = generate(&asked, &mut Fake::new(Stall::Never)).unwrap();
    assert_eq!(outcome.answered, 200_000);
    // The queue that the warm-up has left is answered first.
    assert!((85_000.0..100_000.0).contains(&outcome.achieved), "{}", outcome.achieved);
    assert!(at(&outcome, 0.5) > 500 * MS);
}

#[test]
fn what_is_never_answered_has_waited_until_the_end() {
    let mut link = Fake::new(Stall::Never);
    link.answers = 1_100;
    let outcome = generate(&asked(), &mut link).unwrap();
    assert_eq!((outcome.requests, outcome.answered, outcome.latency.len()), (1_000, 900, 1_000));
    // For the patience of a second, and for what was left of the schedule.
    assert_eq!(slower(&outcome, 1_000 * MS), 100);
}

/// Nobody was waited for meanwhile.
#[test]
fn a_machine_that_stands_still_uses_up_no_patience() {
    // From before the last is due, for longer than the patience.
    let stall = Stall::Machine(1_195 * MS..4_000 * MS);
    let outcome = generate(&asked(), &mut Fake::new(stall)).unwrap();
    assert_eq!((outcome.requests, outcome.answered), (1_000, 1_000));
    // Who had to wait for it, had to.
    assert!(outcome.latency.max() > 2_700 * MS, "{}", outcome.latency.max());
}
