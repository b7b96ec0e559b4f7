//! How much of a process may come before there is no room for it; pure.

use crate::{
    error::{Error, Kind},
    migrate::{criu::rounds, memory::Bytes},
};

/// What of a process has come, in bytes, and the room for it.
#[derive(Debug)]
pub(super) struct Room {
    all: u64,
    came: u64,
    /// What has come of each round; at 0, what is of none.
    rounds: [u64; rounds::MOST + 1],
}

impl Room {
    /// Room for `all` bytes.
    pub(super) fn of(all: u64) -> Self {
        Self { all, came: 0, rounds: [0; rounds::MOST + 1] }
    }

    /// Takes `length` more bytes, which are of `round`, if they are of one.
    ///
    /// What changes while a round goes on is left for the next one, or for when the
    /// process is frozen. So from the second round on, as much must be free as that round
    /// has had: what is refused is refused while the process still runs.
    ///
    /// # Errors
    /// There is no room for them, or for what may still come.
    pub(super) fn take(&mut self, round: Option<usize>, length: usize) -> Result<(), Error> {
        let of_round = &mut self.rounds[round.unwrap_or(0)];
        *of_round = of_round.saturating_add(length as u64);
        self.came = self.came.saturating_add(length as u64);
        let left = match round {
            Some(2..) => *of_round,
            _ => 0,
        };
        match self.came.saturating_add(left).checked_sub(self.all) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(self.refusal(round, missing)),
        }
    }

    fn refusal(&self, round: Option<usize>, missing: u64) -> Error {
        let [_, ahead @ ..] = &self.rounds;
        if ahead.iter().all(|bytes| *bytes == 0) {
            let what = format!(
                "the images of the process have more than {} bytes, and that is all there is room \
                 for where it goes",
                self.all
            );
            return Error::new(Kind::Failed, what).cure(
                "make room in its memory, and on its tmpfs for images; or move the process to a \
                 host that has more memory to spare",
            );
        }
        let came = match round {
            Some(1) => "in the first round".to_owned(),
            Some(round) => {
                let bytes = Bytes(self.rounds[round]);
                format!("{bytes} of it in round {round}, after which as much may be left")
            }
            None => format!("{} of it since the process is frozen", Bytes(self.rounds[0])),
        };
        let what = format!(
            "the machine that the process goes to has room for {} of it, of which at least {} are \
             missing: {} have come, {came}",
            Bytes(self.all),
            Bytes(missing),
            Bytes(self.came)
        );
        Error::new(Kind::Failed, what).cure(CURE)
    }
}

/// What needs less room than rounds do.
pub(super) const CURE: &str = "take `--memory copy`, which needs room for its memory once, or `--memory lazy`, which needs \
     none for images; or move it to a host that has more memory to spare";

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const MIB: usize = 1 << 20;

    /// What becomes of pieces of so many MiB, each of a round or of none, where there is
    /// room for `all` MiB.
    fn taken(all: u64, pieces: &[(usize, usize)]) -> Result<(), Error> {
        let mut room = Room::of(all * MIB as u64);
        pieces
            .iter()
            .try_for_each(|&(round, mib)| room.take((round > 0).then_some(round), mib * MIB))
    }

    #[test]
    fn each_round_leaves_as_much_as_it_takes() {
        for (all, pieces) in [
            (48, &[(0, 40), (0, 8)][..]),
            // It is not known how much the process changes.
            (48, &[(1, 48)]),
            (60, &[(1, 40), (1, 8), (2, 6), (0, 6)]),
            (70, &[(1, 48), (2, 8), (3, 6), (0, 6)]),
        ] {
            taken(all, pieces).unwrap();
        }
        for (all, pieces, parts) in [
            (47, &[(0, 48)][..], ["more than 49283072 bytes", "host that has more memory"]),
            (47, &[(1, 48)], ["at least 1 MiB are missing: 48 MiB have come", "--memory lazy"]),
            (60, &[(1, 48), (2, 7)], ["at least 2 MiB are missing", "`--memory copy`"]),
            (60, &[(1, 48), (2, 7)], ["7 MiB of it in round 2", "55 MiB have come"]),
            (61, &[(1, 48), (2, 5), (3, 4), (3, 1)], ["2 MiB are missing", "in round 3"]),
            // It has changed more than in the rounds before.
            (
                60,
                &[(1, 48), (2, 5), (0, 8)],
                ["1 MiB are missing", "8 MiB of it since the process"],
            ),
        ] {
            let error = taken(all, pieces).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{part:?} is not in {error}");
            }
        }
    }

    proptest! {
        /// However it comes.
        #[test]
        fn no_more_is_taken_than_there_is_room_for(
            all in 0..1000_u64,
            pieces in vec((0..=rounds::MOST, 0..200_usize), 0..40),
        ) {
            let mut room = Room::of(all);
            let (mut came, mut of_round) = (0, [0; rounds::MOST + 1]);
            for (round, length) in pieces {
                came += length as u64;
                of_round[round] += length as u64;
                let left = if round >= 2 { of_round[round] } else { 0 };
                let taken = room.take((round > 0).then_some(round), length);
                prop_assert_eq!(taken.is_ok(), came + left <= all);
                if taken.is_err() {
                    break;
                }
            }
        }
    }
}
