//! What became of a move, for those who were not told: home's journal knows.

use std::{fmt, time::Duration};

use tokio::{sync::watch, time::sleep};
use tracing::warn;

use super::machine::MoveState;
use crate::{
    error::{Error, Kind},
    node::service::Later,
};

/// How often home is asked.
const PAUSE: Duration = Duration::from_millis(200);

/// The way to home's journal, for one move.
pub trait Arbiter: Send + Sync + fmt::Debug {
    /// How far the move is.
    ///
    /// # Errors
    /// Home does not say.
    fn fate(&self) -> Later<'_, Result<MoveState, Error>>;

    /// Aborts the move, unless it is committed; what it is then.
    ///
    /// # Errors
    /// Home does not say; it may be either then.
    fn settle(&self) -> Later<'_, Result<MoveState, Error>>;

    /// Has home deliver what it holds for the process of the move, which is committed: it
    /// stands here, or never will. Whether nothing had been delivered before.
    ///
    /// # Errors
    /// Home does not say, or the move is not committed.
    fn deliver(&self) -> Later<'_, Result<bool, Error>>;
}

/// Until when somebody may go on asking.
#[derive(Debug, Clone)]
pub struct Patience {
    stopping: Option<watch::Receiver<bool>>,
}

impl Patience {
    /// For ever.
    #[must_use]
    pub fn endless() -> Self {
        Self { stopping: None }
    }

    /// Until `stopping` says so.
    #[must_use]
    pub fn until(stopping: watch::Receiver<bool>) -> Self {
        Self { stopping: Some(stopping) }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        // Without its sender it is as well.
        self.stopping
            .as_ref()
            .is_some_and(|stopping| *stopping.borrow() || stopping.has_changed().is_err())
    }

    /// Asks until there is an answer: `ask` gives none where it is not known yet.
    ///
    /// # Errors
    /// It is over before.
    pub async fn ask<'a, T>(
        &mut self,
        mut ask: impl FnMut() -> Later<'a, Result<Option<T>, Error>> + Send,
    ) -> Result<T, Error> {
        let mut told = false;
        loop {
            match ask().await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(error) if told => drop(error),
                Err(error) => {
                    warn!(
                        error = error.one_line(),
                        "home does not say what became of a move; asking on"
                    );
                    told = true;
                }
            }
            self.pause().await?;
        }
    }

    async fn pause(&mut self) -> Result<(), Error> {
        let Some(stopping) = &mut self.stopping else {
            sleep(PAUSE).await;
            return Ok(());
        };
        tokio::select! {
            // Without its sender it stops as well.
            _ = stopping.wait_for(|stop| *stop) => {
                Err(Error::new(Kind::Failed, "redirectd stops, and does not know what became of the move"))
            }
            () = sleep(PAUSE) => Ok(()),
        }
    }
}

/// Waits until the move is decided.
///
/// # Errors
/// Patience is over before.
pub async fn decided(arbiter: &dyn Arbiter, patience: &mut Patience) -> Result<MoveState, Error> {
    let decided = |state: MoveState| Some(state).filter(|state| state.is_decided());
    patience.ask(|| Box::pin(async { arbiter.fate().await.map(decided) })).await
}

/// Has the move aborted, unless it is committed.
///
/// # Errors
/// Patience is over before home answers.
pub async fn settled(arbiter: &dyn Arbiter, patience: &mut Patience) -> Result<MoveState, Error> {
    patience.ask(|| Box::pin(async { arbiter.settle().await.map(Some) })).await
}

/// Has home deliver what it holds, sooner or later. Whether nothing had been delivered before;
/// none if home does not say.
pub async fn delivered(arbiter: &dyn Arbiter, patience: &mut Patience) -> Option<bool> {
    let ask = || -> Later<'_, _> {
        Box::pin(async {
            match arbiter.deliver().await {
                Ok(first) => Ok(Some(Some(first))),
                Err(error) if matches!(error.kind, Kind::Unreachable | Kind::Failed) => Err(error),
                // It has no such move: it holds nothing.
                Err(_) => Ok(Some(None)),
            }
        })
    };
    // If patience is over, the next redirectd does it, or home by itself.
    patience.ask(ask).await.ok()?
}

/// What is made of a move that could not be aborted, because of `error`: it is as good if
/// it is committed, by its `state`.
///
/// # Errors
/// It is not.
pub fn unless_committed(error: Error, state: MoveState) -> Result<MoveState, Error> {
    if state == MoveState::Committed { Ok(state) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Answers from the end of the list.
    #[derive(Debug)]
    struct Script(Mutex<Vec<Result<MoveState, Error>>>);

    impl Script {
        fn next(&self) -> Later<'_, Result<MoveState, Error>> {
            Box::pin(async { self.0.lock().unwrap().pop().unwrap() })
        }
    }

    impl Arbiter for Script {
        fn fate(&self) -> Later<'_, Result<MoveState, Error>> {
            self.next()
        }
        fn settle(&self) -> Later<'_, Result<MoveState, Error>> {
            self.next()
        }
        fn deliver(&self) -> Later<'_, Result<bool, Error>> {
            Box::pin(async { self.next().await.map(|state| state == MoveState::Committed) })
        }
    }

    fn silent() -> Result<MoveState, Error> {
        Err(Error::new(Kind::Unreachable, "home is silent"))
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_until_it_is_decided() {
        let answers = vec![
            Ok(MoveState::Committed),
            Ok(MoveState::Parked),
            silent(),
            Ok(MoveState::Prepared),
        ];
        let script = Script(Mutex::new(answers));
        let state = decided(&script, &mut Patience::endless()).await.unwrap();
        assert_eq!(state, MoveState::Committed);
        let script = Script(Mutex::new(vec![Ok(MoveState::Aborted), silent(), silent()]));
        let state = settled(&script, &mut Patience::endless()).await.unwrap();
        assert_eq!(state, MoveState::Aborted);
    }

    #[tokio::test(start_paused = true)]
    async fn home_is_asked_to_deliver_until_it_has_or_refuses() {
        let refusal = Err(Error::new(Kind::NotFound, "no such move"));
        for (last, said) in [(Ok(MoveState::Committed), Some(true)), (refusal, None)] {
            let answers = vec![silent(), last, silent(), silent()];
            let script = Script(Mutex::new(answers));
            assert_eq!(delivered(&script, &mut Patience::endless()).await, said);
            assert_eq!(script.0.lock().unwrap().len(), 1, "it is asked no more than that");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_on_when_all_stops() {
        let (stop, stopping) = watch::channel(false);
        stop.send(true).unwrap();
        let script = Script(Mutex::new(vec![silent()]));
        let error = decided(&script, &mut Patience::until(stopping)).await.unwrap_err();
        assert!(error.what.contains("redirectd stops"), "{error}");
    }
}
