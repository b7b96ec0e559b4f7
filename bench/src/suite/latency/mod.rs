//! How long a request through home takes, and how many connections a second
//! can be made.

mod about;
mod connections;
mod field;
mod rates;

use std::{num::NonZeroU32, time::Duration};

use anyhow::Result;

use self::field::Field;
use super::Effort;
use crate::{processor::Ahead, recorder::Recorder};

/// Requests a second, over all connections.
const RATES: [u32; 3] = [1_000, 5_000, 15_000];
/// Connections that take the requests in turn, each to a server of its own.
const CONNECTIONS: u16 = 8;
/// Clients that connect again and again, each to a server of its own.
const CLIENTS: usize = 4;
/// Bytes of a request, and of a response.
const BYTES: NonZeroU32 = NonZeroU32::new(64).unwrap();
/// Rounds, if nothing else is asked for.
const ROUNDS: usize = 5;
/// Length of one measurement, if nothing else is asked for.
const DURATION: Duration = Duration::from_secs(1);
/// How long a response, or a step of a connection, may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Measures all of it.
///
/// # Errors
/// The lab cannot be made, or the run was interrupted.
pub(crate) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    about::tell(effort, recorder);
    // Inherited by all that is started from here on.
    let _ahead = Ahead::of_others();
    let field = Field::set_up(effort, recorder)?;
    rates::run(&field, effort, recorder)?;
    connections::run(&field, effort, recorder)
}

/// What is left out before each measurement.
fn warm_up(effort: &Effort) -> Duration {
    Duration::from_millis(if effort.quick { 10 } else { 100 })
}
