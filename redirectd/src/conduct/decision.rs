//! From the commit on: the process is the destination's, and is let run there. Or it cannot be
//! committed, and is revived at the source.

use tokio::io::AsyncWriteExt as _;
use tracing::warn;

use super::{
    Conductor, Failed,
    clock::{Clock, Stage},
    failed,
};
use crate::{
    error::{Error, Kind},
    migrate::handover::{Leaving, Order, Told, Word},
    node,
};

impl Conductor<'_> {
    /// Commits the move, and has the process run at the destination; gives what it
    /// has lost.
    pub(super) async fn decide(&mut self, clock: &mut Clock) -> Result<Vec<String>, Failed> {
        match self.journal.commit().await {
            Ok(()) => {}
            Err(error) if self.lazily => return Err(self.stay(error).await.into()),
            Err(error) => return Err(self.revive(error).await),
        }
        clock.over(Stage::Flip);
        if self.lazily {
            self.have_ended().await?;
            clock.over(Stage::End);
        }
        let lost = match self.let_run(clock).await {
            Ok(Told::Running { lost }) => lost,
            Ok(Told::Failed(error)) | Err(error) if self.lazily => {
                return Err(self.lost(&error).await);
            }
            Ok(Told::Failed(error)) => return Err(self.died(&error).await),
            Ok(_) => return Err(self.unknown("it says what is not its turn").await),
            Err(error) => return Err(self.unknown(&error.what).await),
        };
        clock.over(Stage::Resume);
        if !self.lazily {
            // Who does not hear it asks home to deliver.
            let _ = node::say(&mut self.destination, &Word::Heard).await;
            self.forget().await;
        }
        Ok(lost)
    }

    /// Has the process run at the destination; what is held is delivered as soon as it
    /// stands. Gives what the destination says in the end.
    async fn let_run(&mut self, clock: &mut Clock) -> Result<Told, Error> {
        node::say(&mut self.destination, &Word::Go).await?;
        let said = node::hear(&mut self.destination).await?;
        match said {
            Told::Standing => {
                clock.over(Stage::Resume);
                self.deliver().await;
                clock.over(Stage::Replay);
                node::hear(&mut self.destination).await
            }
            Told::Running { .. } => {
                // It stood at its second try only, and may have had no time to tell home so.
                self.deliver().await;
                Ok(said)
            }
            said => Ok(said),
        }
    }

    /// Has home deliver what it holds. (Borrowed for itself alone: what is shared must be
    /// for all threads, and who watches need not be.)
    pub(super) async fn deliver(&mut self) {
        if let Err(error) = self.journal.deliver().await {
            // The next daemon does it by itself.
            warn!(error = error.one_line(), "home does not say that what it held is delivered");
        }
    }

    async fn forget(&mut self) {
        // Who does not hear it asks the journal.
        let _ = node::say(&mut self.source, &Order::Forget).await;
        let _ = self.source.shutdown().await;
    }

    /// The process was ended at the source, and the move is not committed.
    async fn revive(&mut self, why: Error) -> Failed {
        let _ = node::say(&mut self.destination, &Word::Never).await;
        let error = match self.order(Order::Revive).await {
            // And the move is aborted.
            Ok(Leaving::Back) => return why.into(),
            Ok(Leaving::Lost(lost)) => {
                let what = format!(
                    "{}; and the process could not be revived where it was: {}",
                    why.what, lost.what
                );
                Error { cure: lost.cure, ..Error::new(Kind::Failed, what) }
            }
            Ok(_) => failed(format!("{}; but the move was committed after all", why.what)),
            Err(error) => failed(format!(
                "{}; and whether the process is revived at {} is not known: {}",
                why.what, self.moved.from, error.what
            )),
        };
        Failed { error, begun: true, decided: true }
    }

    /// The process is the destination's, and is said to have failed there.
    async fn died(&mut self, why: &Error) -> Failed {
        // Its peers are to hear of it.
        self.deliver().await;
        self.forget().await;
        let to = &self.moved.to;
        let what = format!("the process is {to}'s now, and could not be revived: {}", why.what);
        let error = Error { cure: why.cure.clone(), ..Error::new(Kind::Failed, what) };
        Failed { error, begun: true, decided: true }
    }

    /// The process is the destination's, which does not say that it runs. What is held is
    /// delivered when it does, or when the move's time is up.
    async fn unknown(&mut self, why: &str) -> Failed {
        self.forget().await;
        let to = &self.moved.to;
        let what = format!("the process is {to}'s now, but {to} does not say that it runs: {why}");
        let error = Error::new(Kind::Failed, what).cure(format!(
            "{to} lets it run once it learns from this redirectd that the move is committed; see \
             `redirect ps` and the log of redirectd there"
        ));
        Failed { error, begun: true, decided: true }
    }
}
