//! The demo's stage: a folder, a broker in a process of its own, and their end.
//!
//! Owns: what is started and must be gone afterwards.
//! Must not know: messages.
//!
//! 1. Nothing stays behind: neither processes nor files, however the demo ends.
//! 2. The broker gets a home of its own, and nothing that configures the user's brokers.

use crate::client::discover::Target;
use relay_core::{Secret, mask};
use relay_driver::settings::Fatal;
use relay_driver::state::random_hex;
use rustix::process::{Pid, Signal, kill_process};
use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A broker that was asked to stop ends itself within 4 s.
const STOP: Duration = Duration::from_secs(5);
/// Pause between two looks at a process.
const LOOK: Duration = Duration::from_millis(5);
/// Lines of the broker's log that are shown when it fails.
const LAST_LINES: usize = 12;
/// What a broker says when its API is there.
const LISTENING: &str = "API listening on http://";

/// A folder that is removed in the end.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one below the system's folder for temporary files, for this user only.
    pub(super) fn new() -> Result<Self, Fatal> {
        let path = env::temp_dir().join(format!("relay-demo-{}", random_hex()?));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| Fatal::file("make the folder", &path, &e))?;
        Ok(Self(path))
    }

    /// The path of `name` in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A broker.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    log: PathBuf,
}

impl Broker {
    /// Starts `relay-broker up` in `folder`, and says where its local API will be.
    pub(super) fn start(
        folder: &Folder,
        base_url: &str,
        workspace_key: &Secret,
    ) -> Result<(Self, ApiAddress), Fatal> {
        let work = folder.join("work");
        fs::create_dir(&work).map_err(|e| Fatal::file("make the folder", &work, &e))?;
        let log = folder.join("broker.log");
        let log_file = File::create(&log).map_err(|e| Fatal::file("create", &log, &e))?;
        let api_key = format!("br_{}", random_hex()?);
        let mut command = Command::new(program()?);
        for (name, _) in env::vars_os() {
            if ["RELAY", "AGENT_RELAY", "RUST_LOG"]
                .iter()
                .any(|ours| name.to_string_lossy().starts_with(ours))
            {
                command.env_remove(name);
            }
        }
        command
            .args(["up", "--name", "demo"])
            .current_dir(&work)
            .env("HOME", &folder.0)
            .env("XDG_DATA_HOME", folder.join("data"))
            .env("RELAY_BASE_URL", base_url)
            .env("RELAY_API_KEY", workspace_key.expose())
            .env("RELAY_BROKER_API_KEY", &api_key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            // Ctrl-C is for the demo, which ends its broker in order.
            .process_group(0);
        let started = command.spawn();
        let mut child = started.map_err(|e| Fatal::failed(format!("cannot start a broker: {e}")))?;
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let key = Secret::new(&api_key).expect("not blank");
        Ok((Self { child, log }, ApiAddress { stdout, key }))
    }

    /// Whether it has ended.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it has ended, which it should not.
    pub(super) async fn failure(&mut self) -> Fatal {
        let status = loop {
            match self.ended() {
                Some(status) => break status,
                None => sleep(LOOK).await,
            }
        };
        Fatal::failed(format!("the broker ended early ({status}); its last words:\n{}", self.last_words()))
    }

    /// The end of its log, without credentials.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        mask(&last.join("\n"))
    }

    /// Asks it to stop, and waits; a problem if it does not do so in order.
    pub(super) async fn stop(&mut self) -> Option<String> {
        self.signal(Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < STOP {
            match self.ended() {
                Some(status) if status.success() => return None,
                Some(status) => return Some(format!("the broker ended with {status}")),
                None => sleep(LOOK).await,
            }
        }
        Some(format!("the broker did not stop within {} s", STOP.as_secs()))
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Broker {
    /// The last resort, and for an interrupted demo: the broker's end is also that of its agents.
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.signal(Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < STOP && self.ended().is_none() {
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a broker will say how its API is reached.
#[derive(Debug)]
pub(super) struct ApiAddress {
    stdout: BufReader<std::process::ChildStdout>,
    key: Secret,
}

impl ApiAddress {
    /// Waits for it.
    pub(super) async fn read(self) -> Result<Target, Fatal> {
        let Self { mut stdout, key } = self;
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            line
        });
        let line = reading.await.expect("reading does not panic");
        let authority = line.trim_end().split_once(LISTENING).and_then(|(_, at)| at.parse().ok());
        let authority = authority
            .ok_or_else(|| Fatal::failed(format!("the broker did not say where it listens, but {line:?}")))?;
        Ok(Target { authority, key })
    }
}

/// This program.
pub(super) fn program() -> Result<PathBuf, Fatal> {
    env::current_exe().map_err(|e| Fatal::failed(format!("cannot find this program's own file: {e}")))
}

/// `path` as text.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
