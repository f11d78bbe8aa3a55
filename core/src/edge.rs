//! Pure helpers for drivers and core: what must come out the same whoever asks.
//!
//! Owns: the verdict on a local API request's key and origin, URLs, permissions of files, and the names
//! derived from seeds and paths. Must not know: the broker's state, sockets, what is in files.
//!
//! 1. Nothing here keeps state or fails on text that a peer chose.
//! 2. Secrets are compared and classified here, before an input is made, so the core never holds two
//!    strings to compare.

mod access;
mod files;
mod identity;
mod url;

pub use crate::delivery::payload::{HEADER as MESSAGE_HEADER, is_shown};
pub use access::{KeyShape, Rejection, authorize, classify_key, screen};
pub use files::file_mode;
pub use identity::{default_workspace_name, machine_seed, safe_name};
pub(crate) use identity::{node_id, token_file_stem};
pub use url::{DEFAULT_BASE_URL, UrlError, normalise_base_url};
pub(crate) use url::{http_url, node_ws_url, percent_decode};
