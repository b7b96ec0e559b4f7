//! Waiting for something to become true, with a deadline and never by a guess.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at again. Short against anything waited for,
/// long against what a look costs.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` gives something, at most ten seconds.
///
/// # Errors
/// When it has not by then; the error says that `what` did not happen.
pub fn soon<T>(what: &str, condition: impl FnMut() -> Option<T>) -> Result<T> {
    until(Duration::from_secs(10), what, condition)
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
