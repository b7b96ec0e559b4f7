//! The longest silence between moments at which something was heard.

/// Moments, one after the other, in nanoseconds of one clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Silence {
    last: Option<u64>,
    longest: u64,
}

impl Silence {
    /// Something was heard at `moment`, which is not before the last one.
    pub(super) fn heard(&mut self, moment: u64) {
        let silent = self.last.map_or(0, |last| moment.saturating_sub(last));
        self.longest = self.longest.max(silent);
        self.last = Some(moment);
    }

    /// The longest one so far.
    pub(super) fn longest(self) -> u64 {
        self.longest
    }

    /// The last moment so far.
    pub(super) fn last(self) -> Option<u64> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_between_two_moments() {
        let mut silence = Silence::default();
        assert_eq!((silence.longest(), silence.last()), (0, None));
        silence.heard(1_000);
        assert_eq!((silence.longest(), silence.last()), (0, Some(1_000)));
        for moment in [1_010, 1_090, 1_100] {
            silence.heard(moment);
        }
        assert_eq!((silence.longest(), silence.last()), (80, Some(1_100)));
    }
}
