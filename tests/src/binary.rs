//! The binary under test.
//!
//! 1. It is built once per test program, from the sources as they are, with the profile of the tests.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The `relay-broker` to test.
pub fn relay_broker() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

/// The directory of build products that this test program is in, for instance `target/debug`.
pub fn profile_dir() -> PathBuf {
    let program = std::env::current_exe().expect("a test program knows its path");
    let dir = program.parent().expect("it is in a directory");
    match dir.file_name().and_then(|name| name.to_str()) {
        Some("deps" | "examples") => dir.parent().expect("deps is in a directory").to_owned(),
        _ => dir.to_owned(),
    }
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let dir = profile_dir();
    let mut command = Command::new(cargo);
    command
        .args(["build", "--workspace", "--bin", "relay-broker", "--message-format", "json"])
        .arg("--target-dir")
        .arg(dir.parent().expect("a profile is in the target directory"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if dir.ends_with("release") {
        command.arg("--release");
    }
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "relay-broker does not build");
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "relay-broker")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable")
}
