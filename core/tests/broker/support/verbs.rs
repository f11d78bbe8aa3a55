//! What tests say: short words for common steps and questions.

use super::engine::{self, Call};
use super::{Event, Program, Registers, Rig};
use relay_core::ids::{LinkId, ProcessId, RequestId};
use relay_core::time::Span;
use relay_core::{Auth, Input};
use serde_json::{Value, json};

/// An agent that runs.
#[derive(Clone)]
pub(crate) struct Spawned {
    pub(crate) process: ProcessId,
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Rig {
    // The local API.

    /// Makes a request with the right key; its number.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &Value) -> u64 {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_as(Auth::Ok, method, target, false, text.as_bytes())
    }

    pub(crate) fn ask_as(
        &mut self,
        auth: Auth,
        method: &str,
        target: &str,
        upgrade: bool,
        body: &[u8],
    ) -> u64 {
        let number = self.next_request();
        let request = RequestId(number);
        self.handle(Input::Api { request, auth, method, target, upgrade, body });
        self.settle();
        number
    }

    /// The only answer to a request.
    pub(crate) fn reply_to(&self, request: u64) -> Option<(u16, Value)> {
        let replies = self.replies.get(&request)?;
        assert_eq!(replies.len(), 1, "request {request} was answered more than once: {replies:?}");
        let (status, body) = &replies[0];
        Some((*status, serde_json::from_str(body).unwrap_or_else(|_| json!(body))))
    }

    /// Asks for what is answered at once.
    pub(crate) fn get(&mut self, target: &str) -> (u16, Value) {
        let request = self.ask("GET", target, &Value::Null);
        self.reply_to(request).expect("an answer at once")
    }

    pub(crate) fn health(&mut self) -> Value {
        let (status, health) = self.get("/health");
        assert_eq!(status, 200);
        health
    }

    pub(crate) fn delivery_state(&mut self) -> String {
        self.health()["nodeDelivery"]["state"].as_str().unwrap().to_string()
    }

    /// Asks for an agent that runs `cat`.
    pub(crate) fn ask_spawn(&mut self, name: &str) -> u64 {
        self.ask("POST", "/api/spawn", &json!({ "name": name, "cli": "cat" }))
    }

    /// Starts an agent and waits until it takes messages; forgets the frames that led there.
    pub(crate) fn spawn(&mut self, name: &str) -> Spawned {
        self.spawn_cli(name, "cat")
    }

    /// Starts an agent that does not go when it is asked to.
    pub(crate) fn spawn_immortal(&mut self, name: &str) -> Spawned {
        self.next_program = Program { mortal: false, ..Program::cat() };
        self.spawn(name)
    }

    pub(crate) fn spawn_cli(&mut self, name: &str, cli: &str) -> Spawned {
        let request = self.ask("POST", "/api/spawn", &json!({ "name": name, "cli": cli }));
        let process = self.children.last().expect("a child").0;
        self.advance(Span::millis(2_100));
        let (status, body) = self.reply_to(request).expect("an answer");
        assert_eq!(status, 200, "{body}");
        self.sent.clear();
        Spawned { process, id: self.engine.ids[name].clone(), name: name.into() }
    }

    // The link.

    pub(crate) fn link(&self) -> LinkId {
        self.opens.last().expect("a link").link
    }

    /// A frame of the engine.
    pub(crate) fn frame(&mut self, frame: &Value) {
        self.feed(Event::Text(self.link(), frame.to_string()));
    }

    pub(crate) fn reply(&mut self, id: &Value, data: Value) {
        self.feed(Event::Text(self.link(), engine::reply(id, data)));
    }

    pub(crate) fn error(&mut self, id: &Value, code: &str) {
        self.feed(Event::Text(self.link(), engine::error(id, code)));
    }

    /// The engine accepts the latest snapshot.
    pub(crate) fn accept_inventory(&mut self) {
        let id = self.last_sent("inventory.sync")["id"].clone();
        self.reply(&id, json!({}));
    }

    /// The engine refuses the latest snapshot, because another node has one of its agents.
    pub(crate) fn refuse_inventory(&mut self, message: &str) {
        let id = self.last_sent("inventory.sync")["id"].clone();
        self.frame(&json!({
            "v": 1, "type": "error", "id": id, "ok": false, "code": "agent_location_conflict", "message": message,
        }));
    }

    /// The engine cuts the connection, and the broker comes back.
    pub(crate) fn reconnect(&mut self) {
        let opens = self.opens.len();
        self.cut();
        for _ in 0..60 {
            if self.opens.len() > opens {
                return self.advance(Span::millis(1));
            }
            self.advance(Span::millis(1_000));
        }
        panic!("no new connection");
    }

    /// A new link whose registration is not confirmed yet; what is returned does that.
    pub(crate) fn unconfirmed(&mut self) -> impl Fn(&mut Self) + use<> {
        self.engine.registers = Registers::Hold;
        self.reconnect();
        let register = self.last_sent("node.register");
        self.sent.clear();
        move |rig| rig.reply(&register["id"], json!({ "id": register["node_id"] }))
    }

    /// A new link whose registration was confirmed at this moment.
    pub(crate) fn just_confirmed(&mut self) {
        let confirm = self.unconfirmed();
        confirm(self);
    }

    /// Makes the broker give its link up, which brings on what the engine has sent; the next one is as good as
    /// ever.
    pub(crate) fn give_up(&mut self) -> LinkId {
        let given_up = self.link();
        (self.engine.pongs, self.engine.inventories, self.hold_downs) = (false, false, true);
        while self.closes.is_empty() {
            self.advance(Span::millis(10));
        }
        (self.engine.pongs, self.engine.inventories) = (true, true);
        self.sent.clear();
        given_up
    }

