//! The nodes this one knows: their names, their certificates' fingerprints, and
//! where they listen.
//!
//! Kept in a file that changes before anybody is told, so that a node that was
//! removed is a stranger after a crash as well.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::fingerprint::Fingerprint;
use crate::{
    durable,
    error::{Error, Kind},
};

/// A node that this one knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What it is called here.
    pub name: String,
    /// Its certificate's fingerprint.
    pub fingerprint: Fingerprint,
    /// Where it listens; none if it only calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Since when it is known, as in RFC 3339.
    pub joined: String,
}

#[derive(Default, Serialize, Deserialize)]
struct File {
    members: Vec<Member>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Members {
    path: PathBuf,
    /// By name.
    known: watch::Sender<BTreeMap<String, Member>>,
}

impl Members {
    /// Those in `folder`.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(super) fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("members.json");
        let File { members } = durable::read(&path)?.unwrap_or_default();
        let known = members.into_iter().map(|member| (member.name.clone(), member)).collect();
        Ok(Self { path, known: watch::Sender::new(known) })
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> Vec<Member> {
        self.known.borrow().values().cloned().collect()
    }

    /// The one called `name`.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn named(&self, name: &str) -> Result<Member, Error> {
        self.known.borrow().get(name).cloned().ok_or_else(|| unknown(name))
    }

    /// The one with this fingerprint.
    pub(super) fn recognise(&self, fingerprint: Fingerprint) -> Option<Member> {
        let known = self.known.borrow();
        known.values().find(|member| member.fingerprint == fingerprint).cloned()
    }

    /// Takes in `member`, or changes what is known of it.
    ///
    /// # Errors
    /// Another node has its name, or the file cannot be written.
    pub(super) fn take_in(&self, member: Member) -> Result<(), Error> {
        self.change(|known| {
            if let Some(other) = known.get(&member.name)
                && other.fingerprint != member.fingerprint
            {
                let name = &member.name;
                let what = format!("a node called `{name}` is known already, with another key");
                return Err(Error::new(Kind::Conflict, what).cure(format!(
                    "`redirect node remove {name}` there if it is no more, or join under another \
                     name: `redirect node init --name NAME`"
                )));
            }
            known.retain(|_, other| other.fingerprint != member.fingerprint);
            known.insert(member.name.clone(), member);
            Ok(())
        })
    }

    /// Forgets the one called `name`, which is a stranger from then on.
    ///
    /// # Errors
    /// There is none, or the file cannot be written.
    pub(super) fn forget(&self, name: &str) -> Result<Member, Error> {
        self.change(|known| known.remove(name).ok_or_else(|| unknown(name)))
    }

    /// Waits until the node with this fingerprint is not known any more.
    pub(super) async fn forgotten(&self, fingerprint: Fingerprint) {
        let mut known = self.known.subscribe();
        let gone = |known: &BTreeMap<String, Member>| {
            !known.values().any(|member| member.fingerprint == fingerprint)
        };
        // The sender lives as long as this does.
        let _ = known.wait_for(gone).await;
    }

    /// Changes them in the file and here, or in neither.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Member>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut outcome = None;
        self.known.send_if_modified(|known| {
            let mut next = known.clone();
            let done = change(&mut next).and_then(|done| {
                let members = next.values().cloned().collect();
                durable::replace(&self.path, &File { members }).map(|()| done)
            });
            if done.is_ok() {
                *known = next;
            }
            let changed = done.is_ok();
            outcome = Some(done);
            changed
        });
        outcome.unwrap_or_else(|| Err(Error::new(Kind::Failed, "the nodes were not changed")))
    }
}

fn unknown(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no node `{name}`"))
        .cure("`redirect node list` shows those there are")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn member(name: &str, key: u8) -> Member {
        Member {
            name: name.to_owned(),
            fingerprint: Fingerprint([key; 32]),
            address: Some("192.0.2.3:9311".parse().unwrap()),
            joined: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    #[test]
    fn they_are_known_after_a_restart_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let members = Members::load(folder.path()).unwrap();
        members.take_in(member("b", 2)).unwrap();
        members.take_in(member("c", 3)).unwrap();
        let again = Members::load(folder.path()).unwrap();
        assert_eq!(again.all(), [member("b", 2), member("c", 3)]);
        assert_eq!(again.recognise(Fingerprint([3; 32])), Some(member("c", 3)));
        assert_eq!(again.recognise(Fingerprint([4; 32])), None);
        again.forget("b").unwrap();
        assert_eq!(again.forget("b").unwrap_err().kind, Kind::NotFound);
        assert_eq!(Members::load(folder.path()).unwrap().all(), [member("c", 3)]);
    }

    #[test]
    fn a_name_is_one_node_s_and_a_node_has_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let members = Members::load(folder.path()).unwrap();
        members.take_in(member("b", 2)).unwrap();
        let error = members.take_in(member("b", 3)).unwrap_err();
        assert_eq!(error.kind, Kind::Conflict);
        members.take_in(member("beta", 2)).unwrap();
        assert_eq!(members.all(), [member("beta", 2)]);
    }

    #[test]
    fn what_cannot_be_kept_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let members = Members::load(folder.path()).unwrap();
        members.take_in(member("b", 2)).unwrap();
        // A folder in the place of the next file: even root cannot write it.
        fs::create_dir(folder.path().join("members.new")).unwrap();
        assert!(members.take_in(member("c", 3)).is_err());
        assert!(members.forget("b").is_err());
        assert_eq!(members.all(), [member("b", 2)]);
    }
}
