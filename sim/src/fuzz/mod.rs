//! Fuzzing: bytes that nobody thought of, made into the life of a broker.
//!
//! Owns: the two bodies that `fuzz/` runs under libFuzzer and that `sim/tests/fuzz.rs` runs over what is kept
//! in `fixtures/fuzz/`. Must not know: where the bytes come from.
//!
//! 1. Any bytes are a life: nothing is refused, so every mutation does something else.
//! 2. A driver's promises are kept, however odd the peers, the clock and the order of completions are: what
//!    panics here is a bug of the core, or breaks a rule that `life.rs` asserts.
//! 3. Equal bytes live equal lives.

mod answers;
mod bytes;
mod life;
mod steps;

use life::Life;
use relay_core::Digest;

/// A whole life: each byte a step, with what the step needs behind it; then the broker is asked to stop, and
/// must. Returns a digest of its last state.
///
/// # Panics
/// When the core does, or breaks a promise.
pub fn handle(bytes: &[u8]) -> Digest {
    let mut life = Life::new();
    let mut bytes = bytes::Bytes::new(bytes);
    while let Some(step) = bytes.next().filter(|_| !life.is_over()) {
        steps::take(&mut life, step, &mut bytes);
    }
    life.stop();
    life.digest()
}

/// Frames, one a line: to a broker that is registered and has one agent, and before that, while its
/// registration is open, the first of them. Returns a digest of its last state.
///
/// # Panics
/// When the core does, or breaks a promise.
pub fn wire(bytes: &[u8]) -> Digest {
    let text = String::from_utf8_lossy(bytes);
    let mut frames = text.split('\n');
    let mut life = Life::new();
    life.connect();
    life.text(frames.next().unwrap_or_default());
    life.answer_all();
    steps::spawn(&mut life, 0);
    for frame in frames {
        life.text(frame);
    }
    life.go_on(steps::ROUNDS);
    life.stop();
    life.digest()
}