    pub(crate) fn cut(&mut self) {
        self.feed(Event::Down(self.link()));
    }

    /// A message for an agent.
    pub(crate) fn deliver(&mut self, agent: &Spawned, seq: u64, text: &str) {
        self.frame(&deliver(agent, seq, text));
    }

    pub(crate) fn invoke(&mut self, invocation: &str, action: &str, input: Value) {
        self.frame(&invoke(invocation, action, input));
    }

    // What was sent.

    /// Which of the frames since the last look was the first of this type.
    pub(crate) fn place_of(&self, kind: &str) -> usize {
        self.types().iter().position(|other| other == kind).expect("it was sent")
    }

    pub(crate) fn types(&self) -> Vec<String> {
        let kind = |frame: &Value| frame["type"].as_str().unwrap().to_string();
        self.sent.iter().map(kind).collect()
    }

    pub(crate) fn sent(&self, kind: &str) -> Vec<Value> {
        let of_kind = self.sent.iter().filter(|frame| frame["type"] == kind);
        of_kind.cloned().collect()
    }

    pub(crate) fn last_sent(&self, kind: &str) -> Value {
        self.sent(kind).pop().unwrap_or_else(|| panic!("no {kind} in {:?}", self.types()))
    }

    /// The acks of an agent since frames were last forgotten.
    pub(crate) fn acks(&self, agent: &Spawned) -> Vec<u64> {
        let acks = self.sent("delivery.ack");
        let of_agent = acks.iter().filter(|ack| ack["agent"] == agent.name.as_str());
        of_agent.map(|ack| ack["up_to_seq"].as_u64().unwrap()).collect()
    }

    pub(crate) fn last_ack(&self, agent: &Spawned) -> u64 {
        self.acks(agent).last().copied().unwrap_or(0)
    }

    pub(crate) fn calls_to(&self, path: &str) -> Vec<&Call> {
        self.calls.iter().filter(|call| call.path == path).collect()
    }

    /// The bodies of the messages typed into an agent's terminal, in order; each is one word.
    pub(crate) fn typed(&mut self, agent: &Spawned) -> Vec<String> {
        let text = self.program(agent.process).text();
        let bodies = text.split("Relay message from ").skip(1).map(|message| {
            let body = message.split_once("]: ").expect("a header").1;
            body.trim_end_matches(['\r', '\n']).replace("\x1b[201~", "").trim_end().to_string()
        });
        bodies.collect()
    }

    pub(crate) fn said(&self, words: &str) -> usize {
        self.logs.iter().filter(|(_, message)| message.contains(words)).count()
    }

    /// Follows the event stream from its beginning.
    pub(crate) fn follow(&mut self) {
        self.ask_as(Auth::Ok, "GET", "/ws", true, b"");
    }

    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.stream_texts.iter().filter(|event| event["kind"] == kind);
        events.cloned().collect()
    }
}

/// A registered broker with one agent whose cursor the engine has stated.
pub(crate) fn with_agent(cursor: Option<u64>) -> (Rig, Spawned) {
    let mut rig = Rig::online();
    rig.engine.cursor = cursor;
    let bob = rig.spawn("bob");
    (rig, bob)
}

/// An agent whose engine speaks the older dialect, states no cursors, and has not answered the latest snapshot.
pub(crate) fn with_agent_of_older_engine() -> (Rig, Spawned) {
    let mut rig = Rig::with(|_, engine| {
        engine.register_refusals = ["invalid_message"].into();
        engine.cursor = None;
    })
    .ready();
    let bob = rig.spawn("bob");
    rig.engine.inventories = false;
    rig.advance(Span::secs(61));
    (rig, bob)
}

/// Starts an agent and does not wait for it.
pub(crate) fn just_started(cli: &str) -> (Rig, Spawned) {
    let mut rig = Rig::online();
    rig.ask("POST", "/api/spawn", &json!({ "name": "bob", "cli": cli }));
    let process = rig.children[0].0;
    let bob = Spawned { process, id: rig.engine.ids["bob"].clone(), name: "bob".into() };
    rig.sent.clear();
    (rig, bob)
}

/// A `deliver` frame of a channel message.
pub(crate) fn deliver(agent: &Spawned, seq: u64, text: &str) -> Value {
    let message = format!("{}", 900 + seq);
    json!({
        "v": 1, "type": "deliver", "delivery_id": format!("del_{message}_{}", agent.id),
        "agent_id": agent.id, "agent": agent.name, "msg_id": message, "seq": seq, "mode": "wait",
        "payload": { "type": "message.created", "data": {
            "id": message, "agent_name": "alice", "text": text, "channel_name": "general", "from_name": "alice",
        } },
    })
}

/// An `action.invoke` frame.
pub(crate) fn invoke(invocation: &str, action: &str, input: Value) -> Value {
    json!({ "v": 1, "type": "action.invoke", "invocation_id": invocation, "action": action, "input": input })
}

/// An event outside of the sequence.
pub(crate) fn fan_out(agent: &Spawned, delivery: &str, message: &str, kind: &str) -> Value {
    json!({
        "v": 1, "type": "deliver", "delivery_id": delivery, "agent_id": agent.id, "agent": agent.name,
        "msg_id": message, "seq": 0, "mode": "wait",
        "payload": { "type": kind, "data": { "message_id": message, "output": "result" } },
    })
}
