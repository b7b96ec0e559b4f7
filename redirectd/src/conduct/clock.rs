//! When each stage of a move was reached, and so how long each took.

use std::time::{Duration, Instant};

use crate::migrate::carried::Stages;

/// What a stretch of time was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// All was written.
    Dump,
    /// All went over, and was revived.
    Revive,
    /// The process was ended at the source.
    End,
    /// The move was committed.
    Flip,
    /// What was held was delivered.
    Replay,
    /// The process was let run.
    Resume,
}

/// By the clock of whoever leads the move.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// When the last stage was over.
    last: Option<Instant>,
    took: [Duration; 6],
    /// When all was at the destination, if that said so, from the end of the dump on.
    pub(super) received: Option<Instant>,
    transfer: Option<Duration>,
}

impl Clock {
    /// The process is frozen.
    pub(super) fn start(&mut self) {
        self.last = Some(Instant::now());
    }

    /// What has passed since the last call was for `stage`.
    pub(super) fn over(&mut self, stage: Stage) {
        self.over_at(stage, Instant::now());
    }

    fn over_at(&mut self, stage: Stage, now: Instant) {
        let last = self.last.replace(now).unwrap_or(now);
        self.took[stage as usize] += now.saturating_duration_since(last);
        if stage == Stage::Revive {
            self.transfer = self.received.map(|there| there.saturating_duration_since(last));
        }
    }

    /// How long each took.
    pub(super) fn stages(&self) -> Stages {
        let took = |stage: Stage| micros(self.took[stage as usize]);
        let (transfer, restore) = split(took(Stage::Revive), self.transfer);
        let (flip, replay) = (took(Stage::Flip), took(Stage::Replay));
        Stages {
            dump_us: took(Stage::Dump),
            transfer_and_restore_us: took(Stage::Revive),
            transfer_us: transfer,
            restore_us: restore,
            end_us: took(Stage::End),
            flip_and_replay_us: flip + replay,
            flip_us: Some(flip),
            replay_us: Some(replay),
            resume_us: took(Stage::Resume),
        }
    }
}

/// The first part of `all`, and the rest: together what all is.
fn split(all: u64, first: Option<Duration>) -> (Option<u64>, Option<u64>) {
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

    /// A clock by which stages ended at these times.
    fn clock(received: Option<u32>, ends: &[(Stage, u32)]) -> Clock {
        let start = Instant::now();
        let at = |ms: u32| start + ms * MS;
        let mut clock = Clock { last: Some(start), ..Clock::default() };
        clock.received = received.map(at);
        for (stage, ms) in ends {
            clock.over_at(*stage, at(*ms));
        }
        clock
    }

    const COPIED: [(Stage, u32); 7] = [
        (Stage::Dump, 3),
        (Stage::Revive, 10),
        (Stage::End, 12),
        (Stage::Flip, 13),
        (Stage::Resume, 15),
        (Stage::Replay, 19),
        (Stage::Resume, 21),
    ];

    #[test]
    fn the_parts_of_a_stage_are_all_of_it() {
        let stages = clock(Some(5), &COPIED).stages();
        assert_eq!(
            stages,
            Stages {
                dump_us: 3_000,
                transfer_and_restore_us: 7_000,
                transfer_us: Some(2_000),
                restore_us: Some(5_000),
                end_us: 2_000,
                flip_and_replay_us: 5_000,
                flip_us: Some(1_000),
                replay_us: Some(4_000),
                resume_us: 4_000,
            }
        );
        assert_eq!(stages.frozen_us(), 21_000);
    }

    #[test]
    fn what_nobody_said_is_not_known() {
        let stages = clock(None, &COPIED).stages();
        assert_eq!((stages.transfer_us, stages.restore_us), (None, None));
        assert_eq!(stages.frozen_us(), 21_000);
    }

    #[test]
    fn where_memory_follows_it_is_committed_before_it_is_ended() {
        let mut ends = COPIED;
        (ends[2], ends[3]) = ((Stage::Flip, 11), (Stage::End, 13));
        let stages = clock(None, &ends).stages();
        assert_eq!((stages.flip_us, stages.end_us), (Some(1_000), 2_000));
        assert_eq!(stages.frozen_us(), 21_000);
    }

    /// What the destination says may come late.
    #[test]
    fn a_part_is_not_longer_than_all() {
        let stages = clock(Some(90), &COPIED).stages();
        assert_eq!((stages.transfer_us, stages.restore_us), (Some(7_000), Some(0)));
    }
}
