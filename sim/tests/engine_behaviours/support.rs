//! A bench for the engine model: a workspace, nodes with sockets, and time that the test moves.
//!
//! Owns: calling the public API and sorting what comes out by socket.
//! Must not know: rules. It asserts only that what a test takes for granted did happen.

use relay_sim::engine::{ConnectionId, Engine, HttpRequest, HttpResponse, Options, Output, ProfileName};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// 2026-07-01T00:00:00.000Z.
pub(crate) const START: i64 = 1_782_864_000_000;
/// The capability of the cursor handshake.
pub(crate) const CURSOR: &str = "relay:delivery-cursor-v1";

/// Profiles before and after a rule changed.
pub(crate) const ALL: [ProfileName; 5] = ProfileName::ALL;
/// Profiles with named providers and the cursor handshake.
pub(crate) const WITH_CURSOR: [ProfileName; 4] =
    [ProfileName::V6_0_3, ProfileName::V8_2_2, ProfileName::V8_11_4, ProfileName::V9_0_0];

/// Each release with what is expected of it, oldest first.
pub(crate) fn releases<T>(expected: [T; 5]) -> impl Iterator<Item = (ProfileName, T)> {
    ALL.into_iter().zip(expected)
}

/// An enrolled node.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) token: String,
}

/// An agent and its token.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) token: String,
}

/// An engine with one workspace.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) now: i64,
    pub(crate) key: String,
    frames: BTreeMap<ConnectionId, Vec<Value>>,
    closes: Vec<(ConnectionId, u16, &'static str)>,
}

impl Bench {
    pub(crate) fn new(profile: ProfileName) -> Self {
        Self::with(Options { profile: profile.into(), ..Options::default() })
    }

    pub(crate) fn with(options: Options) -> Self {
        let mut engine = Engine::new(options);
        let (_, key) = engine.create_workspace(START, "lab");
        Self { engine, now: START, key, frames: BTreeMap::new(), closes: Vec::new() }
    }

    pub(crate) fn has_cursor(&self) -> bool {
        self.engine.profile().cursor
    }

    // HTTP.

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        bearer: Option<&str>,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> HttpResponse {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = HttpRequest { method, path, bearer, headers, body: body.as_bytes() };
        self.engine.http(self.now, request)
    }

    /// Status and body.
    pub(crate) fn call(&mut self, method: &str, path: &str, bearer: &str, body: Value) -> (u16, Value) {
        let response = self.request(method, path, Some(bearer), &[], &body);
        (response.status, parsed(&response.body))
    }

    /// The data of a call that has to succeed.
    pub(crate) fn post(&mut self, path: &str, bearer: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", path, bearer, body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer["data"].clone()
    }

