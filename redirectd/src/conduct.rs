//! Leads a process from one machine to another ([`journey`]): tells the source, the destination
//! and home's daemon what to do, in the order of [`crate::migrate::handover`], and
//! passes the images on.
//!
//! Source and destination are each a stream: to another node, or, where the one is
//! home itself, within this program ([`here`]).

mod ahead;
mod clock;
mod decision;
pub mod ends;
pub mod eviction;
mod following;
pub mod here;
mod images;
mod journal;
pub mod journey;
mod relocation;
pub mod report;
mod silence;

use tokio::io::{copy, sink};
use tracing::warn;

pub use self::relocation::relocation;
use self::{
    clock::{Clock, Stage},
    ends::Ways,
    following::Relay,
    journal::Journal,
    report::Report,
    silence::Silence,
};
use crate::{
    api::{client::Client, moves::MoveView},
    error::{Error, Kind},
    migrate::{
        carried::{Carried, Followed, WentAhead},
        criu::stream::{
            Sum,
            relay::{Passed, Relay as ImageRelay},
        },
        handover::{self, Follows, Leaving, Order, Remains, Word},
        machine::MoveState,
        memory::Way,
    },
    node,
};

/// Why a process has not moved, or is not known to.
#[derive(Debug)]
pub struct Failed {
    /// What is to be told.
    pub error: Error,
    /// The move has begun.
    pub begun: bool,
    /// It is decided: nobody need abort it any more.
    pub decided: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, begun: true, decided: false }
    }
}

/// The two machines of a move, and home's journal.
struct Conductor<'a> {
    journal: Journal<'a>,
    moved: &'a MoveView,
    source: handover::Way,
    destination: handover::Way,
    watch: &'a Watch<'a>,
    /// Memory follows: the move is committed before the process is ended.
    lazily: bool,
    /// The memory that has gone ahead, if any has.
    ahead: Option<WentAhead>,
}

/// How far memory is that does not go with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// It goes ahead.
    Ahead {
        /// In this round.
        round: usize,
        /// So many bytes have gone in that.
        bytes: u64,
    },
    /// It follows.
    Follows(Follows),
}

/// Is told how far memory is that goes ahead of a process, or follows it.
pub type Watch<'a> = dyn Fn(Now) + Sync + 'a;

