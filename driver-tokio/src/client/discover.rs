//! Finding the broker.
//!
//! Owns: the order of flags, environment and connection files, and the reading of such a file.
//! Must not know: what is asked of the broker.
//!
//! 1. A flag beats the environment, the environment beats a file.
//! 2. A key goes only to the address it was given with: a file's key never leaves for an address from
//!    elsewhere, and a file's address takes the file's key unless `--key` says otherwise.
//! 3. A file whose process is gone is never used.

use super::args::Connection;
use super::failure::Failure;
use hyper::Uri;
use hyper::http::uri::Authority;
use relay_core::Secret;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::Deserialize;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where a broker keeps its state, below its working directory.
const STATE_DIR: &str = ".agentworkforce/relay";

/// A broker that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Host and port of its API, which is plain HTTP.
    pub(crate) authority: Authority,
    pub(crate) key: Secret,
}

/// What the process was given, apart from its arguments.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// `RELAY_BROKER_URL`.
    pub(super) url: Option<String>,
    /// `RELAY_BROKER_API_KEY`.
    pub(super) key: Option<Secret>,
    /// `AGENT_RELAY_STATE_DIR`.
    pub(super) state_dir: Option<OsString>,
    pub(super) cwd: PathBuf,
}

impl Surroundings {
    pub(super) fn of_process() -> Result<Self, Failure> {
        let text = |name| env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
        Ok(Self {
            url: text("RELAY_BROKER_URL"),
            key: text("RELAY_BROKER_API_KEY").as_deref().and_then(Secret::new),
            state_dir: env::var_os("AGENT_RELAY_STATE_DIR").filter(|value| !value.is_empty()),
            cwd: env::current_dir()
                .map_err(|error| Failure::usage(format!("cannot tell the working directory: {error}")))?,
        })
    }
}

/// `connection.json`, as brokers write it; more keys may follow.
#[derive(Deserialize)]
struct File {
    url: String,
    api_key: String,
    pid: u32,
}

/// The broker that flags, environment and files name.
pub(super) fn find(connection: &Connection, around: &Surroundings) -> Result<Target, Failure> {
    let by_folder = connection.state_dir.is_some() || connection.instance.is_some();
    if let Some(url) = &connection.url {
        return at_address(url, "--url", connection, around);
    }
    match &around.url {
        Some(url) if !by_folder => at_address(url, "RELAY_BROKER_URL", connection, around),
        _ => in_folder(connection, around),
    }
}

fn at_address(
    url: &str,
    origin: &str,
    connection: &Connection,
    around: &Surroundings,
) -> Result<Target, Failure> {
    let authority = authority(url).map_err(|why| Failure::usage(format!("{origin}: {url:?} {why}")))?;
    let Some(key) = connection.key.as_ref().or(around.key.as_ref()) else {
        return Err(Failure::usage(format!("{origin} names a broker, but there is no key for it"))
            .advise("set RELAY_BROKER_API_KEY, or name the folder of its connection.json with --state-dir"));
    };
    Ok(Target { authority, key: key.clone() })
}

fn in_folder(connection: &Connection, around: &Surroundings) -> Result<Target, Failure> {
    let given = connection.state_dir.clone().or_else(|| around.state_dir.clone().map(PathBuf::from));
    let folder = around.cwd.join(given.unwrap_or_else(|| PathBuf::from(STATE_DIR)));
    let path = folder.join(match &connection.instance {
        Some(name) => format!("connection-{name}.json"),
        None => "connection.json".to_owned(),
    });
    let shown = path.display();
    let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &folder, &error))?;
    let broken = |why: String| {
        Failure::no_broker(format!("{shown} is not a connection file: {why}"))
            .advise("restart the broker, which writes the file again")
    };
    let file: File = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    if !is_alive(file.pid) {
        return Err(Failure::no_broker(format!(
            "{shown} is left over from a broker that has ended (pid {})",
            file.pid
        )));
    }
    let authority = authority(&file.url).map_err(|why| broken(format!("its url {why}")))?;
    let key = connection.key.clone().or_else(|| Secret::new(&file.api_key));
    let key = key.ok_or_else(|| broken("its api_key is empty".to_owned()))?;
    Ok(Target { authority, key })
}

fn unreadable(path: &Path, folder: &Path, error: &std::io::Error) -> Failure {
    let shown = path.display();
    if error.kind() != ErrorKind::NotFound {
        return Failure::no_broker(format!("cannot read {shown}: {error}"))
            .advise("run this as the user that started the broker");
    }
    let failure = Failure::no_broker(format!("no broker here: {shown} does not exist"));
    match instances(folder).as_slice() {
        [] => failure,
        names => {
            failure.advise(format!("choose a broker of that folder with --instance: {}", names.join(", ")))
        }
    }
}

/// The instances that have a connection file in `folder`, sorted.
fn instances(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_prefix("connection-")?.strip_suffix(".json")?.to_owned())
        })
        .collect();
    names.sort();
    names
}

/// Whether a process has this id. One that we may not signal is alive too.
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}

