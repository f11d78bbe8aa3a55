//! Packages of the npm registry, by name.
//!
//! 1. They live in the build directory and are fetched once.

use crate::binary::profile_dir;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// A file of this version of a package.
///
/// # Errors
/// Why it cannot be had.
pub fn installed(package: &str, version: &str, file: &str) -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let peers = profile_dir().with_file_name("peers");
    let home = peers.join(format!("{}-{version}", package.replace('/', "-")));
    let wanted = home.join(file);
    if wanted.exists() {
        return Ok(wanted);
    }
    std::fs::create_dir_all(&peers).map_err(|error| format!("{}: {error}", peers.display()))?;
    let fresh = tempfile::tempdir_in(&peers).map_err(|error| error.to_string())?;
    let npm = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--prefix"])
        .arg(fresh.path())
        .arg(format!("{package}@{version}"))
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
    if wanted.exists() { Ok(wanted) } else { Err(format!("the package has no {file}")) }
}
