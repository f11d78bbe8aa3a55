//! The engine model behind blocking loopback sockets, with a script for what goes wrong.
//!
//! Owns: sockets, the record of all that happened, the script.
//! Must not know: what a broker should do about it.
//!
//! 1. Everything that reaches or leaves the model is recorded in order, under one lock.
//! 2. The answer to a request is written before the frames that it causes.

mod script;
mod server;

pub use script::{HttpScript, OutScript, Refuse, Script, UpgradeScript};

use crate::http::Client;
use crate::sender::Sender;
use crate::wait::{now_ns, soon};
use crate::websocket::{Odd, Writer};
use relay_sim::engine::{ConnectionId, Engine, Event, HttpRequest, Options, Output, ProfileName};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A request and the status of its answer.
    Http {
        /// Method and path.
        line: String,
        /// Status code.
        status: u16,
    },
    /// The answer to an upgrade: 101 or a refusal, 0 for one that is no HTTP.
    Upgrade(u16),
    /// A frame from the node.
    In(Value),
    /// A frame to the node.
    Out(Value),
    /// A pong from the node, with its payload.
    Pong(Vec<u8>),
    /// The node closed its socket with this code; none if the connection just ended.
    Closed(Option<u16>),
    /// What the model says of it.
    Model(Event),
}

/// An engine that a test scripts.
pub struct ScriptedEngine {
    /// `127.0.0.1:port`.
    pub address: SocketAddr,
    /// Key of its workspace.
    pub workspace_key: String,
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
}

struct Inner {
    engine: Engine,
    sockets: BTreeMap<ConnectionId, Writer>,
    seen: Vec<Seen>,
    script: Script,
}

impl ScriptedEngine {
    /// An engine of this release.
    pub fn start(profile: ProfileName) -> Self {
        Self::with(Options { profile: profile.into(), seed: now_ns(), ..Options::default() })
    }

