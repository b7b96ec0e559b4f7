//! Moves of a process as its peer sees them: how long it waits, and how much of
//! that is not the freeze itself.

mod by_criu;
mod by_redirectd;
mod explain;
mod frozen;
mod locks;
mod machines;
pub(crate) mod peer;
mod real;
mod silence;
mod simulated;
mod tcp;

use anyhow::Result;

use super::Effort;
use crate::recorder::Recorder;

/// Measures all of it.
///
/// # Errors
/// A lab cannot be made, a connection breaks, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    explain::introduce(effort, recorder);
    recorder.progress.expect(simulated::steps(effort) + real::steps(effort));
    simulated::run(effort, recorder)?;
    real::run(effort, recorder)
}
