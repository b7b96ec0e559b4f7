//! A move in which the memory goes ahead of the process. Until that is frozen, nothing is
//! held, so whatever is in the way, home's move is over at once.

use tokio::select;
use tracing::warn;

use super::{Conductor, failed, images, unexpected};
use crate::{
    error::Error,
    migrate::criu::stream::relay::{Passed, Relay},
};

impl Conductor<'_> {
    /// Passes the memory on that goes ahead, until the process is frozen.
    pub(super) async fn have_gone_ahead(&mut self, relay: &mut Relay) -> Result<(), Error> {
        let journal = self.journal;
        let passed = select! {
            passed = images::pass(relay, &mut self.source, &mut self.destination, self.watch) => {
                passed
            }
            // Else that would be heard of only when it is to be frozen, minutes later perhaps.
            why = journal.given_up() => Err(why),
        };
        match passed {
            Ok(Passed::Frozen) => Ok(()),
            Ok(Passed::GivenUp) => Err(unexpected(self.hear_source().await?)),
            Ok(Passed::All(_)) => Err(failed("the source does not freeze the process".to_owned())),
            Err(why) => {
                journal.abort(&why).await;
                let from = &self.moved.from;
                warn!(
                    error = why.one_line(),
                    "the move is given up; waiting until CRIU at {from} has ended its round"
                );
                Err(self.stay(why).await)
            }
        }
    }
}
