//! What is being done, and how long the rest will take.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// The steps of a suite, of about the same length, shown on standard error: one
/// line that changes on a terminal, a line for each change of subject elsewhere.
pub(crate) struct Progress {
    total: usize,
    done: usize,
    start: Instant,
    /// What comes after the suite is thought to take so long.
    later: Duration,
    subject: String,
    shown: Shown,
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

impl Progress {
    /// Of a suite after which others take `later`.
    pub(crate) fn new(later: Duration) -> Self {
        let shown = if stderr().is_terminal() { Shown::Live } else { Shown::Lines };
        Self::shown(shown, later)
    }

    fn shown(shown: Shown, later: Duration) -> Self {
        Self { total: 1, done: 0, start: Instant::now(), later, subject: String::new(), shown }
    }

    /// One that nobody sees.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self::shown(Shown::Not, Duration::ZERO)
    }

    /// There will be `total` steps.
    pub(crate) fn expect(&mut self, total: usize) {
        self.total = total;
    }

    /// The next step begins: `detail` of `subject`.
    pub(crate) fn step(&mut self, subject: &str, detail: &str) {
        let left = match time_left(self.start.elapsed(), self.done, self.total) {
            Some(left) => format!(", {} left", minutes(left + self.later)),
            None => String::new(),
        };
        self.done += 1;
        match self.shown {
            Shown::Live => {
                eprint!("\r\x1b[K[{}/{}] {subject}: {detail}{left}", self.done, self.total);
                let _ = stderr().flush();
            }
            Shown::Lines if self.subject != subject => {
                eprintln!("[{}/{}] {subject}{left}", self.done, self.total);
            }
            _ => {}
        }
        subject.clone_into(&mut self.subject);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown == Shown::Live {
            eprint!("\r\x1b[K");
        }
    }
}

/// The rest takes as long for each step as what is done; `None` before the
/// first step is done.
fn time_left(elapsed: Duration, done: usize, total: usize) -> Option<Duration> {
    (done > 0).then(|| elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64))
}

fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {:02} s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_goes_by_the_steps_done() {
        let second = Duration::from_secs(1);
        assert_eq!(time_left(second, 0, 10), None);
        assert_eq!(time_left(10 * second, 2, 10), Some(40 * second));
        assert_eq!(time_left(10 * second, 10, 10), Some(Duration::ZERO));
    }

    #[test]
    fn times_are_given_in_minutes_and_seconds() {
        assert_eq!(minutes(Duration::from_millis(59_900)), "59 s");
        assert_eq!(minutes(Duration::from_secs(61)), "1 min 01 s");
    }
}
