//! A process that was ended, and has to stay after all.

use std::path::PathBuf;

use tokio::task::spawn_blocking;
use tracing::warn;

use super::{Departure, given_up};
use crate::{
    error::Error,
    migrate::{
        criu::{Criu, Restore, RestoreStage, connections, lost},
        fate::settled,
        machine::MoveState,
    },
};

/// What it is revived from.
pub(super) struct Back {
    /// Its root.
    pub(super) pid: i32,
    /// The folder of its images.
    pub(super) images: PathBuf,
    /// A copy of it may have been revived here before, to which packets have come.
    pub(super) again: bool,
}

impl Back {
    /// Revives it, unless `settle`, which has the move aborted, says that it is committed:
    /// whether it runs.
    pub(super) fn revive(
        mut self,
        settle: &mut dyn FnMut() -> Result<MoveState, Error>,
    ) -> Result<bool, Error> {
        let mut state = None;
        let mut revived = self.restore(&mut || match settle()? {
            MoveState::Committed => {
                state = Some(MoveState::Committed);
                Err(given_up())
            }
            settled => {
                state = Some(settled);
                Ok(())
            }
        });
        match (state, &revived) {
            (Some(MoveState::Committed), _) => return Ok(false),
            (Some(_), Err(error)) => {
                // There is no other copy any more: its connections are lost, the process
                // need not be.
                warn!(
                    pid = self.pid,
                    error = error.one_line(),
                    "a process is not back yet; trying again"
                );
                self.again = true;
                revived = self.restore(&mut || Ok(()));
            }
            _ => {}
        }
        revived.map(|()| true)
    }

    /// One try; `word` says whether it may run.
    fn restore(&self, word: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
        let restore = Restore { images: self.images.clone(), shell_job: false };
        let on_stage = &mut |stage| {
            match stage {
                RestoreStage::Revived { .. } => word()?,
                RestoreStage::Resuming { .. } if self.again => {
                    if let Some(lost) = connections::give_up(self.pid) {
                        warn!(pid = self.pid, lost, "a process is back, and has lost something");
                    }
                }
                _ => {}
            }
            Ok(())
        };
        Criu::new("criu").restore(&restore, on_stage).map(drop)
    }
}

impl Departure {
    /// It could not be revived, because of `error`. Unless it is the destination's after all,
    /// nobody has it once the move is settled.
    pub(super) async fn is_lost(&mut self, error: Error) -> Result<bool, Error> {
        if settled(&*self.arbiter, &mut self.patience).await? == MoveState::Committed {
            return Ok(false);
        }
        let (pid, r#move) = (self.pid(), self.papers.passage.r#move);
        let images = self.folder.path().to_owned();
        let _ = spawn_blocking(move || lost::tell_peers(pid, r#move, &images)).await;
        Err(error)
    }
}
