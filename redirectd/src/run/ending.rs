//! The daemon has been told to stop, and memory follows processes by way of it: it ends
//! when all of it is where it goes.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{info, warn};

use super::{Signal, Signals, notify, tick, ticks};
use crate::{
    daemon::Handle,
    migrate::errands::{Errands, Left},
};

/// How long systemd is asked to wait for the next sign that it goes forward.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until nothing is left of `errands`, or a signal says to end at once. Does
/// meanwhile what the daemon does by itself.
pub(super) async fn see_through(errands: &Errands, handle: &Handle, signals: &mut impl Signals) {
    let mut left = errands.close();
    if left.is_none() {
        return;
    }
    warn!("{left}; ending when it is there; a second signal ends at once, and the process with it");
    tell(&left, true);
    let mut ticks = ticks();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => info!("the configuration is not read anew: redirectd stops"),
                Signal::Stop => {
                    warn!("{left}; ending at once, and the process with it");
                    return;
                }
            },
            _ = ticks.tick() => {
                // Without the dataplane's thread, memory may come all the same.
                let _ = tick(handle).await;
                let now = errands.close();
                if now.is_none() {
                    info!("all memory is where it goes");
                    return;
                }
                tell(&now, now != left);
                left = now;
            }
        }
    }
}

/// Tells systemd what is waited for, and has it wait longer if that `goes_forward`.
fn tell(left: &Left, goes_forward: bool) {
    let status = format!("Ending when it is there: {left}");
    notify(&[NotifyState::Status(&status)]);
    if goes_forward {
        let patience = u32::try_from(PATIENCE.as_micros()).unwrap_or(u32::MAX);
        notify(&[NotifyState::ExtendTimeoutUsec(patience)]);
    }
}
