//! The order of an interleaved measurement, and what one measurement yields.

use std::time::Duration;

/// Who is measured when, as (round, contestant): every round has everyone once,
/// and each round begins with another, so that nobody always comes after the
/// same one.
pub(crate) fn order(contestants: usize, rounds: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rounds)
        .flat_map(move |round| (0..contestants).map(move |n| (round, (round + n) % contestants)))
}

/// What one measurement of packets saw.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// Packets made.
    pub(crate) sent: u64,
    /// Packets that arrived where they should.
    pub(crate) arrived: u64,
    /// Those of the packets made that were timed.
    pub(crate) timed: u64,
    /// Time these took.
    pub(crate) elapsed: Duration,
    /// Time that the system calls took which made all of the packets.
    pub(crate) wall: Duration,
    /// How often the processor was taken away meanwhile.
    pub(crate) switches: u64,
}

impl Sample {
    /// Packets that arrived, in millions a second.
    pub(crate) fn mpps(&self) -> f64 {
        let made = self.timed as f64 / self.elapsed.as_secs_f64() / 1e6;
        made * self.arrived as f64 / self.sent as f64
    }

    /// As [`Self::mpps`], by the time of the system calls instead.
    pub(crate) fn mpps_by_wall_clock(&self) -> f64 {
        self.arrived as f64 / self.wall.as_secs_f64() / 1e6
    }

    /// Packets that were made and did not arrive, as a fraction of those made.
    pub(crate) fn loss(&self) -> f64 {
        1.0 - self.arrived as f64 / self.sent as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_in_every_round_and_begins_as_often_as_others() {
        let order: Vec<_> = order(3, 6).collect();
        for round in 0..6 {
            let mut who: Vec<_> = order.iter().filter(|o| o.0 == round).map(|o| o.1).collect();
            who.sort_unstable();
            assert_eq!(who, [0, 1, 2]);
        }
        let firsts: Vec<_> = order.iter().step_by(3).map(|o| o.1).collect();
        assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn the_figure_counts_what_arrived() {
        let elapsed = Duration::from_millis(500);
        // 4 million made a second, of which half arrived.
        let sample = Sample {
            sent: 2_001_000,
            arrived: 1_000_500,
            timed: 2_000_000,
            elapsed,
            wall: Duration::from_millis(520),
            ..Sample::default()
        };
        assert!((sample.mpps() - 2.0).abs() < 1e-9);
        assert!((sample.mpps_by_wall_clock() - 1.0005 / 0.52).abs() < 1e-9);
        assert!((sample.loss() - 0.5).abs() < 1e-9);
    }
}
