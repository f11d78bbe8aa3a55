//! An engine that answers as it is told to.

use super::{Event, Rig};
use relay_core::CallRequest;
use relay_core::ids::{CallId, LinkId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// What happens to an attempt to connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    Accept,
    Status(u16),
    /// No answer: the test decides.
    Hold,
}

/// What happens to `node.register`, after the scripted refusals.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registers {
    Confirm,
    Hold,
}

/// What happens to `agent.register`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agents {
    Confirm,
    Refuse(&'static str),
    Hold,
}

/// What happens to a mint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mints {
    Token,
    Status(u16),
    Hold,
}

pub(crate) struct Engine {
    pub(crate) upgrade: Upgrade,
    /// Answers to the next connection attempts, before `upgrade` applies.
    pub(crate) upgrades: VecDeque<Upgrade>,
    pub(crate) registers: Registers,
    /// Codes with which the next `node.register` frames are refused.
    pub(crate) register_refusals: VecDeque<&'static str>,
    pub(crate) agents: Agents,
    pub(crate) inventories: bool,
    /// `delivery_ack_seq` of agents' registrations.
    pub(crate) cursor: Option<u64>,
    pub(crate) mints: Mints,
    /// The status of `POST /v1/agents` for the broker's own agent.
    pub(crate) own_agent: u16,
    pub(crate) pongs: bool,
    /// Identities by name, kept as an upserting engine keeps them.
    pub(crate) ids: BTreeMap<String, String>,
    pub(crate) minted: usize,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            upgrade: Upgrade::Accept,
            upgrades: VecDeque::new(),
            registers: Registers::Confirm,
            register_refusals: VecDeque::new(),
            agents: Agents::Confirm,
            inventories: true,
            cursor: Some(0),
            mints: Mints::Token,
            own_agent: 201,
            pongs: true,
            ids: BTreeMap::new(),
            minted: 0,
        }
    }
}

/// One HTTP call of the broker.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) bearer: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Rig {
    pub(super) fn on_open(&mut self, link: LinkId) {
        let upgrade = self.engine.upgrades.pop_front().unwrap_or(self.engine.upgrade);
        match upgrade {
            Upgrade::Accept => self.due.push_back(Event::Up(link)),
            Upgrade::Status(status) => self.due.push_back(Event::Refused(link, status)),
            Upgrade::Hold => {}
        }
    }

    pub(super) fn on_frame(&mut self, link: LinkId, frame: &Value) {
        let id = frame["id"].clone();
        let answer = match frame["type"].as_str().unwrap() {
            "node.register" => match self.engine.register_refusals.pop_front() {
                // An engine that cannot read a frame does not know its id.
                Some("invalid_message") => Some(error(&json!("minted"), "invalid_message")),
                Some(code) => Some(error(&id, code)),
                None if self.engine.registers == Registers::Hold => None,
                None => Some(reply(&id, json!({ "id": frame["node_id"], "name": frame["name"] }))),
            },
            "inventory.sync" if self.engine.inventories => Some(reply(&id, json!({}))),
            "agent.register" | "agent.recover" => self.on_agent(frame),
            _ => None,
        };
        if let Some(answer) = answer {
            self.due.push_back(Event::Text(link, answer));
        }
    }

    fn on_agent(&mut self, frame: &Value) -> Option<String> {
        let name = frame["name"].as_str().unwrap();
        match self.engine.agents {
            Agents::Hold => None,
            Agents::Refuse(code) if frame["type"] == "agent.register" => Some(error(&frame["id"], code)),
            Agents::Confirm | Agents::Refuse(_) => {
                let data = self.identity(name);
                Some(reply(&frame["id"], data))
            }
        }
    }

    /// What the engine says of an agent that it has registered.
    pub(crate) fn identity(&mut self, name: &str) -> Value {
        let next = 100 + self.engine.ids.len();
        let id = self.engine.ids.entry(name.into()).or_insert_with(|| next.to_string());
        let mut data = json!({ "agent_id": id, "name": name, "token": format!("at_live_{id}{id}{id}") });
        if let Some(cursor) = self.engine.cursor {
            data["delivery_ack_seq"] = cursor.into();
        }
        data
    }

    pub(super) fn on_call(&mut self, id: CallId, request: CallRequest) {
        let path = request.url.strip_prefix(&self.config.base_url).unwrap().to_string();
        let body = request.body.as_deref().map_or(Value::Null, |body| serde_json::from_str(body).unwrap());
        let headers = request.headers.iter();
        let call = Call {
            id,
            method: request.method,
            bearer: request.bearer.map(|secret| secret.expose().to_string()).unwrap_or_default(),
            headers: headers.map(|(name, value)| (name.to_string(), value.expose().to_string())).collect(),
            path,
            body,
        };
        let own = call.path == "/v1/agents" && call.body["type"] == "human";
        if own {
            let name = call.body["name"].clone();
            let data = json!({
                "id": "1", "name": name, "token": "at_live_00000000000000aa", "workspace_id": "ws_1",
            });
            self.answer_later(id, self.engine.own_agent, data);
        } else if call.path == "/v1/nodes" {
            match self.engine.mints {
                Mints::Hold => {}
                Mints::Status(status) => self.answer_later(id, status, Value::Null),
                Mints::Token => {
                    self.engine.minted += 1;
                    let token = format!("nt_live_{:016x}", self.engine.minted);
                    let data = json!({ "id": call.body["node_id"], "token": token });
                    self.answer_later(id, 201, data);
                }
            }
        }
        self.calls.push(call);
    }

    fn answer_later(&mut self, call: CallId, status: u16, data: Value) {
        let body = envelope(status, data, &format!("code_{status}"));
        self.due.push_back(Event::Answered(call, Ok((status, body))));
    }

    /// Answers a call that the script leaves open.
    pub(crate) fn answer(&mut self, call: CallId, status: u16, data: Value) {
        self.answer_later(call, status, data);
        self.settle();
    }

    /// Refuses a call with this code.
    pub(crate) fn refuse(&mut self, call: CallId, status: u16, code: &str) {
        self.feed(Event::Answered(call, Ok((status, envelope(status, Value::Null, code)))));
    }
}

fn envelope(status: u16, data: Value, code: &str) -> String {
    if status < 300 {
        json!({ "ok": true, "data": data }).to_string()
    } else {
        json!({ "ok": false, "error": { "code": code, "message": "scripted refusal" } }).to_string()
    }
}

pub(crate) fn reply(id: &Value, data: Value) -> String {
    json!({ "v": 1, "type": "reply", "id": id, "ok": true, "data": data }).to_string()
}

pub(crate) fn error(id: &Value, code: &str) -> String {
    json!({ "v": 1, "type": "error", "id": id, "ok": false, "code": code, "message": "scripted" }).to_string()
}
