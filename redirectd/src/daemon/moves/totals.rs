//! What all moves together did since the daemon started.

use prometheus_client::metrics::histogram::Histogram;

use crate::migrate::{carried::Carried, ledger::Move, machine::MoveState};

/// Times for which packets were held, and processes frozen, in seconds: the limits that are counted.
const BUCKETS: [f64; 12] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Sums over all moves that are over; clones share the histograms.
#[derive(Debug, Clone)]
pub struct MoveTotals {
    /// Moves committed.
    pub committed: u64,
    /// Moves aborted.
    pub aborted: u64,
    /// Packets held.
    pub held_packets: u64,
    /// Bytes held, of whole frames.
    pub held_bytes: u64,
    /// Packets dropped for want of room to hold them.
    pub overflow_packets: u64,
    /// Packets held that could not be delivered.
    pub lost_packets: u64,
    /// TCP segments that came again while packets were held.
    pub retransmissions: u64,
    /// Moves that are not over.
    pub open: u64,
    /// Processes whose memory is not all where they are.
    pub dependent: u64,
    /// Bytes of it that are not, as far as that is known.
    pub behind_bytes: u64,
    /// Bytes of memory that have followed processes, of moves that are over.
    pub followed_bytes: u64,
    /// Processes that have ended as their memory did not come.
    pub lost_processes: u64,
    /// For how long packets were held.
    pub held_seconds: Histogram,
    /// For how long processes were frozen that our own engine moved.
    pub frozen_seconds: Histogram,
}

impl Default for MoveTotals {
    fn default() -> Self {
        Self {
            committed: 0,
            aborted: 0,
            held_packets: 0,
            held_bytes: 0,
            overflow_packets: 0,
            lost_packets: 0,
            retransmissions: 0,
            open: 0,
            dependent: 0,
            behind_bytes: 0,
            followed_bytes: 0,
            lost_processes: 0,
            held_seconds: Histogram::new(BUCKETS),
            frozen_seconds: Histogram::new(BUCKETS),
        }
    }
}

impl MoveTotals {
    /// A move of our own engine is reported: a process was carried over.
    pub(super) fn count_carried(&mut self, carried: &Carried) {
        self.frozen_seconds.observe(carried.stages.frozen_us() as f64 / 1e6);
        if let Some(followed) = &carried.followed {
            self.followed_bytes += followed.bytes;
            self.lost_processes += u64::from(followed.lost.is_some());
        }
    }

    /// One more move is over.
    pub(super) fn count(&mut self, over: &Move) {
        match over.state {
            MoveState::Committed => self.committed += 1,
            _ => self.aborted += 1,
        }
        if let Some(outcome) = &over.outcome {
            self.held_packets += outcome.held.packets;
            self.held_bytes += outcome.held.bytes;
            self.overflow_packets += outcome.overflow.packets;
            self.lost_packets += outcome.lost;
            self.retransmissions += outcome.retransmissions;
        }
        if let Some(held) = over.held_for() {
            self.held_seconds.observe(held.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dataplane::Traffic,
        migrate::record::{Moment, Outcome, Plan},
    };

    fn over(state: MoveState) -> Move {
        let (label, process, destination) = (None, None, "d".to_owned());
        let (shifts, made) = (Vec::new(), Vec::new());
        let plan = Plan { label, process, destination, shifts, made, memory: None, timeout_ms: 1 };
        let held = Traffic { packets: 5, bytes: 700 };
        let overflow = Traffic { packets: 2, bytes: 60 };
        let outcome = Outcome { held, overflow, lost: 1, ..Outcome::default() };
        let (parked, settled) = (Some(Moment(1_000_000)), Some(Moment(1_500_000)));
        let begun = Move::new(1, plan, Moment(1));
        Move { state, parked, settled, outcome: Some(outcome), ..begun }
    }

    #[test]
    fn all_that_a_move_held_counts() {
        let mut totals = MoveTotals::default();
        for state in [MoveState::Committed, MoveState::Aborted, MoveState::Aborted] {
            totals.count(&over(state));
        }
        assert_eq!((totals.committed, totals.aborted), (1, 2));
        assert_eq!((totals.held_packets, totals.held_bytes), (15, 2_100));
        assert_eq!((totals.overflow_packets, totals.lost_packets), (6, 3));
    }
}
