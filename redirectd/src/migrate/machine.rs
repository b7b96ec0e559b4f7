//! How far a move is, what may come next, and whose the process is meanwhile.
//! Pure: a few states and what leads from one to the other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveState {
    /// It is agreed what moves where; packets still go where they went.
    Prepared,
    /// Packets for the process are held.
    Parked,
    /// The process is the new host's, for good.
    Committed,
    /// The process is where it was, as if nothing had happened.
    Aborted,
}

/// What an engine asks of a move that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// Hold the packets for the process from now on: it is frozen.
    Park,
    /// Let the new host's packets pass to the peers: the process is about to be
    /// restored there.
    Return,
    /// The process is the new host's.
    Commit,
    /// The process stays where it was.
    Abort,
}

/// Whose the process is: who may let it run, and where its packets belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Where it was when the move began: home, or an earlier host.
    Old,
    /// Where it moves to.
    New,
}

/// What a call that is in order leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// It has been done already: whoever asks again is told so, and nothing
    /// happens.
    Stay,
    /// There is something to do, and then the move is in this state.
    Go(MoveState),
}

/// Why a call is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// It has to be parked first.
    NotParked,
    /// The process is the new host's: there is no way back but another move.
    Committed,
    /// The process stayed where it was.
    Aborted,
}

impl MoveState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Prepared, Self::Parked, Self::Committed, Self::Aborted];

    /// Whose the process is.
    #[must_use]
    pub fn owner(self) -> Owner {
        match self {
            Self::Prepared | Self::Parked | Self::Aborted => Owner::Old,
            Self::Committed => Owner::New,
        }
    }

    /// Whether it is decided; nothing leads from there to another state.
    #[must_use]
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Committed | Self::Aborted)
    }

    /// What `call` leads to.
    ///
    /// # Errors
    /// The call is out of order; nothing happens.
    pub fn after(self, call: Call) -> Result<Next, Refused> {
        match (self, call) {
            (Self::Prepared, Call::Park) => Ok(Next::Go(Self::Parked)),
            (Self::Prepared | Self::Parked, Call::Return) => Ok(Next::Go(self)),
            (Self::Parked, Call::Commit) => Ok(Next::Go(Self::Committed)),
            (Self::Prepared | Self::Parked, Call::Abort) => Ok(Next::Go(Self::Aborted)),
            (Self::Parked, Call::Park)
            | (Self::Committed, Call::Commit)
            | (Self::Aborted, Call::Abort) => Ok(Next::Stay),
            (Self::Prepared, Call::Commit) => Err(Refused::NotParked),
            (Self::Committed, _) => Err(Refused::Committed),
            (Self::Aborted, _) => Err(Refused::Aborted),
        }
    }
}

impl fmt::Display for MoveState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepared => "prepared",
            Self::Parked => "parked",
            Self::Committed => "committed",
            Self::Aborted => "aborted",
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Park => "park",
            Self::Return => "return",
            Self::Commit => "commit",
            Self::Abort => "abort",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    const CALLS: [Call; 4] = [Call::Park, Call::Return, Call::Commit, Call::Abort];

    #[test]
    fn the_only_ways_are_these() {
        use Call::{Abort, Commit, Park, Return};
        use MoveState::{Aborted, Committed, Parked, Prepared};
        let mut ways = Vec::new();
        for from in MoveState::ALL {
            for call in CALLS {
                if let Ok(Next::Go(to)) = from.after(call) {
                    ways.push((from, call, to));
                }
            }
        }
        let expected = [
            (Prepared, Park, Parked),
            (Prepared, Return, Prepared),
            (Prepared, Abort, Aborted),
            (Parked, Return, Parked),
            (Parked, Commit, Committed),
            (Parked, Abort, Aborted),
        ];
        assert_eq!(ways, expected);
    }

    proptest! {
        #[test]
        fn the_owner_changes_once_at_most_and_only_by_a_commit(calls in vec(select(&CALLS[..]), 0..20)) {
            let mut state = MoveState::Prepared;
            for call in calls {
                let before = state;
                match state.after(call) {
                    Ok(Next::Go(to)) => state = to,
                    Ok(Next::Stay) | Err(_) => {}
                }
                if before.is_decided() {
                    prop_assert_eq!(state, before, "what is decided stays");
                }
                if before.owner() != state.owner() {
                    prop_assert_eq!((before, call), (MoveState::Parked, Call::Commit));
                }
            }
        }

        #[test]
        fn a_call_that_was_answered_may_be_repeated(calls in vec(select(&CALLS[..]), 0..20)) {
            let mut state = MoveState::Prepared;
            for call in calls {
                let Ok(next) = state.after(call) else { continue };
                if let Next::Go(to) = next {
                    state = to;
                }
                let again = state.after(call);
                // The way back may be asked for again: it is as the engine says last.
                let same = again == Ok(Next::Stay) || again == Ok(Next::Go(state));
                prop_assert!(same, "{call} again: {again:?}");
            }
        }
    }
}
