//! While memory goes ahead of a process or follows it, the person who waits is told how far
//! it is. While it follows, this program does not end by what ends others: the process
//! would end with it.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::AbortHandle,
};

use crate::{cmd::units, conduct::Now};

/// What would end this program.
const ENDING: [SignalKind; 3] =
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];

/// Whoever waits, and where the memory goes.
pub(super) struct Following {
    to: String,
    /// Progress is drawn, over and over in one line.
    drawn: bool,
    /// There is such a line.
    line: AtomicBool,
    waiting: OnceLock<Vec<AbortHandle>>,
}

impl Following {
    /// For a process that moves `to` somewhere.
    pub(super) fn to(to: &str) -> Self {
        let drawn = io::stderr().is_terminal();
        let line = AtomicBool::new(false);
        Self { to: to.to_owned(), drawn, line, waiting: OnceLock::new() }
    }

    /// So far it is.
    pub(super) fn tell(&self, now: Now) {
        let now = match now {
            Now::Ahead { round, bytes } => {
                if self.drawn {
                    let bytes = units::bytes(bytes);
                    say(&format!("\rround {round}: {bytes} of its memory have gone ahead\x1b[K"));
                    self.line.store(true, Ordering::Relaxed);
                }
                return;
            }
            Now::Follows(now) => now,
        };
        self.waiting
            .get_or_init(|| ENDING.map(|kind| self.refuse(kind)).into_iter().flatten().collect());
        if self.drawn && now.total > 0 {
            let (over, total) = (units::bytes(now.over), units::bytes(now.total));
            say(&format!("\r{over} of {total} of its memory are on {}\x1b[K", self.to));
            self.line.store(true, Ordering::Relaxed);
        }
    }

    /// Nothing more comes.
    pub(super) fn end(self) {
        self.waiting.into_inner().iter().flatten().for_each(AbortHandle::abort);
        if self.line.into_inner() {
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
