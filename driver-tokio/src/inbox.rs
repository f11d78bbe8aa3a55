//! The inbox: how events reach the loop.
//!
//! Owns: the queue, and what this runtime puts into events.
//! Must not know: what produces events, or what the core makes of them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// A descriptor under the runtime's poller.
pub(crate) type Watched = Arc<AsyncFd<OwnedFd>>;
/// One thing that happened. A child comes with its master and the handle of its process.
pub(crate) type Event = relay_driver::event::Event<OwnedSemaphorePermit, (Watched, Watched)>;

/// Where producers put events. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(mpsc::UnboundedSender<Event>);

impl Inbox {
    /// An inbox, and the end that the loop reads.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Puts an event in. When the loop has ended, nobody wants it any more.
    pub(crate) fn put(&self, event: Event) {
        let _ = self.0.send(event);
    }
}
