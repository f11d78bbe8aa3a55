//! A place for one broker: home, working directory, environment.

use crate::binary::{Driver, relay_broker};
use crate::http::Client;
use crate::process::Process;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Key of every broker's local API.
pub const LOCAL_KEY: &str = "br_0123456789abcdef0123456789abcdef";
/// From SIGTERM to the end.
pub const FAREWELL: Duration = Duration::from_secs(15);

/// Directories of its own, gone at its end.
pub struct Place {
    root: TempDir,
    /// The program of its broker.
    program: PathBuf,
    /// Whether that records what it does.
    records: bool,
}

impl Drop for Place {
    /// What a failed test leaves is for whoever looks into it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.root.disable_cleanup(true);
            eprintln!("--- left for you: {}", self.root.path().display());
            let trace = self.path(TRACE);
            if trace.exists() {
                eprintln!("--- replay it: cargo run --release -p relay-sim -- replay {}", trace.display());
            }
        }
    }
}

/// Where a broker of a scenario records what it does.
const TRACE: &str = "broker.trace";

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// An empty place for `relay-broker`.
    pub fn new() -> Self {
        Self::with(relay_broker().to_owned(), false)
    }

    /// An empty place for the program of a driver, which records what it does.
    pub fn of(driver: &Driver) -> Self {
        Self::with(driver.program.clone(), true)
    }

    fn with(program: PathBuf, records: bool) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        for dir in ["home", "work", "tmp", "bin"] {
            std::fs::create_dir(root.path().join(dir)).expect("it is ours");
        }
        Self { root, program, records }
    }

    /// A path in it. `work` is the working directory, `home` the home, `bin` the first place where
    /// programs are looked for.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A program in this place, for a workspace of the engine at `base_url`.
    pub fn command(&self, program: &Path, base_url: &str, workspace_key: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path("work"))
            .env_clear()
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.path("bin").display()))
            .env("HOME", self.path("home"))
            .env("XDG_DATA_HOME", self.path("home/.local/share"))
            .env("XDG_CONFIG_HOME", self.path("home/.config"))
            .env("XDG_STATE_HOME", self.path("home/.local/state"))
            .env("TMPDIR", self.path("tmp"))
            .env("TERM", "xterm-256color")
            .env("AGENT_RELAY_TELEMETRY_DISABLED", "1")
            .env("DO_NOT_TRACK", "1")
            .env("RELAY_BASE_URL", base_url)
            .env("RELAY_API_KEY", workspace_key)
            .env("RELAY_BROKER_API_KEY", LOCAL_KEY);
        command
    }

    /// Our broker in this place, not yet started.
    pub fn broker_command(&self, base_url: &str, workspace_key: &str) -> Command {
        let mut command = self.command(&self.program, base_url, workspace_key);
        command.args(["init", "--persist", "--instance-name", "broker"]);
        if self.records {
            command.arg("--record").arg(self.path(TRACE));
        }
        command
    }

    /// Starts our broker in this place, for a workspace of the engine at `base_url`.
    pub fn broker(&self, base_url: &str, workspace_key: &str) -> Broker {
        Broker::start(&mut self.broker_command(base_url, workspace_key), self)
    }
}

/// A broker that runs and says where it listens.
pub struct Broker {
    /// Its process.
    pub process: Process,
    /// Its local API.
    pub api: Client,
}

impl Broker {
    /// Starts a broker and waits until it says where it listens.
    pub fn start(command: &mut Command, place: &Place) -> Self {
        let mut process = Process::start(command, place.root.path(), "broker");
        let address = process.line("[agent-relay] API listening on http://");
        let api = Client::local(&address, LOCAL_KEY);
        Self { process, api }
    }

    /// SIGTERM, and its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(mut self) -> std::process::ExitStatus {
        self.process.terminate();
        self.process.exit(FAREWELL)
    }
}
