//! Readiness: descriptors of our own under the runtime's poller.
//!
//! Owns: the one place where a descriptor is registered. Must not know: what it is.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor.
#[expect(deprecated, reason = "unsound for types that lend out a wrong descriptor; OwnedFd cannot")]
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}
