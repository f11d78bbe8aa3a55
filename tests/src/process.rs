//! Processes that end with their test.

use crate::wait::within;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A started program. Its output goes to files, so it never waits for us.
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command` with no input; its output goes to `NAME.out` and `NAME.err` in `dir`.
    pub fn start(command: &mut Command, dir: &Path, name: &str) -> Self {
        let (stdout, stderr) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        let file = |path: &Path| File::create(path).expect("the directory is writable");
        let child = command
            .stdin(Stdio::null())
            .stdout(file(&stdout))
            .stderr(file(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, stdout, stderr }
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it wrote to stdout.
    pub fn stdout(&self) -> String {
        lossy(&self.stdout)
    }

    /// All it wrote to stderr.
    pub fn stderr(&self) -> String {
        lossy(&self.stderr)
    }

    /// What follows `prefix` in the first line of stdout that begins with it, once there is one.
    ///
    /// # Panics
    /// When the program ends or the time is over before.
    pub fn line(&mut self, prefix: &str) -> String {
        within(Duration::from_secs(45), prefix, || {
            let ended = self.child.try_wait().expect("it is our child");
            let text = self.stdout();
            let complete = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            if let Some(rest) = complete.filter_map(|line| line.strip_prefix(prefix)).next() {
                return Some(rest.to_owned());
            }
            assert!(ended.is_none(), "it ended: {ended:?}\n{text}\n{}", self.stderr());
            None
        })
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        // Having ended meanwhile is fine.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Its exit, once it has ended.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    pub fn exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of process {}", self.pid());
        within(limit, &what, || self.child.try_wait().expect("it is our child"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- stderr of {}:\n{}", self.pid(), tail(&self.stderr()));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(6_000);
    &text[text.ceil_char_boundary(from)..]
}

fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
