//! A swarm that is interrupted: what was done is told, and a second interrupt ends at once.

use std::io::{BufRead, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// More seeds than any run comes to the end of.
const ENDLESS: [&str; 5] = ["swarm", "--seeds", "1000000000", "--jobs", "2"];
/// A case of a swarm is done within this time.
const CASE: Duration = Duration::from_secs(60);

fn begin(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-sim"));
    command.args(ENDLESS).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What Ctrl-C sends.
fn interrupt(child: &Child) {
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// The next line that is told while the swarm runs.
fn next_line(said: &mut impl BufRead) -> String {
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    line
}

#[test]
fn an_interrupted_swarm_prints_the_table_of_what_was_done() {
    let mut child = begin(&[]);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let progress = next_line(&mut said);
    assert!(progress.contains(" cases ") && progress.contains("events/s"), "{progress}");
    let asked = Instant::now();
    interrupt(&child);
    let mut table = String::new();
    child.stdout.take().unwrap().read_to_string(&mut table).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{table}");
    assert!(asked.elapsed() < CASE);
    assert!(table.starts_with("release ") && table.ends_with("everything held\n"), "{table}");
    let cases = |line: &str| line.split_whitespace().nth(1).and_then(|cases| cases.parse::<u64>().ok());
    let done: u64 = table.lines().filter_map(cases).take(relay_sim::PROFILES.len()).sum();
    assert!(done > 0 && table.contains(" cases/s") && table.contains("\nmarks: "), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.matches("interrupted").count(), 1, "{rest}");
}

#[test]
fn an_interrupted_swarm_prints_its_json_too() {
    let mut child = begin(&["--json"]);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    next_line(&mut said);
    interrupt(&child);
    let mut told = String::new();
    child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["interrupted"], true);
    assert!(told["releases"].as_array().unwrap().iter().any(|release| release["cases"] != 0), "{told}");
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let mut child = begin(&[]);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    next_line(&mut said);
    interrupt(&child);
    // Two that come at the same time may be taken for one.
    while !next_line(&mut said).contains("interrupted") {}
    interrupt(&child);
    let mut table = String::new();
    child.stdout.take().unwrap().read_to_string(&mut table).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
