//! Invitations that are open: the secrets of tokens that were given out, neither
//! used nor expired. They are kept in memory only; a restart withdraws them.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};

use super::token::{SECRET, Secret};
use crate::error::{Error, Kind};

/// How many may be open at a time. Each is tried when a node joins.
const MOST: usize = 32;

/// The invitations that are open.
#[derive(Debug, Default)]
pub(super) struct Invitations {
    open: Mutex<Vec<(Secret, Instant)>>,
}

impl Invitations {
    /// Opens one for `time`; its secret.
    ///
    /// # Errors
    /// Too many are open, or the machine has no good random numbers.
    pub(super) fn open(&self, time: Duration) -> Result<Secret, Error> {
        let mut secret = Secret([0; SECRET]);
        SystemRandom::new()
            .fill(&mut secret.0)
            .map_err(|_| Error::new(Kind::Failed, "this machine has no good random numbers"))?;
        let mut open = self.still_open();
        if open.len() >= MOST {
            let what = format!("{MOST} invitations are open already");
            return Err(Error::new(Kind::Failed, what)
                .cure("wait until some are used or expire, or restart redirectd"));
        }
        open.push((secret.clone(), Instant::now() + time));
        Ok(secret)
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        !self.still_open().is_empty()
    }

    /// Uses the one whose secret `proves` to have been known, up if `join` succeeds.
    /// Whoever tries the same meanwhile waits.
    ///
    /// # Errors
    /// None is proved, or what `join` returns.
    pub(super) fn redeem<T>(
        &self,
        proves: impl Fn(&Secret) -> bool,
        join: impl FnOnce(&Secret) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut open = self.still_open();
        let Some(place) = open.iter().position(|(secret, _)| proves(secret)) else {
            return Err(not_open());
        };
        let done = join(&open[place].0)?;
        open.remove(place);
        Ok(done)
    }

    fn still_open(&self) -> std::sync::MutexGuard<'_, Vec<(Secret, Instant)>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        open.retain(|(_, end)| now < *end);
        open
    }
}

/// What whoever comes with a token that is not open any more is told.
pub(super) fn not_open() -> Error {
    Error::new(Kind::Failed, "the invitation has expired, was used, or was never given")
        .cure("`redirect node invite` on the other machine gives a new one")
}

/// Which of the two ends a proof is from; neither can send the other's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The node that joins.
    Joining,
    /// The node that invited it.
    Inviting,
}

impl End {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Joining => b"redirectd join: the node that joins",
            Self::Inviting => b"redirectd join: the node that invites",
        }
    }
}

impl Secret {
    fn keyed(&self, end: End, session: &[u8; 32]) -> (hmac::Key, Vec<u8>) {
        let message = [&session[..], end.label()].concat();
        (hmac::Key::new(hmac::HMAC_SHA256, &self.0), message)
    }

    /// Proof of knowing it, which holds for the session with the exported secret
    /// `session` alone, and tells nothing of it.
    pub(super) fn proof(&self, end: End, session: &[u8; 32]) -> Vec<u8> {
        let (key, message) = self.keyed(end, session);
        hmac::sign(&key, &message).as_ref().to_vec()
    }

    /// Whether `proof` is that of `end` for this session.
    pub(super) fn proves(&self, end: End, session: &[u8; 32], proof: &[u8]) -> bool {
        let (key, message) = self.keyed(end, session);
        hmac::verify(&key, &message, proof).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_invitation_is_good_for_one_node() {
        let invitations = Invitations::default();
        assert!(!invitations.any());
        let (first, second) = (invitations.open(HOUR).unwrap(), invitations.open(HOUR).unwrap());
        assert_ne!(first, second);
        let redeem = |secret: &Secret, join: Result<(), Error>| {
            invitations.redeem(|open| open == secret, |_| join)
        };
        let failure = Error::new(Kind::Conflict, "the name is taken");
        assert_eq!(redeem(&first, Err(failure.clone())), Err(failure));
        assert_eq!(redeem(&first, Ok(())), Ok(()), "a failure does not use it up");
        assert_eq!(redeem(&first, Ok(())), Err(not_open()));
        assert!(invitations.any());
        assert_eq!(redeem(&second, Ok(())), Ok(()));
        assert!(!invitations.any());
    }

    #[test]
    fn an_invitation_ends_with_its_time() {
        let invitations = Invitations::default();
        let secret = invitations.open(Duration::ZERO).unwrap();
        assert!(!invitations.any());
        assert!(invitations.redeem(|open| *open == secret, |_| Ok(())).is_err());
    }

    #[test]
    fn there_are_not_any_number_of_them() {
        let invitations = Invitations::default();
        for _ in 0..MOST {
            invitations.open(HOUR).unwrap();
        }
        assert!(invitations.open(HOUR).unwrap_err().cure.is_some());
    }

    #[test]
    fn a_proof_holds_for_its_secret_end_and_session_only() {
        let (secret, other) = (Secret([1; SECRET]), Secret([2; SECRET]));
        let proof = secret.proof(End::Joining, &[3; 32]);
        assert!(secret.proves(End::Joining, &[3; 32], &proof));
        assert!(!other.proves(End::Joining, &[3; 32], &proof));
        assert!(!secret.proves(End::Inviting, &[3; 32], &proof));
        assert!(!secret.proves(End::Joining, &[4; 32], &proof));
        assert!(!secret.proves(End::Joining, &[3; 32], &proof[1..]));
    }
}
