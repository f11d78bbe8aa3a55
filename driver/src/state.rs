//! State: the directories and files that a broker finds at start and leaves behind.
//!
//! Owns: the lock, `connection*.json`, the machine's seed, reading everything for [`Boot`].
//! Must not know: what identities, tokens and journals contain.
//!
//! 1. One broker per instance name and directory: whoever holds the lock.
//! 2. `connection-<instance>.json` is this broker's; `connection.json` belongs to the first living
//!    instance of the directory, and only its owner removes it.
//! 3. A file that cannot be read ends the start: going on would make another identity.

use crate::event::Failure;
use crate::files::{self, Keep};
use crate::logs::Log;
use crate::settings::{Fatal, Settings};
use crate::store::{Paths, Store};
use crate::{clock, settings};
use relay_core::ids::StoreId;
use relay_core::{Boot, Level, edge, hex};
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The directories of this broker, locked.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    data: PathBuf,
    instance: String,
    seed_cwd: String,
    /// Held for the life of the process.
    _lock: File,
}

/// What local clients need to find a broker.
#[derive(Debug, Serialize, Deserialize)]
struct Connection {
    url: String,
    port: u16,
    api_key: String,
    pid: u32,
}

impl State {
    /// Makes the directories and takes the lock.
    pub fn open(settings: &Settings) -> Result<Self, Fatal> {
        let instance = edge::safe_name(&settings.instance);
        let dir = settings.state_dir.clone();
        let data = settings.data_dir.clone();
        for dir in [&dir, &data] {
            files::make_dir(dir).map_err(|e| Fatal::file("create", dir, &e))?;
        }
        if settings.ephemeral {
            leave_behind(|print| print.directory = Some(dir.clone()));
        }
        let lock = lock(&dir, &instance)?;
        Ok(Self { dir, data, instance, seed_cwd: settings.cwd.clone(), _lock: lock })
    }

    /// Tells local clients where this broker is.
    pub fn announce(&self, settings: &Settings, port: u16) -> Result<(), Fatal> {
        let connection = Connection {
            url: format!("http://{}:{port}", settings::reachable(&settings.bind)),
            port,
            api_key: settings.api_key.expose().to_owned(),
            pid: std::process::id(),
        };
        let text = serde_json::to_string_pretty(&connection).expect("a flat record serialises");
        let own = self.dir.join(format!("connection-{}.json", self.instance));
        let shared = self.dir.join("connection.json");
        leave_behind(|print| print.connections = vec![own.clone(), shared.clone()]);
        files::replace(&own, text.as_bytes(), Keep::ThisRun).map_err(|e| Fatal::file("write", &own, &e))?;
        let claimed = match files::create(&shared, text.as_bytes(), Keep::ThisRun) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && owner(&shared).is_none() => {
                files::replace(&shared, text.as_bytes(), Keep::ThisRun)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            claimed => claimed,
        };
        claimed.map_err(|e| Fatal::file("write", &shared, &e))
    }

    fn paths(&self) -> Paths {
        Paths {
            identity: self.dir.join("identity.json"),
            journal: self.dir.join(format!("journal-{}.jsonl", self.instance)),
            tokens: self.data.join("node-tokens"),
        }
    }

    /// The executor of the core's changes to these files.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn store(
        &self,
        report: impl Fn(StoreId, Result<(), Failure>) + Send + 'static,
    ) -> Result<Store, Fatal> {
        Store::new(self.paths(), report).map_err(|e| Fatal::failed(format!("cannot start a thread: {e}")))
    }

    /// Reads everything that the core wants to know at start. Blocks.
    pub fn boot(&self, log: &Log) -> Result<Boot, Fatal> {
        let paths = self.paths();
        let machine_id = self.data.join("machine-id");
        let tokens = token_files(&paths.tokens)?;
        let ours = [&self.dir, &self.data, &paths.tokens, &machine_id, &paths.identity, &paths.journal];
        for path in ours.into_iter().chain(&tokens) {
            if files::tighten(path).map_err(|e| Fatal::file("protect", path, &e))? {
                let message = format!("others could read {}; now only you can", path.display());
                log.say(Level::Warn, "store", message);
            }
        }
        let read = |path: &Path| files::read(path).map_err(|e| Fatal::file("read", path, &e));
        Ok(Boot {
            now: clock::now(),
            seed: random_bytes()?,
            machine_seed: machine_seed(&machine_id)?,
            cwd: self.seed_cwd.clone(),
            pid: std::process::id(),
            identity: read(&paths.identity)?,
            tokens: tokens
                .iter()
                .map(|path| read(path))
                .filter_map(Result::transpose)
                .collect::<Result<_, _>>()?,
            journal: read(&paths.journal)?.unwrap_or_default(),
        })
    }
}

