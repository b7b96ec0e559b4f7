//! The ways that memory follows processes by: each is a stream of its own, which comes
//! after the one that the process goes by, and is handed to the same side of the move.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{
    errands::{Errand, Errands},
    handover::{Passage, Way},
    record::Id,
};
use crate::error::{Error, Kind};

/// How long it may take after it is asked for. Home opens it before the process is
/// frozen.
const PATIENCE: Duration = Duration::from_secs(10);

/// One that is to come.
pub struct Expected {
    coming: oneshot::Receiver<Way>,
    pid: i32,
    errands: Errands,
}

/// One that has come. Until it is dropped, this program does not end.
pub struct PagesWay {
    /// The stream.
    pub way: Way,
    /// What is done by it.
    pub errand: Errand,
}

/// Those that are to come to this node: for which home's which move.
#[derive(Clone, Default)]
pub struct PagesWays {
    wanted: Arc<Mutex<Wanted>>,
    errands: Errands,
}

type Wanted = BTreeMap<(String, Id), oneshot::Sender<Way>>;

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expected")
    }
}

impl Expected {
    /// One that is there already, for the process `pid`, in a program that does not end
    /// before it.
    #[must_use]
    pub fn there(way: Way, pid: i32) -> Self {
        let (hand_over, coming) = oneshot::channel();
        let _ = hand_over.send(way);
        Self { coming, pid, errands: Errands::default() }
    }

    /// It, once it has come.
    ///
    /// # Errors
    /// It does not come, or this program ends.
    pub async fn come(self) -> Result<PagesWay, Error> {
        match timeout(PATIENCE, self.coming).await {
            Ok(Ok(way)) => Ok(PagesWay { way, errand: self.errands.begin(self.pid)? }),
            _ => Err(Error::new(Kind::Failed, "home has opened no stream for the memory")
                .cure("run the same release of redirectd on all nodes")),
        }
    }
}

impl PagesWays {
    /// Those by which this program does `errands`.
    #[must_use]
    pub fn new(errands: Errands) -> Self {
        Self { wanted: Arc::default(), errands }
    }

    /// The one that is to come for the `passage` of a process of the node `home`.
    #[must_use]
    pub fn expect(&self, home: &str, passage: &Passage) -> Expected {
        let (hand_over, coming) = oneshot::channel();
        let mut ways = self.ways();
        // Those of moves that have failed meanwhile.
        ways.retain(|_, way| !way.is_closed());
        ways.insert((home.to_owned(), passage.r#move), hand_over);
        Expected { coming, pid: passage.pid, errands: self.errands.clone() }
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
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn passage(id: Id) -> Passage {
        Passage { pid: 7, name: "it".to_owned(), r#move: id, memory: Default::default() }
    }

    #[tokio::test]
    async fn it_is_handed_to_the_move_it_is_for_and_once() {
        let ways = PagesWays::default();
        let (one, other) =
            (ways.expect("home", &passage(1)), ways.expect("elsewhere", &passage(1)));
        let (near, mut far) = way();
        ways.come("home", 1).unwrap()(near);
        far.write_all(b"7").await.unwrap();
        assert_eq!(one.come().await.unwrap().way.read_u8().await.unwrap(), b'7');
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
        let error = ways.expect("home", &passage(1)).come().await.err().unwrap();
        assert!(error.what.contains("no stream for the memory"), "{error}");
        let (near, mut far) = way();
        let there = Expected::there(near, 7);
        far.write_all(b"7").await.unwrap();
        assert_eq!(there.come().await.unwrap().way.read_u8().await.unwrap(), b'7');
    }

    #[tokio::test]
    async fn it_keeps_the_program_from_its_end() {
        let errands = Errands::default();
        let ways = PagesWays::new(errands.clone());
        let (expected, late) = (ways.expect("home", &passage(1)), ways.expect("home", &passage(2)));
        for id in [1, 2] {
            ways.come("home", id).unwrap()(way().0);
        }
        let there = expected.come().await.unwrap();
        assert!(errands.close().to_string().contains("process 7"));
        drop(there);
        assert!(errands.close().is_none());
        let error = late.come().await.err().unwrap();
        assert!(error.what.contains("redirectd stops"), "{error}");
    }
}
