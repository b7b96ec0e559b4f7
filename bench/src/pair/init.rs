//! The first process of a PID namespace: adopts and reaps, as init does.

use std::{
    io::{Write as _, stdout},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use nix::{errno::Errno, sys::wait::wait};

use super::server::READY;

/// How often it is looked for children while there are none.
const PAUSE: Duration = Duration::from_millis(2);

/// Makes `/run` a tmpfs, then reaps until it is killed.
///
/// # Errors
/// This is not the first process of a PID namespace, or `mount` fails.
pub(crate) fn run() -> Result<()> {
    // Else the machine's own /run would be hidden from it.
    ensure!(std::process::id() == 1, "this is the first process of a PID namespace, or nothing");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "run", "/run"]).status()?;
    ensure!(mounted.success(), "mount failed ({mounted})");
    println!("{READY}");
    stdout().flush()?;
    loop {
        if wait() == Err(Errno::ECHILD) {
            thread::sleep(PAUSE);
        }
    }
}
