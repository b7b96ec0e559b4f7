//! A move in which the memory follows the process: it is committed before the process is
//! ended at the source, and is over when the destination has all memory.

use std::time::Instant;

use tokio::{io::copy_bidirectional_with_sizes, task::JoinHandle};
use tracing::debug;

use super::{Conductor, Failed, Now, failed, unexpected};
use crate::{
    error::{Error, Kind},
    migrate::{
        carried::Followed,
        handover::{Follows, Leaving, Order, Told, Way, Word},
    },
    node,
};

/// So many bytes of pages are taken at once, and so many of what is said of them.
const AT_ONCE: [usize; 2] = [256 << 10, 16 << 10];

/// Passes pages on between source and destination, until it is dropped.
pub(super) struct Relay(JoinHandle<()>);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Relay {
    /// Begins to.
    pub(super) fn begin((mut source, mut destination): (Way, Way)) -> Self {
        let [down, up] = AT_ONCE;
        Self(tokio::spawn(async move {
            let (one, other) = (&mut source, &mut destination);
            // Both sides hear that it has ended; one of them knows why.
            if let Err(why) = copy_bidirectional_with_sizes(one, other, down, up).await {
                debug!(%why, "pages go no further");
            }
        }))
    }
}

impl Conductor<'_> {
    /// Has the source keep the process frozen until the move is decided.
    pub(super) async fn have_yielded(&mut self) -> Result<(), Error> {
        (self.watch)(Now::Follows(Follows::default()));
        match self.order(Order::Yield).await? {
            Leaving::Yielded => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// The move is committed: has the source end the process.
    pub(super) async fn have_ended(&mut self) -> Result<(), Failed> {
        let why = match self.order(Order::End).await {
            Ok(Leaving::Gone) => return Ok(()),
            Ok(other) => unexpected(other),
            Err(error) => error,
        };
        let _ = node::say(&mut self.destination, &Word::Never).await;
        Err(self.lost(&why).await)
    }

    /// Waits until all memory is at the destination, or does not come; tells how far it is.
    pub(super) async fn follow(&mut self, relay: Relay) -> (Followed, Result<(), Failed>) {
        let (begun, mut last) = (Instant::now(), Follows::default());
        let ended = loop {
            match node::hear(&mut self.destination).await {
                Ok(Told::Follows(now)) => {
                    last = now;
                    (self.watch)(Now::Follows(now));
                    // The next one may be heard.
                    let _ = self.journal.follows(now).await;
                }
                Ok(Told::Whole(now)) => {
                    last = now;
                    break Ok(());
                }
                Ok(Told::Failed(error)) | Err(error) => break Err(error),
                Ok(other) => break Err(failed(format!("it says {other:?} out of turn"))),
            }
        };
        let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        if ended.is_err() {
            drop(relay);
        }
        // It holds the numbers of the process until then.
        let source = self.hear_source().await;
        let Err(why) = ended else {
            return (Followed { bytes: last.over, took_us, lost: None }, Ok(()));
        };
        let why = match source {
            Ok(Leaving::Lost(there)) if there.what != why.what => {
                let what = format!("{}; {}: {}", why.what, self.moved.from, there.what);
                Error { what, ..why }
            }
            _ => why,
        };
        let followed = Followed { bytes: last.over, took_us, lost: Some(why.what.clone()) };
        (followed, Err(self.lost(&why).await))
    }

    /// The move is committed, and the process is nowhere any more.
    pub(super) async fn lost(&mut self, why: &Error) -> Failed {
        // Its peers are to hear of it.
        self.deliver().await;
        let (from, to) = (&self.moved.from, &self.moved.to);
        let what = format!(
            "the process has ended: it was {to}'s already, and not all of its memory has come \
             there from {from}: {}",
            why.what
        );
        let cure = "start it anew; `--memory copy` has it depend on one machine only";
        Failed { error: Error::new(Kind::Failed, what).cure(cure), begun: true, decided: true }
    }
}
