//! Waiting for something to become true, with a deadline and never by a guess.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at again. Short against anything waited for,
/// long against what a look costs.
const PAUSE: Duration = Duration::from_millis(5);

/// With this variable, the lab waits so many times as long: the machine is that much slower.
/// `cargo xtask test --kernel debian` sets it.
pub const SLOWER: &str = "REDIRECTD_TEST_SLOWER";

/// Waits until `condition` gives something, at most ten seconds.
///
/// # Errors
/// When it has not by then; the error says that `what` did not happen.
pub fn soon<T>(what: &str, condition: impl FnMut() -> Option<T>) -> Result<T> {
    until(on_this_machine(Duration::from_secs(10)), what, condition)
}

/// What `limit` is on a machine that is as much slower as [`SLOWER`] says.
pub(super) fn on_this_machine(limit: Duration) -> Duration {
    let times = std::env::var(SLOWER).ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    times * limit
}

/// Waits until `condition` gives something, at most for `limit`.
///
/// # Errors
/// When it has not by then; the error says that `what` did not happen.
pub fn until<T>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain until {what}");
        }
        std::thread::sleep(PAUSE);
    }
}
