//! Tells whoever listens what happens.

use tokio::sync::broadcast;

use crate::api::events::{Event, Happening};

/// How many events a listener may be behind before it misses the oldest.
const BACKLOG: usize = 1024;

/// Where events are published; clones publish to the same listeners.
#[derive(Debug, Clone)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Events {
    /// Tells all who listen now; nobody has to.
    pub fn publish(&self, what: Happening) {
        // Without a listener nobody pays for the time stamp.
        if self.0.receiver_count() > 0 {
            let _ = self.0.send(Event::now(what));
        }
    }

    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