/// Host and port of a broker's address.
fn authority(url: &str) -> Result<Authority, &'static str> {
    let parts = url.trim().parse::<Uri>().map_err(|_| "is not an address")?.into_parts();
    if parts.scheme.is_none_or(|scheme| scheme.as_str() != "http") {
        return Err("does not start with http:// (a broker's API is plain HTTP on this machine)");
    }
    if parts.path_and_query.is_some_and(|path| path.as_str() != "/") {
        return Err("has a path; only http://HOST:PORT is meant");
    }
    match parts.authority {
        Some(authority) if authority.as_str().contains('@') => {
            Err("has a user name; only http://HOST:PORT is meant")
        }
        Some(authority) => Ok(authority),
        None => Err("has no host"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::Class;
    use super::*;
    use tempfile::TempDir;

    const KEY: &str = "br_00000000000000000000000000000001";
    const OTHER_KEY: &str = "br_00000000000000000000000000000002";

    fn folder(files: &[(&str, String)]) -> (TempDir, Surroundings) {
        let cwd = tempfile::tempdir().unwrap();
        let state = cwd.path().join(STATE_DIR);
        fs::create_dir_all(&state).unwrap();
        for (name, text) in files {
            fs::write(state.join(name), text).unwrap();
        }
        let around = Surroundings { cwd: cwd.path().to_owned(), ..Surroundings::default() };
        (cwd, around)
    }

    fn file(port: u16, pid: u32) -> String {
        format!(r#"{{"url":"http://127.0.0.1:{port}","port":{port},"api_key":"{KEY}","pid":{pid},"more":1}}"#)
    }

    /// The id of a process that has ended and was waited for.
    fn dead_pid() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    fn alive() -> u32 {
        std::process::id()
    }

    #[test]
    fn a_flag_beats_the_environment_and_the_environment_beats_the_file() {
        let (_cwd, mut around) = folder(&[("connection.json", file(1, alive()))]);
        let flags = Connection { url: Some("http://127.0.0.1:3/".into()), ..Connection::default() };
        assert_eq!(find(&Connection::default(), &around).unwrap().authority.as_str(), "127.0.0.1:1");
        around.url = Some("http://localhost:2".into());
        around.key = Secret::new(OTHER_KEY);
        assert_eq!(find(&Connection::default(), &around).unwrap().authority.as_str(), "localhost:2");
        assert_eq!(find(&flags, &around).unwrap().authority.as_str(), "127.0.0.1:3");
    }

    #[test]
    fn a_key_goes_only_where_it_belongs() {
        let (_cwd, mut around) = folder(&[("connection.json", file(1, alive()))]);
        around.key = Secret::new(OTHER_KEY);
        assert_eq!(find(&Connection::default(), &around).unwrap().key.expose(), KEY);
        around.key = None;
        around.url = Some("http://127.0.0.1:1".into());
        let failure = find(&Connection::default(), &around).unwrap_err();
        assert_eq!(failure.class, Class::Usage);
        assert!(failure.advice.unwrap().contains("RELAY_BROKER_API_KEY"));
    }

    #[test]
    fn a_named_folder_or_instance_beats_the_environment() {
        let (cwd, mut around) = folder(&[("connection-b.json", file(4, alive()))]);
        around.url = Some("http://127.0.0.1:9".into());
        let flags = Connection { instance: Some("b".into()), ..Connection::default() };
        assert_eq!(find(&flags, &around).unwrap().authority.as_str(), "127.0.0.1:4");
        around.state_dir = Some("elsewhere".into());
        let failure = find(&flags, &around).unwrap_err();
        assert!(
            failure.message.contains("elsewhere/connection-b.json does not exist"),
            "{}",
            failure.message
        );
        let flags = Connection { state_dir: Some(cwd.path().join(STATE_DIR)), ..flags };
        assert!(find(&flags, &around).is_ok());
    }

    #[test]
    fn a_file_of_a_dead_process_is_named_and_not_used() {
        let pid = dead_pid();
        let (_cwd, around) = folder(&[("connection.json", file(1, pid))]);
        let failure = find(&Connection::default(), &around).unwrap_err();
        assert_eq!(failure.class, Class::NoBroker);
        assert!(failure.message.contains("connection.json is left over"), "{}", failure.message);
        assert!(failure.message.contains(&format!("pid {pid}")), "{}", failure.message);
        assert!(failure.advice.unwrap().contains("relay-broker up"));
    }

    #[test]
    fn without_a_file_the_other_instances_are_offered() {
        let files = [("connection-b.json", file(1, alive())), ("connection-a.json", file(1, alive()))];
        let (_cwd, around) = folder(&files);
        let failure = find(&Connection::default(), &around).unwrap_err();
        assert_eq!(failure.class, Class::NoBroker);
        assert!(failure.advice.unwrap().ends_with("a, b"));
    }

    #[test]
    fn a_damaged_file_says_what_is_wrong_with_it() {
        for (text, what) in [
            ("{".to_owned(), "not a connection file"),
            (file(1, alive()).replace("http:", "https:"), "does not start with http://"),
            (file(1, alive()).replace(KEY, " "), "api_key is empty"),
        ] {
            let (_cwd, around) = folder(&[("connection.json", text)]);
            let failure = find(&Connection::default(), &around).unwrap_err();
            assert!(failure.message.contains(what), "{}", failure.message);
            assert_eq!(failure.class, Class::NoBroker);
        }
    }

    #[test]
    fn an_address_is_a_plain_http_origin() {
        for bad in ["127.0.0.1:1", "https://h", "http://h/api", "http://u:p@h", "http://", "ws://h", "a b"] {
            assert!(authority(bad).is_err(), "{bad}");
        }
        assert_eq!(authority(" http://[::1]:8 ").unwrap().as_str(), "[::1]:8");
    }
}
