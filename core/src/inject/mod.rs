//! Injection: how a message becomes keystrokes, and how we know that a program took them.

pub mod evidence;
pub mod harness;
pub(crate) mod machine;
pub mod paste;
pub mod readiness;
pub mod text;

pub use machine::Evidence;
