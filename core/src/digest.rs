//! Digests: one hash for a whole state.
//!
//! Owns: the hash. Must not know: what is hashed; every type says that itself through `Debug`.
//!
//! 1. Equal states have equal digests in every process.
//! 2. Secrets and free text enter as constants and lengths: their types' `Debug` shows no more.

use core::fmt::{self, Write};
use sha2::{Digest as _, Sha256};

/// A hash over a state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 8]);

impl Digest {
    /// The digest of `state`.
    pub(crate) fn of(state: &impl fmt::Debug) -> Self {
        let mut sink = Sink(Sha256::new());
        write!(sink, "{state:?}").expect("hashing does not fail");
        let hash: [u8; 32] = sink.0.finalize().into();
        Self(hash[..8].try_into().expect("a digest has 32 bytes"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

struct Sink(Sha256);

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}
