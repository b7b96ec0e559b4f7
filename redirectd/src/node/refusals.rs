//! Who was refused: counted, and told in the log, but not so often that whoever
//! knocks could fill it.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;

/// The log tells of one refusal in this time, and how many there were besides.
const SILENCE: Duration = Duration::from_secs(1);

/// Why somebody was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A certificate that is not known here, or none.
    Stranger,
    /// It wanted to join, and no invitation is open.
    Uninvited,
    /// It wanted to join, and could not: it did not know a secret, say.
    JoinFailed,
    /// It does not speak TLS 1.3, or for no purpose that is known here.
    NotTls,
    /// What it said makes no sense, or is of another version.
    Nonsense,
    /// It did not come to the point in time.
    Slow,
    /// Too many knocked at once.
    Busy,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Stranger,
        Self::Uninvited,
        Self::JoinFailed,
        Self::NotTls,
        Self::Nonsense,
        Self::Slow,
        Self::Busy,
    ];

    /// A word for it, for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Uninvited => "uninvited",
            Self::JoinFailed => "join_failed",
            Self::NotTls => "not_tls",
            Self::Nonsense => "nonsense",
            Self::Slow => "slow",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stranger => "its key is not known here",
            Self::Uninvited => "it wanted to join, and no invitation is open",
            Self::JoinFailed => "it wanted to join, and could not",
            Self::NotTls => "it does not speak TLS 1.3 as nodes do",
            Self::Nonsense => "what it said makes no sense here",
            Self::Slow => "it did not come to the point in time",
            Self::Busy => "too many knocked at once",
        })
    }
}

/// All refusals since the start.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: BTreeMap<Why, u64>,
    /// When the log was last told, and how many it was not told of since.
    told: Option<Instant>,
    untold: u64,
}

impl Refusals {
    /// Counts one, and tells of it; `detail` is what else is known.
    pub(super) fn count(&self, from: SocketAddr, why: Why, detail: &dyn fmt::Display) {
        let mut state = self.state();
        *state.counts.entry(why).or_default() += 1;
        if state.told.is_some_and(|told| told.elapsed() < SILENCE) {
            state.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut state.untold);
        state.told = Some(Instant::now());
        drop(state);
        warn!(%from, %why, %detail, and_untold = untold, "a connection of a node was refused");
    }

    /// How many there were of each kind.
    pub(super) fn counts(&self) -> BTreeMap<Why, u64> {
        let state = self.state();
        Why::ALL.map(|why| (why, state.counts.get(&why).copied().unwrap_or_default())).into()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_few_are_told() {
        let refusals = Refusals::default();
        let from = "192.0.2.7:40000".parse().unwrap();
        for why in [Why::Stranger, Why::Stranger, Why::NotTls] {
            refusals.count(from, why, &"");
        }
        let counts = refusals.counts();
        assert_eq!((counts[&Why::Stranger], counts[&Why::NotTls], counts[&Why::Slow]), (2, 1, 0));
        assert_eq!(refusals.state().untold, 2);
    }
}
