//! Agents of a broker under test, and what they really read.

use crate::binary::profile_dir;
use crate::place::{Broker, Place};
use crate::wait::soon;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// One thing that an agent read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// A line, or a submitted text.
    pub text: String,
}

/// An agent that records what it reads.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its name.
    pub name: String,
    log: PathBuf,
    gate: Option<PathBuf>,
}

/// The program of these agents.
pub fn program() -> PathBuf {
    profile_dir().join("test-agent")
}

/// What an agent with this log has read.
pub fn read_log(log: &Path) -> Vec<Read> {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let complete = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete
        .map(|line| serde_json::from_str(line).expect("a record is JSON"))
        .map(|record: Value| Read {
            at_ns: record["at_ns"].as_u64().unwrap_or(0),
            text: record["text"].as_str().unwrap_or_default().to_owned(),
        })
        .collect()
}

impl Agent {
    /// Arguments for an agent of `place` that reads lines.
    pub fn lines(place: &Place, name: &str) -> (Self, Vec<String>) {
        let agent = Self { name: name.to_owned(), log: place.path(&format!("{name}.log")), gate: None };
        let args = vec!["lines".into(), agent.log.display().to_string()];
        (agent, args)
    }

    /// Spawns one that reads lines.
    pub fn spawn(broker: &Broker, place: &Place, name: &str) -> Self {
        let (agent, args) = Self::lines(place, name);
        agent.start(broker, &args);
        agent
    }

    /// Spawns one that reads nothing before [`Agent::open`].
    pub fn spawn_gated(broker: &Broker, place: &Place, name: &str) -> Self {
        let (mut agent, mut args) = Self::lines(place, name);
        let gate = place.path(&format!("{name}.gate"));
        args.push(gate.display().to_string());
        agent.gate = Some(gate);
        agent.start(broker, &args);
        agent
    }

    /// Spawns one with a raw terminal and bracketed paste.
    pub fn spawn_paste(broker: &Broker, place: &Place, name: &str) -> Self {
        let (agent, mut args) = Self::lines(place, name);
        args[0] = "paste".into();
        agent.start(broker, &args);
        agent
    }

    fn start(&self, broker: &Broker, args: &[String]) {
        let body = json!({ "name": self.name, "cli": program(), "args": args, "channels": ["general"] });
        let answer = broker.api.post("/api/spawn", &body);
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// Lets it read.
    ///
    /// # Panics
    /// When it was spawned without a gate.
    pub fn open(&self) {
        let gate = self.gate.as_ref().expect("it has a gate");
        std::fs::write(gate, "").expect("the place is writable");
    }

    /// All it read.
    pub fn reads(&self) -> Vec<Read> {
        read_log(&self.log)
    }

    /// The first thing it read that ends with `text`, once it has.
    pub fn read(&self, text: &str) -> Read {
        soon(&format!("{} to read {text:?}", self.name), || {
            self.reads().into_iter().find(|read| read.text.ends_with(text))
        })
    }

    /// How often it read something that contains `text`.
    pub fn count(&self, text: &str) -> usize {
        self.reads().iter().filter(|read| read.text.contains(text)).count()
    }
}
