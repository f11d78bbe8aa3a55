//! The `engine` command of the real binary.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

fn engine(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-broker"));
    command.arg("engine").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ends with the test, whatever its result.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn refused(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = engine(args).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn it_says_how_to_use_it_and_ends_cleanly_at_a_signal() {
    let mut engine = Running(engine(&["--listen", "127.0.0.1:0", "--json"]).spawn().unwrap());
    let mut line = String::new();
    let mut stdout = BufReader::new(engine.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let (url, key) = (said["base_url"].as_str().unwrap(), said["workspace_key"].as_str().unwrap());
    assert!(url.starts_with("http://127.0.0.1:") && key.starts_with("rk_live_"), "{said}");
    assert!(said["workspace_id"].is_string() && said["profile"].is_string(), "{said}");

    kill_process(Pid::from_child(&engine.0), Signal::TERM).unwrap();
    let mut banner = String::new();
    engine.0.stderr.take().unwrap().read_to_string(&mut banner).unwrap();
    assert!(engine.0.wait().unwrap().success());
    assert!(banner.contains(&format!("export RELAY_BASE_URL={url} RELAY_API_KEY={key}")), "{banner}");
    assert!(banner.contains("in memory only"), "{banner}");
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let (code, said) = refused(&["--listen", &address]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&address) && said.contains("choose another --listen"), "{said}");
}

#[test]
fn it_serves_this_machine_only() {
    let (code, said) = refused(&["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("this machine only"), "{said}");
}
