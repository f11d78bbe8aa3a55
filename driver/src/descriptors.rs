//! Descriptors: how many this process may have.
//!
//! Owns: the limit. Must not know: what descriptors are used for.
//!
//! 1. This process takes what the system allows: two for each agent go beyond the usual 1 024.
//! 2. Children get the limit that this process was started with: some programs walk through all
//!    descriptors that they might have.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::sync::OnceLock;

static FOUND: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit of this process as far as it may.
pub fn raise_limit() {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, maximum: found.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        FOUND.get_or_init(|| found);
    }
}

/// Gives a child the limit that [`raise_limit`] has found.
pub fn restore_limit(child: Pid) {
    if let Some(found) = FOUND.get() {
        // A child that is gone already needs none.
        let _ = prlimit(Some(child), Resource::Nofile, *found);
    }
}
