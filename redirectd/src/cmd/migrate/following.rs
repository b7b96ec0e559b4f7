//! While memory follows a process, the person who waits is told how far it is, and this
//! program does not end by what ends others: the process would end with it.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::OnceLock,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::AbortHandle,
};

use crate::{cmd::units, migrate::handover::Follows};

/// What would end this program.
const ENDING: [SignalKind; 3] =
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];

/// Whoever waits, and where the memory goes.
pub(super) struct Following {
    to: String,
    /// Progress is drawn, over and over in one line.
    drawn: bool,
    waiting: OnceLock<Vec<AbortHandle>>,
}

impl Following {
    /// For a process that moves `to` somewhere.
    pub(super) fn to(to: &str) -> Self {
        let drawn = io::stderr().is_terminal();
        Self { to: to.to_owned(), drawn, waiting: OnceLock::new() }
    }

    /// So much has come.
    pub(super) fn tell(&self, now: Follows) {
        self.waiting
            .get_or_init(|| ENDING.map(|kind| self.refuse(kind)).into_iter().flatten().collect());
        if self.drawn && now.total > 0 {
            let (over, total) = (units::bytes(now.over), units::bytes(now.total));
            say(&format!("\r{over} of {total} of its memory are on {}\x1b[K", self.to));
        }
    }

    /// Nothing more comes.
    pub(super) fn end(self) {
        let Some(waiting) = self.waiting.get() else { return };
        waiting.iter().for_each(AbortHandle::abort);
        if self.drawn {
            say("\r\x1b[K");
        }
    }

    /// Says, instead of ending, that this is not the time to.
    fn refuse(&self, kind: SignalKind) -> Option<AbortHandle> {
        let mut asked = signal(kind).ok()?;
        let line = format!(
            "\nthe memory of the process is still on its way to {}; without it, it would end there, so \
             this goes on until all is there (only SIGKILL ends both)\n",
            self.to
        );
        let refusing = tokio::spawn(async move {
            while asked.recv().await.is_some() {
                say(&line);
            }
        });
        Some(refusing.abort_handle())
    }
}

/// Whoever was to read it may have gone.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
