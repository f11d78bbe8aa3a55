//! Traces: the life of one broker as text, to be lived again elsewhere.
//!
//! Owns: the form of a trace, writing and reading it, and what must not be in it.
//! Must not know: files, or who records and replays.
//!
//! A broker is a function of what it is made of and of its inputs with their times. A trace holds
//! these, and hashes of what the broker did, so that another run of the same inputs can be compared
//! with it bit for bit. One JSON object per line:
//!
//! ```text
//! {"t":"boot","v":1,"core":"0.1.0","driver":"tokio","config":{…},"boot":{"seed":"…","now":[0,1760000000000],…}}
//! {"n":1,"now":[1042,1760000000001],"po":["c1f09a22","0b5e77d1"],"i":{"link_up":{"link":1}}}
//! {"n":2,"now":[9031,1760000000009],"po":["5d20a4e8"],"i":{"link_text":{"link":1,"text":"{\"v\":1,…}"}}}
//! {"t":"check","n":256,"digest":"2f6e…"}
//! {"t":"end","n":812,"po":["77d1c1f0"],"why":"exit 0"}
//! ```
//!
//! | Key | Meaning |
//! | --- | --- |
//! | `v` | the format; any change of it is another number |
//! | `n` | the number of the input, from 1; in `check` and `end`, of the last one before |
//! | `now` | both clocks at the input: µs of the monotone one, ms of the Unix epoch |
//! | `i` | the input: the variant of [`Input`](crate::Input) in snake case, with its fields |
//! | `po` | a [`Print`] of each command that the input *before* (or the start) has caused, in order; no key when there are none. An `end` line without it was cut in the middle of them |
//! | `c` | the same commands as text, in a trace with [`Detail::Full`] |
//! | `digest` | the digest of the broker's whole state, every [`CHECK`] inputs |
//! | `why` | why the trace ends |
//!
//! 1. Nothing here reads a clock, draws, or fails because of what a peer sent.
//! 2. Credentials are masked by filler of equal length ([`Mask`]), the same everywhere, so that the
//!    replay of a masked trace decides as the broker did and has equal prints and digests.
//! 3. A trace is never longer than about [`SIZE`]: it ends and says so.

mod bytes;
mod form;
mod mask;
mod print;
mod read;
mod record;
#[cfg(test)]
mod tests;

pub use mask::Mask;
pub use print::{Print, tell};
pub use read::{Check, Entry, LARGEST, ReadError, Trace, check_size};
pub use record::{Detail, Recorder, last_line};

/// The format that is written and read.
pub const FORMAT: u32 = 1;
/// Inputs from one digest of the state to the next.
pub const CHECK: u64 = 256;
/// Bytes after which no more inputs are recorded: hours of a busy broker, and no disk is full of it.
pub const SIZE: usize = 256 * 1024 * 1024;
