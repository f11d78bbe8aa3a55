//! Published brokers of other makers, by name from their registry.
//!
//! 1. They live in the build directory and are fetched once.
//! 2. Where they cannot be had the reason is printed, and is a failure if the environment says
//!    [`REQUIRED`].

use crate::binary::profile_dir;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// With this variable set to `1`, a peer that cannot be had is a failure.
pub const REQUIRED: &str = "RELAY_TESTS_REQUIRE_INTEROP";

const PACKAGE: &str = "@agent-relay/broker-linux-x64";
const PROGRAM: &str = "node_modules/@agent-relay/broker-linux-x64/bin/agent-relay-broker";

/// The published broker of this version, or none after the reason was printed.
///
/// # Panics
/// When it cannot be had and [`REQUIRED`] says that it must.
pub fn published_broker(version: &str) -> Option<PathBuf> {
    match fetch(version) {
        Ok(program) => Some(program),
        Err(reason) => {
            let required = std::env::var(REQUIRED).is_ok_and(|value| value == "1");
            assert!(!required, "{REQUIRED}=1, but {PACKAGE} {version} cannot be had: {reason}");
            // Past the capture of the test harness: a skipped test must not look like a passed one.
            let line = format!("SKIPPED: no interop with {PACKAGE} {version}: {reason}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

fn fetch(version: &str) -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("it is made for Linux on x86-64".into());
    }
    let peers = profile_dir().with_file_name("peers");
    let home = peers.join(version);
    let program = home.join(PROGRAM);
    if program.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(&peers).map_err(|error| format!("{}: {error}", peers.display()))?;
    let fresh = tempfile::tempdir_in(&peers).map_err(|error| error.to_string())?;
    let npm = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--prefix"])
        .arg(fresh.path())
        .arg(format!("{PACKAGE}@{version}"))
        .current_dir(fresh.path())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm: {error}"))?;
    if !npm.status.success() {
        let said = String::from_utf8_lossy(&npm.stderr);
        return Err(format!("npm failed: {}", said.trim()));
    }
    // Another process may have been faster; then its copy is as good.
    if std::fs::rename(fresh.path(), &home).is_ok() {
        let _ = fresh.keep();
    }
    if program.exists() { Ok(program) } else { Err(format!("the package has no {PROGRAM}")) }
}
