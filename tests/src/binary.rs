//! The binaries under test.
//!
//! 1. They are built once per test program, from the sources as they are, with the profile of the tests.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A driver of the core: a program with the commands `up` and `init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// A short name.
    pub name: String,
    /// The program.
    pub program: PathBuf,
}

/// Another driver to test, in place of ours: the path of its program.
const ANOTHER: &str = "RELAY_TESTS_DRIVER";
/// Our drivers, with their programs.
const OURS: [(&str, &str); 3] =
    [("tokio", "relay-broker"), ("smol", "relay-broker-smol"), (EXAMPLE, "std-driver")];
/// The driver that shows how little is needed; it leaves some things out.
pub const EXAMPLE: &str = "std";

impl Driver {
    /// The drivers that every scenario is run against.
    ///
    /// # Panics
    /// When `RELAY_TESTS_DRIVER` names no file.
    pub fn all() -> Vec<Self> {
        let Some(program) = std::env::var_os(ANOTHER).map(PathBuf::from) else {
            return OURS.iter().map(|(name, _)| Self::ours(name)).collect();
        };
        let program = program.canonicalize().unwrap_or_else(|error| {
            panic!("{ANOTHER}={}: {error}; name the program of a driver", program.display())
        });
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        vec![Self { name, program }]
    }

    /// One of ours.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn ours(name: &str) -> Self {
        let (_, program) = OURS.iter().find(|(other, _)| *other == name).expect("a driver of ours");
        Self { name: name.to_owned(), program: built(program).to_owned() }
    }
}

/// The `relay-broker` to test.
pub fn relay_broker() -> &'static Path {
    built("relay-broker")
}

fn built(program: &str) -> &'static Path {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name == program);
    BUILT.get_or_init(build).iter().find(named).expect("cargo names the executables")
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

fn build() -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let dir = profile_dir();
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", "--message-format", "json"]);
    for (_, program) in OURS {
        command.args(["--bin", program]);
    }
    command
        .arg("--target-dir")
        .arg(dir.parent().expect("a profile is in the target directory"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if dir.ends_with("release") {
        command.arg("--release");
    }
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "the drivers do not build");
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}
