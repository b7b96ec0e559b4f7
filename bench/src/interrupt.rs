//! Ctrl-C: the bench stops between two steps, so that everything it has made
//! is taken away by its owner.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT, SIGTERM and SIGHUP are noted instead of ending the process.
///
/// # Errors
/// The kernel refuses the handlers.
pub(crate) fn install() -> Result<()> {
    let interrupted = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(interrupted)).context("cannot handle signals")?;
    }
    Ok(())
}

/// To be called between steps.
///
/// # Errors
/// The run has been interrupted.
pub(crate) fn check() -> Result<()> {
    if INTERRUPTED.get().is_some_and(|interrupted| interrupted.load(Ordering::Relaxed)) {
        bail!("interrupted; everything the bench had set up has been removed");
    }
    Ok(())
}