/// Has a process go by `moved`, which has just begun, from `source`, to which
/// [`crate::migrate::handover::DEPART`] has been said, to `destination`, to which
/// [`crate::migrate::handover::ARRIVE`] has. If its memory goes ahead or follows, who calls
/// this is told by `watch` how far that is: of what follows for the first time before the
/// commit. From then on this must not be dropped.
///
/// # Errors
/// The process is where it was, unless the error says otherwise.
async fn conduct(
    client: &Client,
    moved: &MoveView,
    (source, destination): (Ways, Ways),
    watch: &Watch<'_>,
) -> Result<Report, Failed> {
    let journal = Journal { client, id: moved.id };
    let relay = source.pages.zip(destination.pages).map(Relay::begin);
    let silence = Silence::default();
    let (source, destination) = (silence.on(source.way), destination.way);
    let (lazily, ahead) = (relay.is_some(), None);
    let mut conductor = Conductor { journal, moved, source, destination, watch, lazily, ahead };
    let mut clock = Clock::default();
    let (sum, remains) = match conductor.bring(&mut clock).await {
        Ok(brought) => brought,
        Err(error) => {
            // It gets no more orders, so that it runs on at the source.
            let _ = node::say(&mut conductor.destination, &Word::Never).await;
            if silence.is_there() {
                conductor.wait_for_source().await;
            }
            return Err(error.into());
        }
    };
    let decided = conductor.decide(&mut clock).await;
    let (files, bytes, pids) = (sum.files as u64, sum.bytes, remains.pids);
    let mut carried = Carried { pids, files, bytes, stages: clock.stages(), ..Carried::default() };
    carried.ahead = conductor.ahead.take();
    let (followed, ended) = match (decided, relay) {
        (Ok(lost), None) => {
            carried.lost = lost;
            (None, Ok(()))
        }
        (Ok(lost), Some(relay)) => {
            carried.lost = lost;
            let (followed, ended) = conductor.follow(relay).await;
            (Some(followed), ended)
        }
        (Err(failed), Some(_)) if failed.decided => (
            Some(Followed { lost: Some(failed.error.what.clone()), ..Followed::default() }),
            Err(failed),
        ),
        (Err(failed), _) => return Err(failed),
    };
    carried.followed = followed;
    if let Err(failed) = ended {
        // What is not kept is told all the same.
        let _ = conductor.journal.report(&carried).await;
        return Err(failed);
    }
    // What is not kept is told all the same.
    let r#move = match conductor.journal.report(&carried).await {
        Ok(moved) => moved,
        Err(error) => {
            warn!(error = error.one_line(), "home does not keep how the move went");
            MoveView { carried: Some(carried), ..moved.clone() }
        }
    };
    Ok(Report::from(r#move))
}

impl Conductor<'_> {
    /// Until the process is ended at the source, and waits at the destination.
    async fn bring(&mut self, clock: &mut Clock) -> Result<(Sum, Remains), Error> {
        let mut relay = ImageRelay::default();
        let goes_ahead = self.moved.memory.as_ref().is_some_and(|how| how.way == Way::Precopy);
        if goes_ahead {
            self.have_gone_ahead(&mut relay).await?;
        } else {
            match self.hear_source().await? {
                Leaving::Frozen => {}
                other => return Err(unexpected(other)),
            }
        }
        clock.start();
        if let Err(error) = self.journal.park().await {
            return Err(self.stay(error).await);
        }
        node::say(&mut self.source, &Order::Proceed).await?;
        let Passed::All(relayed) = self.pass(&mut relay).await? else {
            return Err(failed("the source freezes the process twice".to_owned()));
        };
        if goes_ahead {
            self.ahead = Some(WentAhead::new(&relayed.ahead, relayed.rest));
        }
        let remains = match self.hear_source().await? {
            Leaving::Written(remains) => remains,
            other => return Err(unexpected(other)),
        };
        clock.over(Stage::Dump);
        let (client, moved) = (self.journal.client, self.moved);
        let handed =
            images::hand_over(client, moved, relayed, &remains, &mut self.destination).await;
        let sum = match handed {
            Ok((sum, received)) => {
                clock.received = received;
                sum
            }
            Err(error) => return Err(self.stay(error).await),
        };
        clock.over(Stage::Revive);
        // Not if home has given the move up meanwhile, and delivered what it held.
        match self.journal.show().await {
            Ok(moved) if moved.state == MoveState::Parked => {}
            Ok(moved) => {
                let why = moved.why.unwrap_or_default();
                return Err(self.stay(failed(format!("home has given the move up: {why}"))).await);
            }
            Err(error) => return Err(self.stay(error).await),
        }
        if self.lazily {
            self.have_yielded().await?;
            return Ok((sum, remains));
        }
        match self.order(Order::End).await {
            Ok(Leaving::Gone) => {}
            Ok(other) => return Err(unexpected(other)),
            Err(error) => self.ask_source(error).await?,
        }
        clock.over(Stage::End);
        Ok((sum, remains))
    }

    /// Passes on what comes of the images.
    async fn pass(&mut self, relay: &mut ImageRelay) -> Result<Passed, Error> {
        match images::pass(relay, &mut self.source, &mut self.destination, self.watch).await {
            Ok(Passed::GivenUp) => Err(unexpected(self.hear_source().await?)),
            Ok(passed) => Ok(passed),
            Err(error) => Err(self.stay(error).await),
        }
    }

    /// The source has the process, and is not reached: what is held would be lost on the
    /// way there. It has the move aborted as soon as it reaches home; or the move's time is
    /// up.
    async fn wait_for_source(&mut self) {
        let parked = self.journal.show().await.is_ok_and(|moved| moved.state == MoveState::Parked);
        if parked {
            let from = &self.moved.from;
            warn!("{from} is silent; packets are held until it is heard, or the move's time is up");
            // If this fails, the move is aborted at once.
            let _ = self.journal.decided().await;
        }
    }

    /// Only the source knows whether it has ended the process, and it does not say:
    /// packets are held until it does, which aborts the move; or until the move's time
    /// is up.
    async fn ask_source(&mut self, why: Error) -> Result<(), Error> {
        let from = &self.moved.from;
        warn!(error = why.one_line(), "waiting for {from} to say what became of the process");
        match self.journal.decided().await? {
            MoveState::Committed => Ok(()),
            _ => Err(Error {
                what: format!("{}; the process is {from}'s, which revives it if need be", why.what),
                ..why
            }),
        }
    }

    /// Gives the source an order, and hears what it says to it.
    async fn order(&mut self, order: Order) -> Result<Leaving, Error> {
        node::say(&mut self.source, &order).await?;
        self.hear_source().await
    }

    async fn hear_source(&mut self) -> Result<Leaving, Error> {
        node::hear(&mut self.source).await
    }

    /// Has the process run on at the source, and waits until it does; gives why.
    async fn stay(&mut self, why: Error) -> Error {
        let _ = node::say(&mut self.source, &Order::Stay).await;
        // What it still says is half an image, perhaps; at its end, the process runs.
        let _ = copy(&mut self.source, &mut sink()).await;
        why
    }
}

/// What the source says in place of what was due: mostly, why the process stays.
fn unexpected(said: Leaving) -> Error {
    match said {
        Leaving::Stays(error) | Leaving::Lost(error) => error,
        other => failed(format!("the source says {other:?} out of turn")),
    }
}

fn failed(what: String) -> Error {
    Error::new(Kind::Failed, what)
}
