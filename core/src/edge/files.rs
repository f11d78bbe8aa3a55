//! Files: who may read what a broker keeps.
//!
//! Owns: the permissions. Must not know: what is in a file, or where it lies.

/// Unix permissions of every file that a broker writes: tokens and messages are its owner's alone.
pub fn file_mode() -> u32 {
    if canary!(WorldReadable) { 0o644 } else { 0o600 }
}
