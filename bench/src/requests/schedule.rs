//! When which request is due, on which connection.

use std::time::Duration;

use super::Requests;

/// Requests are numbered from 0, and so are connections, which take them in turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start: u64,
    rate: u64,
    connections: u64,
    /// How many requests there are.
    pub(super) requests: u64,
    /// The first that is counted.
    pub(super) first_counted: u64,
}

const NS_PER_S: u64 = 1_000_000_000;

impl Schedule {
    /// Of what is `asked`, whose first request is due at `start` (ns).
    pub(super) fn new(asked: &Requests, start: u64) -> Self {
        let rate = u64::from(asked.rate);
        let within = |time: Duration| (time.as_secs_f64() * f64::from(asked.rate)).round() as u64;
        let first_counted = within(asked.warm_up);
        Self {
            start,
            rate,
            connections: asked.connections as u64,
            requests: first_counted + within(asked.duration).max(1),
            first_counted,
        }
    }

    /// When `request` is due, in ns. Worked out anew for each, so that nothing
    /// adds up, neither rounding nor lateness.
    pub(super) fn due(&self, request: u64) -> u64 {
        self.start + request / self.rate * NS_PER_S + request % self.rate * NS_PER_S / self.rate
    }

    /// The connection that `request` takes.
    pub(super) fn connection(&self, request: u64) -> usize {
        (request % self.connections) as usize
    }

    /// The `n`-th request (from 0) of `connection`.
    pub(super) fn of(&self, connection: usize, n: u64) -> u64 {
        n * self.connections + connection as u64
    }

    /// Whether the request is past the warm-up.
    pub(super) fn counted(&self, request: u64) -> bool {
        request >= self.first_counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u32) -> Schedule {
        let asked = Requests {
            rate,
            connections: 8,
            request: 64,
            response: 64,
            warm_up: Duration::from_millis(100),
            duration: Duration::from_secs(1),
            patience: Duration::from_secs(1),
        };
        Schedule::new(&asked, 5)
    }

    #[test]
    fn requests_are_due_at_even_distances_without_drift() {
        let schedule = schedule(3_000);
        assert_eq!((schedule.due(0), schedule.due(1)), (5, 333_338));
        // An hour later it is as exact.
        assert_eq!(schedule.due(3_600 * 3_000), 5 + 3_600 * NS_PER_S);
    }

    #[test]
    fn requests_of_the_warm_up_come_first_and_do_not_count() {
        let schedule = schedule(1_000);
        assert_eq!((schedule.requests, schedule.first_counted), (1_100, 100));
        assert!(!schedule.counted(99) && schedule.counted(100));
    }

    #[test]
    fn connections_take_requests_in_turn() {
        let schedule = schedule(1_000);
        for request in 0..100 {
            let connection = schedule.connection(request);
            assert_eq!(schedule.of(connection, request / 8), request);
        }
    }
}
