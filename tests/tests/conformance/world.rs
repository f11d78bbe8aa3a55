//! An engine, a place, and a broker whose link is up.
//!
//! Owns: what most scenarios begin with, and looks at it. Must not know: what a scenario is about.

use relay_sim::engine::ProfileName;
use relay_tests::agent::Agent;
use relay_tests::binary::Driver;
use relay_tests::engine::{ScriptedEngine, What};
use relay_tests::place::{Broker, Place};
use relay_tests::sender::Sender;
use relay_tests::wait::{soon, within};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// For what goes through all back-offs of an outage.
pub(crate) const OUTAGE: Duration = Duration::from_secs(90);
/// A process may be set aside between a read and the look at the clock that follows it, in ns.
pub(crate) const SET_ASIDE: u64 = 20_000_000;

/// Everything at once.
pub(crate) struct World {
    pub(crate) engine: ScriptedEngine,
    pub(crate) place: Place,
    pub(crate) broker: Broker,
    /// Somebody on no node.
    pub(crate) alice: Sender,
}

impl World {
    /// On an engine with the cursor handshake.
    pub(crate) fn new(driver: &Driver) -> Self {
        Self::with(driver, |_| {})
    }

    /// With a broker that is started differently.
    pub(crate) fn with(driver: &Driver, change: impl FnOnce(&mut Command)) -> Self {
        let (engine, place) = (ScriptedEngine::start(ProfileName::V6_0_3), Place::of(driver));
        let mut command = place.broker_command(&engine.base_url(), &engine.workspace_key);
        change(&mut command);
        let broker = Broker::start(&mut command, &place);
        connected(&broker);
        let alice = engine.sender("alice");
        Self { engine, place, broker, alice }
    }

    /// Starts the broker again, in the same place.
    pub(crate) fn restart(&mut self) {
        self.broker = self.place.broker(&self.engine.base_url(), &self.engine.workspace_key);
        connected(&self.broker);
    }

    /// An agent that reads lines.
    pub(crate) fn agent(&self, name: &str) -> Agent {
        Agent::spawn(&self.broker, &self.place, name)
    }

    /// An agent that reads nothing yet.
    pub(crate) fn gated(&self, name: &str) -> Agent {
        Agent::spawn_gated(&self.broker, &self.place, name)
    }

    /// Spawns a program; it must start.
    pub(crate) fn spawn(&self, name: &str, cli: &str, args: &[&str]) {
        let (status, answer) = self.try_spawn(&json!({ "name": name, "cli": cli, "args": args }));
        assert_eq!(status, 200, "{answer}");
    }

    /// A spawn request's answer.
    pub(crate) fn try_spawn(&self, body: &Value) -> (u16, Value) {
        let answer = self.broker.api.post("/api/spawn", body);
        (answer.status, answer.json())
    }

    /// Pids of the agents in the broker's list.
    pub(crate) fn pids(&self) -> Vec<u64> {
        let listed = self.broker.api.get("/api/spawned").json();
        let agents = listed["agents"].as_array().cloned().unwrap_or_default();
        agents.iter().filter_map(|agent| agent["pid"].as_u64()).collect()
    }

    /// The text of an agent's screen, once it contains `wanted`.
    pub(crate) fn screen(&self, agent: &str, wanted: &str) -> String {
        let path = format!("/api/spawned/{agent}/snapshot?format=plain");
        soon(&format!("{wanted:?} on the screen of {agent}"), || {
            let snapshot = self.broker.api.get(&path).json();
            snapshot["screen"].as_str().filter(|screen| screen.contains(wanted)).map(str::to_owned)
        })
    }

    /// Checks that the agent reads these texts in this order, once each, and that the ack of each
    /// sequence comes after its text was read.
    pub(crate) fn reads(&self, agent: &Agent, texts: &[(u64, &str)]) {
        let mut last = 0;
        for (seq, text) in texts {
            let read = agent.read(text);
            let acked = self.engine.acked(&agent.name, *seq);
            assert!(read.at_ns <= acked + SET_ASIDE, "{text:?} was acked before it was read");
            assert!(read.at_ns >= last, "{text:?} came too early");
            last = read.at_ns;
        }
        for (_, text) in texts {
            assert_eq!(agent.count(text), 1, "{text:?} in {:?}", agent.reads());
        }
    }

    /// How often the engine has sent this sequence.
    pub(crate) fn sent(&self, seq: u64) -> usize {
        let of_seq = |what: &What| match what {
            What::Out(frame) => (frame["type"] == "deliver" && frame["seq"] == seq).then_some(()),
            _ => None,
        };
        self.engine.all(of_seq).len()
    }

    /// Rewrites frames of the engine on their way to the broker.
    pub(crate) fn rewrite(&self, rewrite: impl FnMut(String) -> Vec<String> + Send + 'static) {
        self.engine.script(|script| script.out = Some(Box::new(rewrite)));
    }

    /// The results that the broker sent for an invocation, once there are `count`.
    pub(crate) fn results(&self, id: &str, count: usize) -> Vec<Value> {
        soon(&format!("{count} results of {id}"), || {
            let mut results = self.engine.frames("action.result");
            results.retain(|result| result["invocation_id"] == id);
            (results.len() == count).then_some(results)
        })
    }
}

/// What a broker says of itself.
pub(crate) fn health(broker: &Broker) -> Value {
    broker.api.get("/health").json()
}

/// Waits for a confirmed link.
pub(crate) fn connected(broker: &Broker) {
    within(OUTAGE, "a confirmed link", || (health(broker)["relaycastConnected"] == true).then_some(()));
}

/// Whether there is a process of this id.
pub(crate) fn runs(pid: u64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
