//! When each stage of a move was reached, and so how long each took.

use std::time::{Duration, Instant};

use crate::migrate::carried::Stages;

/// By the clock of whoever leads the move.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The move is committed before the process is ended: memory follows.
    pub(super) lazily: bool,
    reached: Vec<Instant>,
    /// When all was at the destination, if that said so.
    pub(super) received: Option<Instant>,
    /// How long it took home to flip, of the time until it had delivered all, if it
    /// said so.
    pub(super) flip: Option<Duration>,
}

impl Clock {
    /// The next stage is reached: frozen, written, revived, ended at the source,
    /// delivered, running. With memory that follows, it is delivered first, then ended.
    pub(super) fn stage(&mut self) {
        self.reached.push(Instant::now());
    }

    /// How long each took.
    pub(super) fn stages(&self) -> Stages {
        let mut pairs = self.reached.windows(2);
        let mut next = || {
            let pair = pairs.next();
            pair.map_or(Duration::ZERO, |pair| pair[1].saturating_duration_since(pair[0]))
        };
        let (dump, revive, mut end, mut deliver) = (next(), next(), next(), next());
        if self.lazily {
            std::mem::swap(&mut end, &mut deliver);
        }
        let resume = next();
        let received = self.received.zip(self.reached.get(1));
        let transfer = received.map(|(there, written)| there.saturating_duration_since(*written));
        let (transfer, restore) = split(revive, transfer);
        let (flip, replay) = split(deliver, self.flip);
        Stages {
            dump_us: micros(dump),
            transfer_and_restore_us: micros(revive),
            transfer_us: transfer,
            restore_us: restore,
            end_us: micros(end),
            flip_and_replay_us: micros(deliver),
            flip_us: flip,
            replay_us: replay,
            resume_us: micros(resume),
        }
    }
}

/// The first part of `all`, and the rest: together what all is.
fn split(all: Duration, first: Option<Duration>) -> (Option<u64>, Option<u64>) {
    let all = micros(all);
    let first = first.map(|first| micros(first).min(all));
    (first, first.map(|first| all - first))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Stages that end after 3, 10, 12, 20 and 21 ms.
    fn clock() -> Clock {
        let start = Instant::now();
        let reached = [0, 3, 10, 12, 20, 21].map(|ms| start + ms * MS).to_vec();
        Clock { reached, ..Clock::default() }
    }

    #[test]
    fn the_parts_of_a_stage_are_all_of_it() {
        let mut clock = clock();
        clock.received = Some(clock.reached[1] + 2 * MS);
        clock.flip = Some(MS);
        let stages = clock.stages();
        assert_eq!(
            stages,
            Stages {
                dump_us: 3_000,
                transfer_and_restore_us: 7_000,
                transfer_us: Some(2_000),
                restore_us: Some(5_000),
                end_us: 2_000,
                flip_and_replay_us: 8_000,
                flip_us: Some(1_000),
                replay_us: Some(7_000),
                resume_us: 1_000,
            }
        );
        assert_eq!(stages.frozen_us(), 21_000);
    }

    #[test]
    fn what_nobody_said_is_not_known() {
        let stages = clock().stages();
        assert_eq!((stages.transfer_us, stages.restore_us), (None, None));
        assert_eq!((stages.flip_us, stages.replay_us), (None, None));
        assert_eq!(stages.frozen_us(), 21_000);
    }

    #[test]
    fn where_memory_follows_it_is_delivered_before_it_is_ended() {
        let stages = Clock { lazily: true, ..clock() }.stages();
        assert_eq!((stages.flip_and_replay_us, stages.end_us), (2_000, 8_000));
        assert_eq!(stages.frozen_us(), 21_000);
    }

    /// As home's clock is not that of whoever leads the move, if by a little.
    #[test]
    fn a_part_is_not_longer_than_all() {
        let stages = Clock { flip: Some(9 * MS), ..clock() }.stages();
        assert_eq!((stages.flip_us, stages.replay_us), (Some(8_000), Some(0)));
    }
}
