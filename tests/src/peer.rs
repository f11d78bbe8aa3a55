//! Published brokers of other makers, by name from their registry.
//!
//! 1. Where they cannot be had the reason is printed, and is a failure if the environment says
//!    [`REQUIRED`].

use crate::npm;
use std::io::Write;
use std::path::PathBuf;

/// With this variable set to `1`, what cannot be had is a failure.
pub const REQUIRED: &str = "RELAY_TESTS_REQUIRE_INTEROP";

const PACKAGE: &str = "@agent-relay/broker-linux-x64";
const PROGRAM: &str = "node_modules/@agent-relay/broker-linux-x64/bin/agent-relay-broker";

/// The published broker of this version, or none after the reason was printed.
///
/// # Panics
/// When it cannot be had and [`REQUIRED`] says that it must.
pub fn published_broker(version: &str) -> Option<PathBuf> {
    or_skip(&format!("no interop with {PACKAGE} {version}"), fetch(version))
}

/// What could be had, or none after it was said that a test is skipped, and why.
///
/// # Panics
/// When it cannot be had and [`REQUIRED`] says that it must.
pub fn or_skip<T>(what: &str, had: Result<T, String>) -> Option<T> {
    match had {
        Ok(had) => Some(had),
        Err(reason) => {
            let required = std::env::var(REQUIRED).is_ok_and(|value| value == "1");
            assert!(!required, "{REQUIRED}=1, but {what}: {reason}");
            // Past the capture of the test harness: a skipped test must not look like a passed one.
            let line = format!("SKIPPED: {what}: {reason}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

fn fetch(version: &str) -> Result<PathBuf, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("it is made for Linux on x86-64".into());
    }
    npm::installed(PACKAGE, version, PROGRAM)
}
