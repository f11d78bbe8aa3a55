//! Injection: how a message becomes keystrokes, and how we know that a program took them.

pub(crate) mod evidence;
pub(crate) mod harness;
pub(crate) mod machine;
pub(crate) mod paste;
pub(crate) mod readiness;
pub(crate) mod text;
mod work;

pub(crate) use work::{Evidence, Job};
