//! Adds up what the test programs say at their ends.

use std::fmt;

use anyhow::{Result, ensure};

/// How many tests there were.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Summary {
    /// Adds what `line` says, if it is the last line of a test program:
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    pub(super) fn read(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        // After the first full stop; between the two there may be colours.
        let Some((_, counts)) = result.split_once(". ") else { return };
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, what)| (number.parse::<u32>(), what)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                Some((Ok(number), "ignored")) => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Refuses a run that shows less than it seems to.
    ///
    /// # Errors
    /// When tests were ignored, or there were none.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(self.ignored == 0, "{} tests were ignored; each must run", self.ignored);
        ensure!(self.passed > 0, "no test ran");
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, ignored } = self;
        write!(f, "{passed} passed, {failed} failed, {ignored} ignored")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "test result: ok. 11 passed; 0 failed; 0 ignored; 0 measured; \
                      0 filtered out; finished in 0.00s";
    const FAILED: &str = "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 2 passed; 1 failed; \
                          3 ignored; 0 measured; 0 filtered out; finished in 1.20s";

    #[test]
    fn the_programs_last_lines_are_added_up() {
        let mut summary = Summary::default();
        for line in [OK, "running 3 tests", "test a_test ... ok", FAILED] {
            summary.read(line);
        }
        assert_eq!(summary, Summary { passed: 13, failed: 1, ignored: 3 });
    }

    #[test]
    fn a_run_that_shows_nothing_is_refused() {
        assert!(Summary::default().check().is_err());
        assert!(Summary { passed: 5, failed: 0, ignored: 1 }.check().is_err());
        assert!(Summary { passed: 5, failed: 0, ignored: 0 }.check().is_ok());
    }
}
