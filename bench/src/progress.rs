//! What is being done, and how long the rest will take.

use std::{
    io::{IsTerminal, stderr},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::console;

/// The steps of a suite, of about the same length, shown on standard error with
/// the time left: one line that changes on a terminal; elsewhere a line for each
/// change of subject, and one when nothing was said for a while.
pub(crate) struct Progress {
    state: Arc<Mutex<State>>,
    /// Says the time left while a step lasts; ends when the sender is gone.
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

struct State {
    steps: Steps,
    start: Instant,
    subject: String,
    detail: String,
    shown: Shown,
    /// When something was shown.
    said: Instant,
}

/// Where and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// On one line of a terminal.
    Live,
    /// Line by line, in a file or a pipe.
    Lines,
    /// Nowhere.
    #[cfg(test)]
    Not,
}

/// How often a line is written in a file or a pipe, at least.
const SILENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether there is something to say.
const TICK: Duration = Duration::from_secs(1);

impl Progress {
    /// Of a suite that is thought to take `estimate`, after which others take
    /// `later`.
    pub(crate) fn new(estimate: Duration, later: Duration) -> Self {
        let shown = if stderr().is_terminal() { Shown::Live } else { Shown::Lines };
        let mut progress = Self::shown(shown, estimate, later);
        let (stop, stopped) = mpsc::channel();
        let state = Arc::clone(&progress.state);
        let tick = move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                lock(&state).tick();
            }
        };
        // Without it nothing is lost but comfort.
        let thread = thread::Builder::new().name("progress".into()).spawn(tick);
        progress.ticker = thread.ok().map(|thread| (stop, thread));
        progress
    }

    fn shown(shown: Shown, estimate: Duration, later: Duration) -> Self {
        let now = Instant::now();
        let steps = Steps { total: 1, begun: 0, since: Duration::ZERO, estimate, later };
        let (subject, detail) = (String::new(), String::new());
        let state = State { steps, start: now, subject, detail, shown, said: now };
        Self { state: Arc::new(Mutex::new(state)), ticker: None }
    }

    /// One that nobody sees.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self::shown(Shown::Not, Duration::ZERO, Duration::ZERO)
    }

    /// There will be `total` steps.
    pub(crate) fn expect(&mut self, total: usize) {
        lock(&self.state).steps.total = total;
    }

    /// The next step begins: `detail` of `subject`.
    pub(crate) fn step(&mut self, subject: &str, detail: &str) {
        lock(&self.state).step(subject, detail);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            let _ = thread.join();
        }
        if lock(&self.state).shown == Shown::Live {
            console::show("");
        }
    }
}

/// A panic while it is shown spoils no figure.
fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn step(&mut self, subject: &str, detail: &str) {
        let new = self.subject != subject;
        self.steps.begin(self.start.elapsed());
        subject.clone_into(&mut self.subject);
        detail.clone_into(&mut self.detail);
        if new || self.shown == Shown::Live {
            self.say();
        }
    }

    fn tick(&mut self) {
        if self.shown == Shown::Live || self.said.elapsed() >= SILENCE {
            self.say();
        }
    }

    fn say(&mut self) {
        let Self { subject, detail, .. } = self;
        let Steps { begun, total, .. } = self.steps;
        let left = minutes(self.steps.left(self.start.elapsed()));
        let text = match begun {
            0 => format!("setting up, {left} left"),
            _ => format!("[{begun}/{total}] {subject}: {detail}, {left} left"),
        };
        match self.shown {
            Shown::Live => console::show(&text),
            Shown::Lines => console::say(&text),
            #[cfg(test)]
            Shown::Not => {}
        }
        self.said = Instant::now();
    }
}

/// How far a suite is; times are from its start.
#[derive(Debug, Clone, Copy)]
struct Steps {
    total: usize,
    /// One more than are done, once there is one.
    begun: usize,
    /// When the present one began.
    since: Duration,
    /// How long the suite was thought to take, and what comes after it.
    estimate: Duration,
    later: Duration,
}

impl Steps {
    fn begin(&mut self, now: Duration) {
        self.begun += 1;
        self.since = now;
    }

    /// How long suite and run will still take. What was thought counts the less
    /// the more is done: the steps that are left take as long as those done.
    fn left(&self, now: Duration) -> Duration {
        let done = self.begun.saturating_sub(1);
        let part = (done as f64 / self.total.max(1) as f64).min(1.0);
        let thought = self.estimate.mul_f64(1.0 - part);
        let seen = match done {
            0 => thought,
            _ => self.since.mul_f64(self.total.saturating_sub(done) as f64 / done as f64),
        };
        let left = thought.mul_f64(1.0 - part) + seen.mul_f64(part);
        left.saturating_sub(now.saturating_sub(self.since)) + self.later
    }
}

fn minutes(duration: Duration) -> String {
    crate::report::number::minutes(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn steps(begun: usize, since: u32) -> Steps {
        let (estimate, later) = (100 * SECOND, 7 * SECOND);
        Steps { total: 10, begun, since: since * SECOND, estimate, later }
    }

    #[test]
    fn before_the_first_step_is_done_the_estimate_counts() {
        assert_eq!(steps(0, 0).left(Duration::ZERO), 107 * SECOND);
        assert_eq!(steps(1, 5).left(5 * SECOND), 107 * SECOND);
        assert_eq!(steps(1, 5).left(8 * SECOND), 104 * SECOND);
    }

    #[test]
    fn the_more_is_done_the_more_it_counts() {
        // Half of it took 20 s: 20 more by the steps, 50 by the estimate.
        assert_eq!(steps(6, 20).left(20 * SECOND), 42 * SECOND);
        assert_eq!(steps(6, 20).left(23 * SECOND), 39 * SECOND);
        // Nine took 90 times as long as was thought: 1,000 s are left, not 10.
        assert!(steps(10, 9_000).left(9_000 * SECOND) > 900 * SECOND);
    }

    #[test]
    fn a_step_that_takes_too_long_leaves_no_less_than_what_comes_later() {
        assert_eq!(steps(10, 90).left(9_000 * SECOND), 7 * SECOND);
        assert_eq!(steps(11, 100).left(100 * SECOND), 7 * SECOND);
    }
}
