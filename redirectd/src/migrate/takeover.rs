//! Takes up the moves whose leader on this machine has died: redirectd itself before
//! it was started again, or `redirect migrate` at home. What these had in hand is
//! told by the [`Papers`] beside the images.
//!
//! First of all, CRIU comes to its end: it gives up by itself, once nobody talks to
//! it. Then, by how far the process was:
//!
//! - It was to leave, and is there: it runs on, and home aborts the move.
//! - It was ended, as it was revived elsewhere: if home was this machine, the move is
//!   committed, which is all that was left to do. Else it is revived, unless home has
//!   committed the move.
//! - It was kept frozen until home would say whose it is, as its memory was to follow
//!   it: it runs on by now, and is ended if home has committed the move.
//! - It came: it is revived again if the move is committed, and its connections are reset if
//!   home has delivered anything already, to a copy that is lost; else it is forgotten. One
//!   whose memory was to follow is lost, and so is one that cannot be revived again: if the
//!   move is committed, its peers hear a reset.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::warn;

use super::{
    arbiters::{Own, Remote},
    arrival::Arrival,
    criu::{
        remnants,
        workdir::{PLACES, WorkDir},
    },
    departure::Departure,
    fate::{Arbiter, Patience},
    guests::Guests,
    machine::MoveState,
    papers::{Papers, Stage},
    record::Id,
};
use crate::{
    daemon::{Daemon, WeakHandle},
    process::Tree,
};

/// How often is looked for what others have left.
const LOOK: Duration = Duration::from_secs(1);
/// Why a move is aborted that nobody leads.
const FORSAKEN: &str = "whoever moved the process has died";
/// How often is looked whether CRIU has come to its end.
const PAUSE: Duration = Duration::from_millis(50);

/// Whoever takes them up.
#[derive(Clone)]
pub struct Takeover {
    daemon: WeakHandle,
    guests: Guests,
    state_dir: PathBuf,
    stopping: watch::Receiver<bool>,
}

impl Takeover {
    /// For the daemon with this `state_dir`, until `stopping`.
    #[must_use]
    pub fn new(
        daemon: WeakHandle,
        guests: Guests,
        state_dir: PathBuf,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { daemon, guests, state_dir, stopping }
    }

    /// Takes up what there is, and what comes.
    pub async fn run(mut self) {
        loop {
            let own = |papers: &Papers| papers.are_of(&self.state_dir);
            for (folder, papers) in WorkDir::left(&PLACES, own) {
                tokio::spawn(self.clone().take_up(folder, papers));
            }
            self.end_forsaken().await;
            tokio::select! {
                () = sleep(LOOK) => {}
                // Without its sender it stops as well.
                _ = self.stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Aborts the moves whose leader has died. Those of processes that it was ending, see
    /// above, are not, nor those of processes that CRIU may have frozen still, as what is
    /// held is for one that runs.
    async fn end_forsaken(&self) {
        let mut forsaken = self.daemon.call(|daemon| Ok(daemon.forsaken_moves())).await;
        if let Ok(ids @ [_, ..]) = forsaken.as_deref_mut() {
            let all: Vec<Papers> = WorkDir::all(&PLACES);
            let leaves = |papers: &&Papers| {
                matches!(papers.stage, Stage::Leaving | Stage::Yielded(_) | Stage::Ending)
            };
            let own = |papers: &&Papers| papers.home.is_none() && papers.are_of(&self.state_dir);
            let taken: Vec<Id> =
                all.iter().filter(own).filter(leaves).map(|p| p.passage.r#move).collect();
            for id in ids.iter().copied() {
                let at_work = taken.contains(&id);
                let abort = move |daemon: &mut Daemon| {
                    // Nobody has it held any more, who has not by now.
                    if at_work && daemon.show_move(id)?.state != MoveState::Prepared {
                        return Ok(());
                    }
                    daemon.abort_move(id, FORSAKEN).map(drop)
                };
                if let Err(error) = self.daemon.call(abort).await {
                    warn!(id, error = error.one_line(), "a move that nobody leads is not aborted");
                }
            }
        }
    }

    async fn take_up(self, mut folder: WorkDir, papers: Papers) {
        let (pid, r#move) = (papers.passage.pid, papers.passage.r#move);
        warn!(pid, r#move, "whoever moved this process has died; taking up what is left to do");
        while remnants::works(folder.path()) {
            if *self.stopping.borrow() {
                return folder.leave();
            }
            sleep(PAUSE).await;
        }
        let patience = Patience::until(self.stopping.clone());
        match papers.stage {
            Stage::Leaving | Stage::Yielded(_) | Stage::Ending => {
                self.departure(folder, papers, patience).await;
            }
            Stage::Coming | Stage::Come(_) | Stage::Running => {
                let arbiter = self.arbiter(&papers);
                let came = self.guests.arriving(&papers);
                let arrival = Arrival::found(papers, folder, arbiter, patience);
                let runtime = tokio::runtime::Handle::current();
                let _ = spawn_blocking(move || arrival.resume(came, &runtime)).await;
            }
        }
    }

    async fn departure(self, folder: WorkDir, papers: Papers, patience: Patience) {
        let (pid, id) = (papers.passage.pid, papers.passage.r#move);
        if papers.home.is_none() && papers.stage == Stage::Ending && Tree::of(pid).is_err() {
            // Should it be decided, it is seen below how.
            let _ = Own { daemon: self.daemon.clone(), id }.commit().await;
        }
        let arbiter = self.arbiter(&papers);
        let left = Departure::found(papers.clone(), folder, arbiter, patience).resume().await;
        if papers.home.is_some() {
            self.guests.left(&papers, left);
        }
    }

    fn arbiter(&self, papers: &Papers) -> Arc<dyn Arbiter> {
        let id = papers.passage.r#move;
        match papers.home.clone() {
            None => Arc::new(Own { daemon: self.daemon.clone(), id }),
            Some(name) => Arc::new(Remote { state_dir: self.state_dir.clone(), name, id }),
        }
    }
}
