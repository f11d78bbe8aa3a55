//! The `demo` command of the real binary.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The demo with a folder of its own for temporary files, which must be empty afterwards.
fn demo(args: &[&str]) -> (Command, TempDir) {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-broker"));
    command
        .arg("demo")
        .args(args)
        .env("TMPDIR", temporary.path())
        // What configures the user's brokers is none of the demo's business.
        .env("RELAY_API_KEY", "rk_live_of_somebody")
        .env("RELAY_BASE_URL", "http://127.0.0.1:1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    (command, temporary)
}

fn is_empty(folder: &TempDir) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn it_succeeds_and_shows_every_step_and_no_secret() {
    let (mut command, temporary) = demo(&[]);
    let output = command.output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stdout}{stderr}");
    for step in [
        "sends a DM to shell",
        "sends a message to #general",
        "sends a thread reply",
        "sends a steer to prompt",
        "cuts the connection",
        "sends what was missed: #4 for shell",
        "got the ack: prompt has everything up to #6",
        "took \"stop and look here, shell\"",
        "says: typed \"good morning, prompt\"",
        "taken to acked",
        "PASS  12 deliveries",
    ] {
        assert!(stdout.contains(step), "no {step:?} in {stdout}");
    }
    let said = stdout + &stderr;
    assert!(!said.contains("_live_") && !said.contains("br_") && !said.contains('\x1b'), "{said}");
    assert!(is_empty(&temporary));
}

#[test]
fn its_result_can_be_read_by_programs() {
    let (mut command, _temporary) = demo(&["--json"]);
    let output = command.output().unwrap();
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["ok"], true, "{result}");
    let deliveries = result["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 12);
    for delivery in deliveries {
        let at = |name: &str| delivery[name].as_f64().unwrap();
        assert!(at("sent_ms") <= at("taken_ms") && at("taken_ms") <= at("acked_ms"), "{delivery}");
    }
}

/// Ends with the test, whatever its result.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let (mut command, temporary) = demo(&[]);
    let mut demo = Running(command.spawn().unwrap());
    let mut stderr = BufReader::new(demo.0.stderr.take().unwrap()).lines();
    let started = stderr.by_ref().map(Result::unwrap).find(|line| line.contains("is registered"));
    assert!(started.is_some());
    kill_process(Pid::from_child(&demo.0), Signal::INT).unwrap();
    // The end of the pipe is the end of everybody who could write to it.
    let rest: Vec<String> = stderr.map(Result::unwrap).collect();
    assert_eq!(demo.0.wait().unwrap().code(), Some(1));
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:?}");
    assert!(is_empty(&temporary));
}
