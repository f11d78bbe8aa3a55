//! The inbox: how events reach the loop.
//!
//! Owns: the queue, and what this runtime puts into events.
//! Must not know: what produces events, or what the core makes of them.

use crate::credit::Room;
use smol::Async;
use smol::channel::{Receiver, Sender, unbounded};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A descriptor under the runtime's poller.
pub(crate) type Watched = Arc<Async<OwnedFd>>;
/// One thing that happened. A child comes with its master and the handle of its process.
pub(crate) type Event = relay_driver::event::Event<Room, (Watched, Watched)>;

/// Where producers put events. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(Sender<Event>);

impl Inbox {
    /// An inbox, and the end that the loop reads.
    pub(crate) fn new() -> (Self, Receiver<Event>) {
        let (sender, receiver) = unbounded();
        (Self(sender), receiver)
    }

    /// Puts an event in. When the loop has ended, nobody wants it any more.
    pub(crate) fn put(&self, event: Event) {
        let _ = self.0.try_send(event);
    }
}
