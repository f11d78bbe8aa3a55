//! Flags: something that holds or does not, and can be waited for.
//!
//! Owns: one bit. Must not know: what it stands for.

use event_listener::Event;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag, lowered at first.
#[derive(Debug, Default)]
pub(crate) struct Flag {
    up: AtomicBool,
    changed: Event,
}

impl Flag {
    /// Raises or lowers it.
    pub(crate) fn set(&self, up: bool) {
        self.up.store(up, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    /// Waits until it is raised, or lowered.
    pub(crate) async fn until(&self, up: bool) {
        loop {
            let changed = self.changed.listen();
            if self.up.load(Ordering::Acquire) == up {
                return;
            }
            changed.await;
        }
    }
}
