//! Interrupts: the wish of whoever sits at the terminal to end.
//!
//! Owns: the signal, and what a second one does.
//! Must not know: what is ended, and what is left to say then.
//!
//! 1. The first one only leaves word; the second one ends the process at once, with [`Code::INTERRUPTED`].
//! 2. Where signals cannot be watched, the first one ends the process as it would without this.

use super::code::Code;
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody wants an end.
#[derive(Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches from now on.
    pub(super) fn watch() -> Self {
        let came = Arc::new(AtomicBool::new(false));
        // In this order: what comes first finds that nothing has come yet.
        let second = flag::register_conditional_shutdown(SIGINT, Code::INTERRUPTED.number(), came.clone());
        if second.is_ok() {
            let _ = flag::register(SIGINT, came.clone());
        }
        Self(came)
    }

    /// Whether one has come.
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
