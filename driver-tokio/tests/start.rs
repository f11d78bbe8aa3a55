//! Starts and ends of the real binary, with no engine in reach.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_relay-broker");
const LIMIT: Duration = Duration::from_secs(20);
/// A broker that has not ended by then gets the second signal.
const POLITE: Duration = Duration::from_secs(5);

/// A home and a working directory of its own.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["home", "work", "tmp"] {
            std::fs::create_dir(root.path().join(dir)).unwrap();
        }
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.path("work/.agentworkforce/relay")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.program(BINARY);
        command.args(line.split_whitespace());
        command
    }

    fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path("work"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("RELAY_API_KEY", "rk_live_0123456789abcdef")
            // Nobody listens there.
            .env("RELAY_BASE_URL", "http://127.0.0.1:1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, line: &str) -> Broker {
        listening(self.command(line))
    }

    /// The exit code and stderr of a start that must fail.
    fn fail(&self, line: &str) -> (Option<i32>, String) {
        ended(self.command(line))
    }

    fn connection(&self, name: &str) -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(self.state().join(name)).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }
}

/// Starts a broker and waits until it says where it listens.
fn listening(mut command: Command) -> Broker {
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    stdout.read_line(&mut said).unwrap();
    let url = said.strip_prefix("[agent-relay] API listening on http://");
    let Some(address) = url.and_then(|url| url.strip_suffix('\n')) else {
        let mut why = String::new();
        child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        panic!("said {said:?}, {why}");
    };
    Broker { address: address.to_owned(), child, stdout }
}

