//! What home is asked and told while a process is revived.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::timeout};
use tracing::warn;

use crate::{
    error::{Error, Kind},
    migrate::{
        fate::{Arbiter, Patience, decided, delivered},
        handover::{Told, Way, Word},
        machine::MoveState,
    },
    node,
};

/// How long a process that could run waits for home's answer: without home its peers are not
/// heard either.
const ANSWER: Duration = Duration::from_secs(30);

/// Home, for one try to revive a process.
pub(super) trait Home {
    /// The process is there, and silent. Waits until it may run.
    ///
    /// # Errors
    /// It may not, or that is not known.
    fn word(&mut self) -> Result<(), Error>;

    /// It stands: what home holds may come. Whether anything may have come before, to a copy
    /// that is lost.
    fn standing(&mut self) -> bool;
}

/// Whether the process is this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ours {
    No,
    /// Home knows.
    Perhaps,
    Yes,
}

/// The home that leads the move.
pub(super) struct Leading<'a> {
    way: &'a mut Way,
    arbiter: Option<(Arc<dyn Arbiter>, Patience)>,
    runtime: &'a Handle,
    pub(super) ours: Ours,
}

impl<'a> Leading<'a> {
    /// The one at the other end of `way`; `arbiter`, if any, is asked if it says nothing.
    pub(super) fn new(
        way: &'a mut Way,
        arbiter: Option<(Arc<dyn Arbiter>, Patience)>,
        runtime: &'a Handle,
    ) -> Self {
        Self { way, arbiter, runtime, ours: Ours::No }
    }
}

impl Home for Leading<'_> {
    fn word(&mut self) -> Result<(), Error> {
        // It may give the process away from here on.
        self.ours = Ours::Perhaps;
        self.runtime.block_on(the_word(self.way, self.arbiter.as_mut()))?;
        self.ours = Ours::Yes;
        Ok(())
    }

    fn standing(&mut self) -> bool {
        // It says later whether it has heard it.
        let _ = self.runtime.block_on(node::say(self.way, &Told::Standing));
        false
    }
}

/// The home of a process that is this machine's, and of which a copy was lost here.
pub(super) struct Asked<'a> {
    pub(super) arbiter: &'a dyn Arbiter,
    pub(super) patience: &'a Patience,
    pub(super) runtime: &'a Handle,
}

impl Home for Asked<'_> {
    fn word(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn standing(&mut self) -> bool {
        let mut patience = self.patience.clone();
        let asked = async { timeout(ANSWER, delivered(self.arbiter, &mut patience)).await };
        if let Ok(Some(first)) = self.runtime.block_on(asked) {
            return !first;
        }
        warn!("home does not say whether an earlier copy of the process has heard anything");
        true
    }
}

/// Says that the process is there, and waits until it is this machine's: by home's
/// word, or, if that does not come, by what its journal says.
async fn the_word(
    way: &mut Way,
    arbiter: Option<&mut (Arc<dyn Arbiter>, Patience)>,
) -> Result<(), Error> {
    let word: Result<Word, Error> = match node::say(way, &Told::Revived).await {
        Ok(()) => node::hear(way).await,
        Err(error) => Err(error),
    };
    let ours = match (word, arbiter) {
        (Ok(word), _) => word == Word::Go,
        (Err(error), None) => return Err(error),
        (Err(error), Some((arbiter, patience))) => {
            warn!(
                error = error.one_line(),
                "the word to let a process run does not come; asking home"
            );
            decided(&**arbiter, patience).await? == MoveState::Committed
        }
    };
    if ours {
        return Ok(());
    }
    Err(Error::new(Kind::Failed, "the process stays where it was"))
}
