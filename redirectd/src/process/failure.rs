//! What to say when a process cannot be looked at.

use std::{fmt, io};

use procfs::ProcError;

use crate::error::{Error, Kind};

/// There is no process `pid`.
pub(super) fn no_such(pid: i32) -> Error {
    Error::new(Kind::NotFound, format!("there is no process {pid}"))
        .cure("`ps -e` lists those there are")
}

/// `what` of process `pid` cannot be read.
pub(super) fn unreadable(pid: i32, what: &str, why: ProcError) -> Error {
    match why {
        ProcError::NotFound(_) => no_such(pid),
        ProcError::PermissionDenied(_) => not_permitted(pid, what),
        ProcError::Io(error, _) => unreadable_io(pid, what, &error),
        other => failed(pid, what, &other),
    }
}

/// As [`unreadable`], for what is not read by the library.
pub(super) fn unreadable_io(pid: i32, what: &str, why: &io::Error) -> Error {
    match why.kind() {
        io::ErrorKind::PermissionDenied => not_permitted(pid, what),
        // ESRCH comes where the process ended between opening and reading.
        _ if why.raw_os_error() == Some(libc::ESRCH) => no_such(pid),
        io::ErrorKind::NotFound => no_such(pid),
        _ => failed(pid, what, why),
    }
}

fn not_permitted(pid: i32, what: &str) -> Error {
    let what = format!("this user may not see the {what} of process {pid}");
    Error::new(Kind::NotPermitted, what)
        .cure("run this as root: other users' processes are not shown to anybody else")
}

fn failed(pid: i32, what: &str, why: &dyn fmt::Display) -> Error {
    Error::new(Kind::Failed, format!("cannot read the {what} of process {pid}: {why}"))
}
