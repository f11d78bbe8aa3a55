//! Credit: how much may wait for the core.
//!
//! Owns: counting, and the waiting for what is given back.
//! Must not know: what is counted.
//!
//! 1. What a [`Room`] has taken comes back exactly once, when it is dropped.

use event_listener::Event;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What is free.
#[derive(Debug)]
pub(crate) struct Credit {
    free: AtomicU32,
    freed: Event,
}

/// Some of it, taken.
#[derive(Debug)]
pub(crate) struct Room {
    credit: Arc<Credit>,
    taken: u32,
}

impl Credit {
    /// Credit of this size.
    pub(crate) fn new(size: u32) -> Arc<Self> {
        Arc::new(Self { free: AtomicU32::new(size), freed: Event::new() })
    }

    /// Takes so much at once, as soon as there is so much.
    pub(crate) async fn take(self: &Arc<Self>, taken: u32) -> Room {
        loop {
            let freed = self.freed.listen();
            let take = |free: u32| free.checked_sub(taken);
            if self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
                return Room { credit: self.clone(), taken };
            }
            freed.await;
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.credit.free.fetch_add(self.taken, Ordering::AcqRel);
        self.credit.freed.notify_additional(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::{block_on, poll_once};

    #[test]
    fn what_was_taken_is_there_again_for_whoever_waits() {
        let credit = Credit::new(10);
        let held = block_on(credit.take(8));
        let mut waiting = Box::pin(credit.take(3));
        assert!(block_on(poll_once(&mut waiting)).is_none());
        drop(held);
        assert!(block_on(poll_once(&mut waiting)).is_some());
        assert!(block_on(poll_once(credit.take(10))).is_some(), "a room that is dropped gives all back");
    }
}