    pub(crate) fn get(&mut self, path: &str, bearer: &str) -> Value {
        let (status, answer) = self.call("GET", path, bearer, Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
        answer["data"].clone()
    }

    /// Status and error code of a call that has to fail.
    pub(crate) fn refused(&mut self, method: &str, path: &str, bearer: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.call(method, path, bearer, body);
        assert_eq!(answer["ok"], false, "{method} {path}: {answer}");
        (status, answer["error"]["code"].as_str().unwrap().to_owned())
    }

    pub(crate) fn agent(&mut self, name: &str) -> Agent {
        let key = self.key.clone();
        let data = self.post("/v1/agents", &key, json!({ "name": name }));
        agent_of(&data["id"], name, &data["token"])
    }

    pub(crate) fn node(&mut self, name: &str) -> Node {
        let key = self.key.clone();
        let data = self.post("/v1/nodes", &key, json!({ "name": name, "node_id": format!("node_{name}") }));
        Node { id: text(&data["id"]), name: name.to_owned(), token: text(&data["token"]) }
    }

    /// Sends a direct message; its message id.
    pub(crate) fn dm(&mut self, from: &Agent, to: &str, words: &str) -> String {
        let data = self.post("/v1/dm", &from.token, json!({ "to": to, "text": words }));
        text(&data["id"])
    }

    /// Sends a message to `general`; its message id.
    pub(crate) fn say(&mut self, from: &Agent, words: &str) -> String {
        let data = self.post("/v1/channels/general/messages", &from.token, json!({ "text": words }));
        text(&data["id"])
    }

    pub(crate) fn status_of(&mut self, agent: &str) -> String {
        let key = self.key.clone();
        text(&self.get(&format!("/v1/agents/{agent}"), &key)["status"])
    }

    pub(crate) fn node_view(&mut self, node: &Node) -> Value {
        let key = self.key.clone();
        self.get(&format!("/v1/nodes/{}", node.name), &key)
    }

    // Sockets.

    pub(crate) fn connect(&mut self, node: &Node) -> ConnectionId {
        self.engine.upgrade(self.now, "/v1/node/ws", Some(&node.token)).expect("the token is the current one")
    }

    pub(crate) fn close(&mut self, connection: ConnectionId) {
        self.engine.closed(self.now, connection);
    }

    pub(crate) fn send(&mut self, connection: ConnectionId, mut frame: Value) {
        frame["v"] = json!(1);
        self.engine.text(self.now, connection, &frame.to_string());
    }

    fn collect(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { connection, text } => {
                    self.frames.entry(connection).or_default().push(parsed(&text));
                }
                Output::Close { connection, code, reason } => self.closes.push((connection, code, reason)),
            }
        }
    }

    /// All frames of a socket since the last look.
    pub(crate) fn frames(&mut self, connection: ConnectionId) -> Vec<Value> {
        self.collect();
        self.frames.remove(&connection).unwrap_or_default()
    }

    /// The `deliver` frames of a socket since the last look; nothing else may have come.
    pub(crate) fn delivers(&mut self, connection: ConnectionId) -> Vec<Value> {
        let frames = self.frames(connection);
        assert!(frames.iter().all(|frame| frame["type"] == "deliver"), "{frames:?}");
        frames
    }

    /// Agent and sequence of the `deliver` frames since the last look.
    pub(crate) fn delivered(&mut self, connection: ConnectionId) -> Vec<(String, u64)> {
        numbered(&self.delivers(connection))
    }

    pub(crate) fn closes(&mut self) -> Vec<(ConnectionId, u16, &'static str)> {
        self.collect();
        std::mem::take(&mut self.closes)
    }

    /// Sends a frame and takes its answer: the first frame that comes after it.
    pub(crate) fn ask(&mut self, connection: ConnectionId, frame: Value) -> Value {
        self.collect();
        let seen = self.frames.get(&connection).map_or(0, Vec::len);
        self.send(connection, frame);
        self.collect();
        let frames = self.frames.entry(connection).or_default();
        assert!(frames.len() > seen, "nobody answered");
        frames.remove(seen)
    }

    /// The data of the reply to a frame.
    pub(crate) fn reply(&mut self, connection: ConnectionId, frame: Value) -> Value {
        let answer = self.ask(connection, frame);
        assert_eq!(answer["type"], "reply", "{answer}");
        answer["data"].clone()
    }

    /// The code of the error that answers a frame.
    pub(crate) fn error(&mut self, connection: ConnectionId, frame: Value) -> String {
        let answer = self.ask(connection, frame);
        assert_eq!((&answer["type"], &answer["ok"]), (&json!("error"), &json!(false)), "{answer}");
        text(&answer["code"])
    }

    /// `node.register` as a broker of this release sends it.
    pub(crate) fn registration(&self, node: &Node, instance: &str) -> Value {
        let mut frame = json!({
            "type": "node.register", "name": node.name, "node_id": node.id, "max_agents": 0, "tags": [],
            "version": "1", "capabilities": [{ "name": "spawn:claude" }, { "name": "release" }, { "name": "echo" }],
        });
        if self.has_cursor() {
            frame["provider"] = json!({ "name": "broker", "instance_id": instance });
            let cursor = json!({ "name": CURSOR, "kind": "capacity" });
            frame["capabilities"].as_array_mut().unwrap().push(cursor);
        }
        frame
    }

    pub(crate) fn register(&mut self, connection: ConnectionId, node: &Node) -> Value {
        let frame = self.registration(node, "i1");
        self.reply(connection, frame)
    }

    /// An enrolled node with a registered socket.
    pub(crate) fn broker(&mut self, name: &str) -> (Node, ConnectionId) {
        let node = self.node(name);
        let connection = self.connect(&node);
        self.register(connection, &node);
        (node, connection)
    }

    /// Another registered socket of a node whose last one closed.
    pub(crate) fn reconnect(&mut self, node: &Node, old: ConnectionId) -> ConnectionId {
        self.close(old);
        let connection = self.connect(node);
        self.register(connection, node);
        connection
    }

    /// As [`Bench::reconnect`], but what follows the registration stays to be looked at.
    pub(crate) fn reopen(&mut self, node: &Node, old: ConnectionId) -> ConnectionId {
        self.close(old);
        let connection = self.connect(node);
        let frame = self.registration(node, "i1");
        self.send(connection, frame);
        connection
    }

    /// Registers an agent through a socket.
    pub(crate) fn worker(&mut self, connection: ConnectionId, name: &str) -> Agent {
        let data = self.reply(connection, json!({ "type": "agent.register", "name": name }));
        agent_of(&data["agent_id"], name, &data["token"])
    }

    pub(crate) fn inventory(&self, agents: &[&Agent]) -> Value {
        let listed = agents.iter().map(|agent| json!({ "agent_id": agent.id, "name": agent.name }));
        json!({ "type": "inventory.sync", "agents": listed.collect::<Vec<_>>() })
    }

    pub(crate) fn sync(&mut self, connection: ConnectionId, agents: &[&Agent]) -> Value {
        let frame = self.inventory(agents);
        self.reply(connection, frame)
    }

    pub(crate) fn ack(&mut self, connection: ConnectionId, agent: &str, up_to_seq: u64) {
        self.send(connection, json!({ "type": "delivery.ack", "agent": agent, "up_to_seq": up_to_seq }));
    }

    pub(crate) fn heartbeat(&mut self, connection: ConnectionId) {
        self.beat(connection, 0);
    }

    pub(crate) fn beat(&mut self, connection: ConnectionId, active_agents: u64) {
        self.beat_with(connection, active_agents, true);
    }

    /// A heartbeat that says whether the handlers of the node are live.
    pub(crate) fn beat_with(&mut self, connection: ConnectionId, active_agents: u64, handlers_live: bool) {
        let mut frame = json!({
            "type": "node.heartbeat", "load": 0, "active_agents": active_agents, "handlers_live": handlers_live,
        });
        if self.has_cursor() {
            frame["provider"] = json!({ "name": "broker", "instance_id": "i1" });
        }
        self.send(connection, frame);
    }

    // Time and rows.

    /// Lets time pass, with every sweep at its time.
    pub(crate) fn pass(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(at) = self.engine.next_deadline().filter(|at| *at <= end) {
            self.now = at;
            self.engine.tick(at);
        }
        self.now = end;
    }

    /// The states of an agent's rows by their sequence.
    pub(crate) fn rows(&self, agent: &Agent) -> Vec<(u64, &'static str)> {
        use relay_sim::engine::RowState;
        let name = |state| match state {
            RowState::Queued => "queued",
            RowState::Delivered => "delivered",
            RowState::Acked => "acked",
            RowState::Failed => "failed",
            RowState::DeadLettered => "dead_lettered",
        };
        self.engine.rows(&agent.id).map(|row| (row.seq, name(row.state))).collect()
    }
}

