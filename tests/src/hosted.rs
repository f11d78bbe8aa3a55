//! The engine of `relay-broker engine`, as its own process.

use crate::binary::relay_broker;
use crate::http::Client;
use crate::process::Process;
use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

/// A running engine.
pub struct HostedEngine {
    /// Its base URL.
    pub base_url: String,
    /// Key of its workspace.
    pub workspace_key: String,
    _process: Process,
    _files: TempDir,
}

impl HostedEngine {
    /// Starts one like `profile`, with more arguments.
    ///
    /// # Panics
    /// When it does not say where it is.
    pub fn start(profile: &str, more: &[&str]) -> Self {
        let files = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(relay_broker());
        command.args(["engine", "--listen", "127.0.0.1:0", "--json", "--profile", profile]).args(more);
        let mut process = Process::start(&mut command, files.path(), "engine");
        let line = format!("{{{}", process.line("{"));
        let said: Value = serde_json::from_str(&line).expect("one line of JSON");
        let text = |key: &str| said[key].as_str().expect("it says it").to_owned();
        Self {
            base_url: text("base_url"),
            workspace_key: text("workspace_key"),
            _process: process,
            _files: files,
        }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        self.base_url.trim_start_matches("http://")
    }

    /// A client with the workspace key.
    pub fn client(&self) -> Client {
        Client::bearer(self.address(), &self.workspace_key)
    }
}