    /// An engine with these options.
    ///
    /// # Panics
    /// When loopback has no port.
    pub fn with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let mut engine = Engine::new(options);
        let (_, workspace_key) = engine.create_workspace(now_ms(), "tests");
        let inner = Mutex::new(Inner {
            engine,
            sockets: BTreeMap::new(),
            seen: Vec::new(),
            script: Script::default(),
        });
        let shared = Arc::new(Shared { inner });
        server::run(listener, shared.clone());
        Self { address, workspace_key, shared }
    }

    /// Its base URL.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the script.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.lock().script);
    }

    /// Acts on the model; what that causes on sockets is sent.
    pub fn act<T>(&self, act: impl FnOnce(&mut Engine, i64) -> T) -> T {
        let mut inner = self.shared.lock();
        let result = act(&mut inner.engine, now_ms());
        inner.hand_out();
        result
    }

    /// Sends a frame to every connected node as it is, past the model.
    pub fn send_raw(&self, frame: &Value) {
        let mut inner = self.shared.lock();
        inner.see(What::Out(frame.clone()));
        for writer in inner.sockets.values_mut() {
            let _ = writer.text(&frame.to_string());
        }
    }

    /// Sends a message to every connected node as no model would: see [`Odd`].
    pub fn send_odd(&self, odd: &Odd) {
        for writer in self.shared.lock().sockets.values_mut() {
            let _ = writer.odd(odd);
        }
    }

    /// Breaks all sockets of nodes without a word.
    pub fn cut(&self) {
        for writer in self.shared.lock().sockets.values() {
            writer.cut();
        }
    }

    /// A client with the workspace key.
    pub fn client(&self) -> Client {
        Client::bearer(&self.address.to_string(), &self.workspace_key)
    }

    /// A new participant that is on no node.
    pub fn sender(&self, name: &str) -> Sender {
        Sender::join(&self.client(), name)
    }

    /// Everything so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Everything so far that `pick` wants.
    pub fn all<T>(&self, mut pick: impl FnMut(&What) -> Option<T>) -> Vec<T> {
        self.shared.lock().seen.iter().filter_map(|seen| pick(&seen.what)).collect()
    }

    /// The first thing that `pick` wants, once it happens.
    pub fn await_that<T>(&self, what: &str, mut pick: impl FnMut(&What) -> Option<T>) -> T {
        soon(what, || self.shared.lock().seen.iter().find_map(|seen| pick(&seen.what)))
    }

    /// Frames of this type from nodes.
    pub fn frames(&self, kind: &str) -> Vec<Value> {
        self.all(|what| match what {
            What::In(frame) if frame["type"] == kind => Some(frame.clone()),
            _ => None,
        })
    }

    /// The first frame of this type from a node, once it comes.
    pub fn frame(&self, kind: &str) -> Value {
        soon(kind, || self.frames(kind).into_iter().next())
    }

    /// When `agent` was first acked up to `seq` or further, once it is, in nanoseconds since 1970.
    pub fn acked(&self, agent: &str, seq: u64) -> u64 {
        soon(&format!("the ack of {agent}'s {seq}"), || self.acked_yet(agent, seq))
    }

    /// When `agent` was first acked up to `seq` or further, if it was.
    pub fn acked_yet(&self, agent: &str, seq: u64) -> Option<u64> {
        let inner = self.shared.lock();
        inner.seen.iter().find_map(|seen| match &seen.what {
            What::In(frame) => {
                let ack = frame["type"] == "delivery.ack" && frame["agent"] == agent;
                let fits = ack && frame["up_to_seq"].as_u64().is_some_and(|acked| acked >= seq);
                fits.then_some(seen.at_ns)
            }
            _ => None,
        })
    }

    /// How far `agent` is acked at the engine.
    pub fn acked_up_to(&self, agent: &str) -> u64 {
        let inner = self.shared.lock();
        let id = inner.engine.agent_id(agent);
        id.map_or(0, |id| inner.engine.ack_cursor(&id))
    }

    /// Sends all these direct messages, recipient and text, as one burst.
    ///
    /// # Panics
    /// When the engine refuses one.
    pub fn dm_all(&self, from: &Sender, messages: &[(&str, String)]) {
        self.act(|model, now| {
            for (to, text) in messages {
                let body = json!({ "to": to, "text": text }).to_string();
                let request = HttpRequest {
                    method: "POST",
                    path: "/v1/dm",
                    bearer: Some(from.token()),
                    headers: &[],
                    body: body.as_bytes(),
                };
                let response = model.http(now, request);
                assert_eq!(response.status, 201, "{}", response.body);
            }
        });
    }

    /// The id of an agent.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn agent_id(&self, name: &str) -> String {
        let inner = self.shared.lock();
        inner.engine.agent_id(name).expect("the agent exists")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that failed may have held it; the others must not fail for that.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn see(&mut self, what: What) {
        self.see_at(now_ns(), what);
    }

    fn see_at(&mut self, at_ns: u64, what: What) {
        self.seen.push(Seen { at_ns, what });
    }

    fn http(&mut self, request: &crate::http::Request) -> (u16, String) {
        let scripted = self.script.http.as_mut().and_then(|script| script(request));
        let (status, body) = scripted.unwrap_or_else(|| {
            let headers: Vec<_> = request.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let response = self.engine.http(
                now_ms(),
                HttpRequest {
                    method: &request.method,
                    path: &request.path,
                    bearer: request.bearer(),
                    headers: &headers,
                    body: &request.body,
                },
            );
            (response.status, response.body)
        });
        let line = format!("{} {}", request.method, request.path);
        self.see(What::Http { line, status });
        (status, body)
    }

    /// Sends what the model has to say, as the script lets it.
    fn hand_out(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { connection, text } => {
                    let texts = match &mut self.script.out {
                        Some(script) => script(text),
                        None => vec![text],
                    };
                    for text in texts {
                        self.see(What::Out(serde_json::from_str(&text).unwrap_or_default()));
                        if let Some(writer) = self.sockets.get_mut(&connection) {
                            let _ = writer.text(&text);
                        }
                    }
                }
                Output::Close { connection, code, reason } => {
                    if let Some(mut writer) = self.sockets.remove(&connection) {
                        let _ = writer.close(code, reason);
                    }
                }
            }
        }
        for record in self.engine.drain_journal() {
            self.see(What::Model(record.event));
        }
    }
}

fn now_ms() -> i64 {
    (now_ns() / 1_000_000).cast_signed()
}