pub(crate) fn agent_of(id: &Value, name: &str, token: &Value) -> Agent {
    Agent { id: text(id), name: name.to_owned(), token: text(token) }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

pub(crate) fn parsed(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).expect("the engine speaks JSON")
}

/// Agent and sequence of `deliver` frames.
pub(crate) fn numbered(frames: &[Value]) -> Vec<(String, u64)> {
    frames.iter().map(|frame| (text(&frame["agent"]), frame["seq"].as_u64().unwrap())).collect()
}

/// The sequences of one agent among `(agent, sequence)`.
pub(crate) fn pairs(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(name, seq)| ((*name).to_owned(), *seq)).collect()
}

/// The keys of an object, sorted.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// A node with `bob`, and `alice` who writes to him.
pub(crate) struct Scene {
    pub(crate) bench: Bench,
    pub(crate) node: Node,
    pub(crate) connection: ConnectionId,
    pub(crate) alice: Agent,
    pub(crate) bob: Agent,
}

pub(crate) fn scene(profile: ProfileName) -> Scene {
    let mut bench = Bench::new(profile);
    let (node, connection) = bench.broker("n");
    let (alice, bob) = (bench.agent("alice"), bench.worker(connection, "bob"));
    Scene { bench, node, connection, alice, bob }
}

impl Scene {
    pub(crate) fn dms(&mut self, count: usize) {
        for index in 0..count {
            self.bench.dm(&self.alice, "bob", &format!("message {index}"));
        }
    }
}
