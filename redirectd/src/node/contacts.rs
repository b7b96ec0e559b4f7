//! When a node was last heard of, and what it said it can do. In memory only.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{abilities::Abilities, fingerprint::Fingerprint};
use crate::error::Error;

/// What is known of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Contact {
    /// Whether it was reached when it was last called, since when that is so, and
    /// why if not; none until it is called.
    pub(super) reached: Option<(Result<(), Error>, SystemTime)>,
    /// When anything was last heard of it.
    pub(super) last: Option<SystemTime>,
    /// What it said last.
    pub(super) abilities: Option<Abilities>,
}

/// What is known of all.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    by_node: Mutex<BTreeMap<Fingerprint, Contact>>,
}

impl Contacts {
    /// What is known of one.
    pub(super) fn of(&self, node: Fingerprint) -> Contact {
        self.all().get(&node).cloned().unwrap_or_default()
    }

    /// It called.
    pub(super) fn heard(&self, node: Fingerprint) {
        self.all().entry(node).or_default().last = Some(SystemTime::now());
    }

    /// It was called, and this came of it.
    pub(super) fn called(&self, node: Fingerprint, outcome: Result<Abilities, Error>) {
        let mut all = self.all();
        let contact = all.entry(node).or_default();
        let now = SystemTime::now();
        let reached = match outcome {
            Ok(abilities) => {
                contact.last = Some(now);
                contact.abilities = Some(abilities);
                Ok(())
            }
            Err(error) => Err(error),
        };
        let same = |(before, _): &(Result<(), Error>, _)| before.is_ok() == reached.is_ok();
        let since = contact.reached.as_ref().filter(|before| same(before));
        let since = since.map_or(now, |(_, since)| *since);
        contact.reached = Some((reached, since));
    }

    /// It is not known any more.
    pub(super) fn forget(&self, node: Fingerprint) {
        self.all().remove(&node);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Fingerprint, Contact>> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn since_is_when_it_was_last_otherwise() {
        let (contacts, node) = (Contacts::default(), Fingerprint([1; 32]));
        let failed = || Err(Error::new(Kind::Failed, "no answer"));
        contacts.called(node, failed());
        let first = contacts.of(node).reached.unwrap().1;
        contacts.called(node, failed());
        assert_eq!(contacts.of(node).reached.unwrap().1, first);
        assert_eq!(contacts.of(node).last, None);
        contacts.heard(node);
        let contact = contacts.of(node);
        assert!(contact.last.is_some() && contact.reached.unwrap().0.is_err());
        contacts.called(node, Ok(Abilities::here().unwrap()));
        let contact = contacts.of(node);
        let (reached, since) = contact.reached.unwrap();
        assert!(reached.is_ok() && since >= first && contact.abilities.is_some());
        contacts.forget(node);
        assert!(contacts.of(node).reached.is_none());
    }
}
