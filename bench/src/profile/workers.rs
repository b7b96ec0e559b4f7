//! How long home's processes have run, by the scheduler's own account.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

/// Processes, each with the time that its threads have run so far.
#[derive(Debug)]
pub(crate) struct Account(HashMap<u32, Duration>);

impl Account {
    /// Of those of `processes` that there still are.
    ///
    /// # Errors
    /// The kernel keeps no such account.
    pub(crate) fn of(processes: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut times = HashMap::new();
        for process in processes {
            let folder = format!("/proc/{process}/task");
            let Ok(threads) = Path::new(&folder).read_dir() else { continue };
            let running = |thread: fs::DirEntry| running(&thread.path().join("schedstat"));
            times.insert(process, threads.flatten().filter_map(running).sum());
        }
        let this = fs::read_to_string("/proc/self/schedstat").context("no account of time")?;
        ensure!(!this.starts_with("0 "), "the scheduler counts no time: /proc/self/schedstat");
        Ok(Self(times))
    }

    /// What was added since `earlier`, by those that are in both.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let both = self.0.iter().filter_map(|(id, now)| Some((now, earlier.0.get(id)?)));
        both.map(|(now, then)| now.saturating_sub(*then)).sum()
    }
}

/// The first number of a thread's schedstat, nanoseconds on a processor; a
/// thread that has ended has none.
fn running(schedstat: &Path) -> Option<Duration> {
    let text = fs::read_to_string(schedstat).ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command},
        thread,
        time::Instant,
    };

    use super::*;

    /// A program that is always at work; ended when dropped. The test's own
    /// process would not do: threads of other tests end and take their time with them.
    struct Spinning(Child);

    impl Drop for Spinning {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn time_that_passes_at_work_is_accounted_for() {
        let script = ["-c", "while :; do :; done"];
        let spinning = Spinning(Command::new("sh").args(script).spawn().unwrap());
        let account = || Account::of([spinning.0.id(), u32::MAX]).unwrap();
        let (before, deadline) = (account(), Instant::now() + Duration::from_secs(60));
        // However little the others leave it.
        while account().since(&before) < Duration::from_millis(10) {
            assert!(Instant::now() < deadline, "none of its time is accounted for");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn those_who_are_not_in_both_do_not_count() {
        let account = |times: &[(u32, u64)]| {
            Account(times.iter().map(|&(id, ms)| (id, Duration::from_millis(ms))).collect())
        };
        let later = account(&[(1, 30), (3, 500)]);
        assert_eq!(later.since(&account(&[(1, 10), (2, 5)])), Duration::from_millis(20));
    }
}
