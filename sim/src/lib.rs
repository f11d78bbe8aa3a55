//! A deterministic simulator for relay-core.
