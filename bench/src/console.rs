//! What is said beside the figures, on standard error. Whoever has closed it, a
//! pipe's reader or a terminal that is gone, costs no figure and no cleaning up:
//! `eprint` would panic.

use std::io::{Write as _, stderr};

/// A line.
pub(crate) fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// `text` in place of what is on the terminal's last line.
pub(crate) fn show(text: &str) {
    let _ = write!(stderr(), "\r\x1b[K{text}").and_then(|()| stderr().flush());
}
