//! The ways that memory follows processes by: each is a stream of its own, which comes
//! after the one that the process goes by, and is handed to the same side of the move.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{handover::Way, record::Id};
use crate::error::{Error, Kind};

/// How long it may take after it is asked for. Home opens it before the process is
/// frozen.
const PATIENCE: Duration = Duration::from_secs(10);

/// One that is to come.
pub struct Expected(oneshot::Receiver<Way>);

/// Those that are to come to this node: for which home's which move.
#[derive(Clone, Default)]
pub struct PagesWays(Arc<Mutex<Wanted>>);

type Wanted = BTreeMap<(String, Id), oneshot::Sender<Way>>;

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expected")
    }
}

impl Expected {
    /// One that is there already.
    #[must_use]
    pub fn there(way: Way) -> Self {
        let (hand_over, expected) = oneshot::channel();
        let _ = hand_over.send(way);
        Self(expected)
    }

    /// It, once it has come.
    ///
    /// # Errors
    /// It does not come.
    pub async fn come(self) -> Result<Way, Error> {
        match timeout(PATIENCE, self.0).await {
            Ok(Ok(way)) => Ok(way),
            _ => Err(Error::new(Kind::Failed, "home has opened no stream for the memory")
                .cure("run the same release of redirectd on all nodes")),
        }
    }
}

impl PagesWays {
    /// The one that is to come for the move `id` of the node `home`.
    #[must_use]
    pub fn expect(&self, home: &str, id: Id) -> Expected {
        let (hand_over, expected) = oneshot::channel();
        let mut ways = self.ways();
        // Those of moves that have failed meanwhile.
        ways.retain(|_, way| !way.is_closed());
        ways.insert((home.to_owned(), id), hand_over);
        Expected(expected)
    }

    /// What takes the one for the move `id` of the node `home`, which has come.
    ///
    /// # Errors
    /// There is no such move here, or it has one.
    pub fn come(&self, home: &str, id: Id) -> Result<impl FnOnce(Way) + Send + use<>, Error> {
        let wanted = self.ways().remove(&(home.to_owned(), id)).filter(|way| !way.is_closed());
        let hand_over = wanted.ok_or_else(|| {
            let what = format!("no process comes or leaves here by move {id} of {home}");
            Error::new(Kind::NotFound, what).cure("begin another move")
        })?;
        // If it is not wanted any more, it ends.
        Ok(|way| drop(hand_over.send(way)))
    }

    fn ways(&self) -> MutexGuard<'_, Wanted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn way() -> (Way, tokio::io::DuplexStream) {
        let (near, far) = duplex(8);
        (Box::new(near), far)
    }

    #[tokio::test]
    async fn it_is_handed_to_the_move_it_is_for_and_once() {
        let ways = PagesWays::default();
        let (one, other) = (ways.expect("home", 1), ways.expect("elsewhere", 1));
        let (near, mut far) = way();
        ways.come("home", 1).unwrap()(near);
        far.write_all(b"7").await.unwrap();
        assert_eq!(one.come().await.unwrap().read_u8().await.unwrap(), b'7');
        for (home, id) in [("home", 1), ("home", 2), ("nobody", 1)] {
            let error = ways.come(home, id).err().unwrap();
            assert!(error.kind == Kind::NotFound && error.cure.is_some(), "{error}");
        }
        drop(other);
        assert!(ways.come("elsewhere", 1).is_err(), "nobody waits for it any more");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_come_is_not_waited_for_without_end() {
        let ways = PagesWays::default();
        let error = ways.expect("home", 1).come().await.err().unwrap();
        assert!(error.what.contains("no stream for the memory"), "{error}");
        let (near, mut far) = way();
        let there = Expected::there(near);
        far.write_all(b"7").await.unwrap();
        assert_eq!(there.come().await.unwrap().read_u8().await.unwrap(), b'7');
    }
}
