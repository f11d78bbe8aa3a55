//! Brokers that are killed at any moment and started again in the same place: nothing is lost, no
//! process reads anything twice, and no file stands in the way of the next one.

use relay_sim::engine::ProfileName;
use relay_tests::agent::{Read, program, read_log};
use relay_tests::binary::Driver;
use relay_tests::engine::ScriptedEngine;
use relay_tests::place::{Broker, Place};
use relay_tests::sender::Sender;
use relay_tests::wait::within;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Kills per driver.
const KILLS: u64 = 100;
/// A broker lives for less than this, in ms: a child counts as started after 250.
const LIFE: u64 = 900;
/// Agents; each gets [`MESSAGES`] in a life.
const AGENTS: usize = 2;
/// Messages for each agent in a life.
const MESSAGES: usize = 3;
/// From the last start to rest.
const REST: Duration = Duration::from_secs(120);
/// A process may be set aside between a read and the look at the clock that follows it, in ns.
const SET_ASIDE: u64 = 20_000_000;

struct Field {
    engine: ScriptedEngine,
    place: Place,
    sender: Sender,
    /// Texts sent to each agent, by sequence from 1.
    sent: BTreeMap<String, Vec<String>>,
}

fn names() -> impl Iterator<Item = String> {
    (0..AGENTS).map(|number| format!("worker-{number}"))
}

/// A number below `bound` that depends on `key` only: the moments are the same in every run.
fn draw(key: u64, bound: u64) -> u64 {
    let word = (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (word ^ (word >> 32)) % bound
}

impl Field {
    fn new(driver: &Driver) -> Self {
        let engine = ScriptedEngine::start(ProfileName::V6_0_3);
        let sender = engine.sender("alice");
        Self { place: Place::of(driver), sender, sent: BTreeMap::new(), engine }
    }

    fn start(&self) -> Broker {
        self.place.broker(&self.engine.base_url(), &self.engine.workspace_key)
    }

    fn log(&self, name: &str, life: u64) -> PathBuf {
        self.place.path(&format!("{name}.{life}.log"))
    }

    /// Asks for the agents of a life; whether they all started.
    fn spawn(&self, broker: &Broker, life: u64) -> bool {
        let spawn = |name: String| {
            let args = ["lines".to_owned(), self.log(&name, life).display().to_string()];
            let body = json!({ "name": name, "cli": program(), "args": args }).to_string();
            broker.api.try_ask("POST", "/api/spawn", &body).is_ok_and(|answer| answer.status == 200)
        };
        std::thread::scope(|scope| {
            let spawns: Vec<_> = names().map(|name| scope.spawn(|| spawn(name))).collect();
            spawns.into_iter().all(|spawn| spawn.join().expect("a spawn does not panic"))
        })
    }

    fn send(&mut self, life: u64) {
        for name in names() {
            let sent = self.sent.entry(name.clone()).or_default();
            for number in 0..MESSAGES {
                let text = format!("message {number} of life {life} for {name}.");
                self.sender.dm(&name, &text);
                sent.push(text);
            }
        }
    }

    /// One broker, from its start to its sudden end.
    fn live(&mut self, life: u64) {
        let mut broker = self.start();
        let pid = Pid::from_raw(broker.process.pid().cast_signed()).expect("it runs");
        let end = Duration::from_millis(draw(life, LIFE));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(end);
            kill_process(pid, Signal::KILL)
        });
        if self.spawn(&broker, life) || !self.sent.is_empty() {
            self.send(life);
        }
        killer.join().expect("it only sleeps").expect("it was still there");
        broker.process.exit(REST);
        self.judge_files();
    }

    /// What was replaced is whole; what was appended is whole but for its last line.
    fn judge_files(&self) {
        let whole = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let parsed = serde_json::from_str::<Value>(&text);
            assert!(text.is_empty() && !path.exists() || parsed.is_ok(), "{}: {text:?}", path.display());
        };
        let state = self.place.path("work/.agentworkforce/relay");
        for file in ["identity.json", "connection.json", "connection-broker.json"] {
            whole(&state.join(file));
        }
        let tokens = self.place.path("home/.local/share/agent-relay/node-tokens");
        for token in std::fs::read_dir(tokens).into_iter().flatten().flatten() {
            let hidden = token.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden {
                whole(&token.path());
            }
        }
        let journal = std::fs::read_to_string(state.join("journal-broker.jsonl")).unwrap_or_default();
        let lines = journal.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        for line in lines {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "journal: {line:?}");
        }
    }

    /// Everything was read by somebody before it was acked, and by no process twice.
    fn judge_reads(&self, lives: u64) {
        for (name, texts) in &self.sent {
            let reads: Vec<Vec<Read>> = (0..lives).map(|life| read_log(&self.log(name, life))).collect();
            for (text, seq) in texts.iter().zip(1..) {
                let times = |reads: &Vec<Read>| reads.iter().filter(|read| read.text.ends_with(text)).count();
                assert!(reads.iter().all(|process| times(process) <= 1), "a process read {text:?} twice");
                let first =
                    reads.iter().flatten().filter(|read| read.text.ends_with(text)).map(|read| read.at_ns);
                let first = first.min().unwrap_or_else(|| panic!("nobody has read {text:?}"));
                let acked = self.engine.acked(name, seq);
                assert!(first <= acked + SET_ASIDE, "{text:?} was acked before anybody read it");
            }
        }
    }
}

fn survive(driver: &Driver) {
    let begun = Instant::now();
    let mut field = Field::new(driver);
    for life in 0..KILLS {
        field.live(life);
    }
    assert!(!field.sent.is_empty(), "no life was long enough to start agents");
    let broker = field.start();
    within(REST, "agents of the last life", || field.spawn(&broker, KILLS).then_some(()));
    for (name, texts) in &field.sent {
        let all = texts.len() as u64;
        within(REST, &format!("the ack of all {all} of {name}"), || field.engine.acked_yet(name, all));
    }
    field.judge_reads(KILLS + 1);
    assert!(broker.stop().success());
    println!("{}: {KILLS} kills in {:.1} s", driver.name, begun.elapsed().as_secs_f64());
}

#[test]
fn a_tokio_broker_that_is_killed_loses_nothing_and_doubles_nothing() {
    survive(&Driver::ours("tokio"));
}

#[test]
fn a_smol_broker_that_is_killed_loses_nothing_and_doubles_nothing() {
    survive(&Driver::ours("smol"));
}