fn ended(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

struct Broker {
    address: String,
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Broker {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self) {
        let pid = Pid::from_raw(self.pid().cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Asks it to stop, insists if it does not; stdin stays open all the time.
    fn stop(mut self) -> (ExitStatus, String) {
        self.signal();
        let status = self.ends(POLITE).unwrap_or_else(|| {
            self.signal();
            self.ends(LIMIT).expect("the second signal ends it")
        });
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (status, rest)
    }

    fn ends(&mut self, limit: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// The answer to a request for `path` of `host`.
    fn get(&self, path: &str, host: &str) -> String {
        let mut tcp = TcpStream::connect(&self.address).unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        write!(tcp, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `look` finds, once it does.
fn soon<T>(look: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "nothing came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777
}

#[test]
fn a_broker_says_where_it_listens_leaves_its_address_and_takes_it_away() {
    let place = Place::new();
    let broker = place.start("up --name one");
    let connection = place.connection("connection.json").expect("written before the line");
    assert_eq!(connection["url"], format!("http://{}", broker.address));
    assert_eq!(connection["pid"], broker.pid());
    assert!(connection["api_key"].as_str().unwrap().starts_with("br_"));
    assert_eq!(place.connection("connection-one.json").unwrap(), connection);
    for private in ["connection.json", "connection-one.json", "broker-one.lock"] {
        assert_eq!(mode(&place.state().join(private)), 0o600, "{private}");
    }
    assert_eq!(mode(&place.state()), 0o700);
    let machine_id = place.path("home/.local/share/agent-relay/machine-id");
    let seed = soon(|| std::fs::read_to_string(&machine_id).ok());
    assert!(seed.starts_with("node_") && seed.ends_with('\n') && seed.len() == 38, "{seed:?}");
    let (_, rest) = broker.stop();
    assert_eq!(rest, "", "stdout has one line");
    assert!(place.connection("connection.json").is_none());
    assert!(place.connection("connection-one.json").is_none());
}

#[test]
fn a_second_broker_of_the_same_name_is_refused_and_harms_nothing() {
    let place = Place::new();
    let broker = place.start("init --persist --instance-name one");
    let (code, text) = place.fail("init --persist --instance-name one");
    assert_eq!(code, Some(1));
    let state = place.state();
    let wanted = format!(
        "another broker instance is already running in this directory (pid: {}, {})",
        broker.pid(),
        state.display()
    );
    assert!(text.contains(&wanted), "{text}");
    assert_eq!(place.connection("connection.json").unwrap()["pid"], broker.pid());
}

#[test]
fn the_shared_address_belongs_to_the_first_living_instance() {
    let place = Place::new();
    let first = place.start("up --instance-name first");
    let second = place.start("up --instance-name second");
    assert_eq!(place.connection("connection.json").unwrap()["pid"], first.pid());
    assert_eq!(place.connection("connection-second.json").unwrap()["pid"], second.pid());
    second.stop();
    assert_eq!(place.connection("connection.json").unwrap()["pid"], first.pid());
    let mut first = first;
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let third = place.start("up --instance-name third");
    assert_eq!(place.connection("connection.json").unwrap()["pid"], third.pid(), "its owner was dead");
}

#[test]
fn a_port_in_use_is_named() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, text) = place.fail(&format!("up --api-port {port}"));
    assert_eq!(code, Some(1));
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("--api-port"), "{text}");
    assert!(place.connection("connection.json").is_none());
}

#[test]
fn an_ephemeral_broker_leaves_no_directory() {
    let place = Place::new();
    let broker = place.start("init");
    let dirs =
        || std::fs::read_dir(place.path("tmp")).unwrap().map(|d| d.unwrap().path()).collect::<Vec<_>>();
    let [dir] = &dirs()[..] else { panic!("{:?}", dirs()) };
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with(&format!("agent-relay-ephemeral-{}-work-", broker.pid())), "{name}");
    assert_eq!(mode(dir), 0o700);
    assert!(dir.join("connection.json").exists());
    broker.stop();
    assert!(dirs().is_empty());
    assert!(!place.state().exists());
}

#[test]
fn usage_errors_end_with_two_and_unreadable_state_with_one() {
    let place = Place::new();
    let mut keyless = place.command("up");
    keyless.env_remove("RELAY_API_KEY");
    assert_eq!(ended(keyless).0, Some(2));
    assert_eq!(place.fail("up --no-such-flag").0, Some(2));

    let machine_id = place.path("home/.local/share/agent-relay/machine-id");
    std::fs::create_dir_all(&machine_id).unwrap();
    let (code, text) = place.fail("up");
    assert_eq!(code, Some(1));
    assert!(text.contains("machine-id"), "{text}");
    assert!(place.connection("connection.json").is_none(), "nothing is left behind");
}

#[test]
fn files_that_others_could_read_are_tightened_and_that_is_logged() {
    let place = Place::new();
    let loose = place.state().join("identity.json");
    std::fs::create_dir_all(place.state()).unwrap();
    std::fs::write(&loose, "{}").unwrap();
    std::fs::set_permissions(&loose, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut broker = place.start("up");
    let mut log = BufReader::new(broker.child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("identity.json") {
        assert_ne!(log.read_line(&mut seen).unwrap(), 0, "{seen}");
    }
    assert_eq!(mode(&loose), 0o600);
    assert_eq!(mode(&place.state()), 0o700);
}

#[test]
fn requests_for_other_hosts_are_refused() {
    let place = Place::new();
    let broker = place.start("up");
    let answer = broker.get("/health", "evil.example");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let (code, text) = Place::new().fail("init --api-bind 192.0.2.1");
    assert_eq!(code, Some(1));
    assert!(text.contains("192.0.2.1") && text.contains("--api-bind"), "{text}");
}

#[test]
fn a_hangup_ends_a_broker_unless_it_was_started_to_survive_it() {
    let place = Place::new();
    let hang_up = |broker: &Broker| {
        let pid = Pid::from_raw(broker.pid().cast_signed()).unwrap();
        // The second one ends it at once, if the first one counts.
        for _ in 0..2 {
            kill_process(pid, Signal::HUP).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // The tests themselves may have been started to survive one.
    let mut command = place.program("env");
    command.args(["--default-signal=HUP", BINARY, "up"]);
    let mut plain = listening(command);
    hang_up(&plain);
    assert!(plain.ends(LIMIT).is_some());

    let script = format!("trap '' HUP; exec {BINARY} up");
    let mut nohup = place.program("sh");
    nohup.args(["-c", &script]);
    let mut survivor = listening(nohup);
    hang_up(&survivor);
    assert!(survivor.ends(Duration::from_millis(300)).is_none());
}
