//! What CRIU could not do, in its own words and with a cure where one is known.

use super::messages::Response;
use crate::error::{Error, Kind};

/// So many of CRIU's errors are told: the first, as the others follow from it.
const LINES: usize = 3;

/// A cause that CRIU's log shows, and its cure. The first that fits counts.
struct Cause {
    /// What a line of the log has in it: all of these.
    signs: &'static [&'static str],
    what: &'static str,
    cure: &'static str,
}

const CAUSES: &[Cause] = &[Cause {
    signs: &["page-pipe: tee: Operation not permitted"],
    what: "the kernel allows CRIU no more pipes",
    cure: "set the sysctl fs.pipe-user-pages-soft to 0 for the time of the move",
}];

/// The error for what CRIU could not do, from its log and its answer.
pub(super) fn explain(what: &str, log: &str, response: &Response) -> Error {
    let errors: Vec<&str> = log.lines().filter_map(said).collect();
    let cause = CAUSES.iter().find(|cause| errors.iter().any(|line| cause.fits(line)));
    let first = errors[..errors.len().min(LINES)].join("; ");
    let criu = match (first.is_empty(), &response.message, response.errno) {
        (false, ..) => first,
        (true, Some(message), _) => message.clone(),
        (true, None, Some(errno)) => nix::errno::Errno::from_raw(errno).desc().to_owned(),
        (true, None, None) => "it gives no reason".to_owned(),
    };
    match cause {
        Some(cause) => {
            let text = format!("{what}: {}; CRIU says: {criu}", cause.what);
            Error::new(Kind::Failed, text).cure(cause.cure)
        }
        None => Error::new(Kind::Failed, format!("{what}; CRIU says: {criu}")),
    }
}

impl Cause {
    fn fits(&self, line: &str) -> bool {
        self.signs.iter().all(|sign| line.contains(sign))
    }
}

/// What an error in the log says, without when and where in CRIU's source.
fn said(line: &str) -> Option<&str> {
    let (_, error) = line.split_once("Error (")?;
    let (_, text) = error.split_once("): ")?;
    // It cannot raise its own limit of open files, and goes on without.
    (!text.contains("Can't setup RLIMIT_NOFILE")).then_some(text.trim())
}