fn lock(dir: &Path, instance: &str) -> Result<File, Fatal> {
    let path = dir.join(format!("broker-{instance}.lock"));
    let failed = |error: &std::io::Error| Fatal::file("lock", &path, error);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(|e| failed(&e))?;
    match file.try_lock() {
        Ok(()) => {
            // For the message of whoever comes next.
            let pid = std::process::id().to_string();
            file.set_len(0).and_then(|()| file.write_all(pid.as_bytes())).map_err(|e| failed(&e))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            let pid = holder.trim().parse().map_or_else(|_| "unknown".into(), |pid: u32| pid.to_string());
            Err(Fatal::failed(format!(
                "another broker instance is already running in this directory (pid: {pid}, {})",
                dir.display()
            )))
        }
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// The living process that a connection file names.
fn owner(path: &Path) -> Option<u32> {
    let connection: Connection = serde_json::from_str(&files::read(path).ok()??).ok()?;
    let pid = Pid::from_raw(connection.pid.cast_signed())?;
    let alive = !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    alive.then_some(connection.pid)
}

/// The machine's seed. Of two brokers that start for the first time at once, one makes it and the
/// other reads it.
fn machine_seed(path: &Path) -> Result<String, Fatal> {
    loop {
        let read = files::read(path);
        let exists = matches!(read, Ok(Some(_)));
        if let Some(seed) = edge::machine_seed(read).map_err(|e| Fatal::file("read", path, &e))? {
            return Ok(seed);
        }
        if exists {
            files::remove(path).map_err(|e| Fatal::file("replace", path, &e))?;
        }
        let seed = format!("node_{}\n", random_hex()?);
        match files::create(path, seed.as_bytes(), Keep::Durable) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Fatal::file("create", path, &error));
            }
            _ => {}
        }
    }
}

/// 32 random hexadecimal digits.
pub fn random_hex() -> Result<String, Fatal> {
    Ok(hex(&random_bytes::<16>()?))
}

/// Random bytes.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], Fatal> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Fatal::failed(format!("no randomness: {e}")))?;
    Ok(bytes)
}

fn token_files(dir: &Path) -> Result<Vec<PathBuf>, Fatal> {
    let failed = |error: &std::io::Error| Fatal::file("read", dir, error);
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| failed(&e))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| failed(&e))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What the end of the process must remove, however it comes.
#[derive(Debug)]
struct Footprint {
    connections: Vec<PathBuf>,
    directory: Option<PathBuf>,
}

static FOOTPRINT: Mutex<Footprint> = Mutex::new(Footprint { connections: Vec::new(), directory: None });

fn leave_behind(change: impl FnOnce(&mut Footprint)) {
    change(&mut FOOTPRINT.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Removes the connection files that are ours, and an ephemeral directory. Called at every end of the
/// process that the process sees coming.
pub fn leave() {
    let mut footprint = FOOTPRINT.lock().unwrap_or_else(PoisonError::into_inner);
    for path in std::mem::take(&mut footprint.connections) {
        if owner(&path) == Some(std::process::id()) {
            drop(files::remove(&path));
        }
    }
    if let Some(dir) = footprint.directory.take() {
        drop(std::fs::remove_dir_all(dir));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(pid: u32) -> String {
        let url = "http://127.0.0.1:1".into();
        serde_json::to_string(&Connection { url, port: 1, api_key: "br_x".into(), pid }).unwrap()
    }

    #[test]
    fn a_connection_file_has_an_owner_only_while_its_process_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("connection.json");
        assert_eq!(owner(&path), None);
        for (text, alive) in [
            (connection(std::process::id()), true),
            (connection(u32::MAX / 2), false),
            (connection(0), false),
            ("{".into(), false),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(owner(&path).is_some(), alive, "{text}");
        }
    }

    #[test]
    fn first_starts_at_once_agree_on_the_seed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("machine-id");
        let seeds: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| machine_seed(&path).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(seeds.iter().all(|seed| *seed == seeds[0]), "{seeds:?}");
        assert_eq!(files::read(&path).unwrap().unwrap(), format!("{}\n", seeds[0]));
        assert!(seeds[0].starts_with("node_") && seeds[0].len() == 37);
    }

    #[test]
    fn a_seed_that_cannot_be_read_is_an_error_and_a_blank_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("machine-id");
        std::fs::write(&path, " \n").unwrap();
        assert!(machine_seed(&path).unwrap().starts_with("node_"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(machine_seed(&path).unwrap_err().code, 1);
    }

    #[test]
    fn one_instance_name_is_locked_once_and_the_refusal_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path(), "a").unwrap();
        let message = lock(dir.path(), "a").unwrap_err().message;
        let wanted = format!(
            "another broker instance is already running in this directory (pid: {}, {})",
            std::process::id(),
            dir.path().display()
        );
        assert_eq!(message, wanted);
        lock(dir.path(), "b").unwrap();
        drop(held);
        lock(dir.path(), "a").unwrap();
    }
}
