//! Frames from a node.
//!
//! Owns: what each frame type does, and what is answered.
//! Must not know: HTTP.
//!
//! 1. A frame that does not fit its schema is answered `invalid_message` with an id of its own making;
//!    no error closes the socket.
//! 2. `node.register`, `agent.register`, `agent.recover` and `inventory.sync` are answered; heartbeats,
//!    acks and results never are, whatever they say.
//! 3. The reply comes before any frame that it makes possible.
//! 4. A frame acts as the provider that its connection is bound to, else as the one it names, else as
//!    `default`.

use super::ids::{AgentKey, NodeKey};
use super::journal::Event;
use super::nodes::DEFAULT_PROVIDER;
use super::profile::{Attach, Registration, Replay};
use super::schema;
use super::state::Place;
use super::{ConnectionId, Engine, Output};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The capability by which a node asks to be told cursors and to be sent nothing before.
const CURSOR: &str = "relay:delivery-cursor-v1";

/// A request that could not be carried out, for no fault of its own.
pub const OVERLOADED: &str = "node_control_failed";

/// A refused frame: code and message.
pub(super) type Fault = (&'static str, String);

/// One frame with what is known about its sender.
pub(super) struct Inbound {
    pub(super) connection: ConnectionId,
    pub(super) node: NodeKey,
    pub(super) provider: String,
    id: Option<String>,
    pub(super) frame: Map<String, Value>,
}

impl Inbound {
    fn text(&self, key: &str) -> &str {
        self.frame.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

/// The answer to a request.
#[derive(Serialize)]
struct Reply<'a> {
    data: &'a Value,
    id: &'a str,
    ok: bool,
    r#type: &'static str,
    v: u8,
}

impl Engine {
    /// One text message from a node.
    pub fn text(&mut self, now_ms: i64, connection: ConnectionId, text: &str) {
        self.touch(now_ms);
        let Some(state) = self.connections.get(&connection) else {
            return;
        };
        let (node, bound) = (state.node, state.provider.clone());
        let (kind, frame) = match schema::check(text, &self.options.profile.frames) {
            Ok(checked) => checked,
            Err(reason) => {
                let id = self.ids.next(now_ms).to_string();
                return self.fault(now_ms, connection, id, ("invalid_message", reason));
            }
        };
        let hint = frame.get("provider").and_then(|provider| provider["name"].as_str()).map(str::to_owned);
        let provider = bound.or(hint).unwrap_or_else(|| DEFAULT_PROVIDER.to_owned());
        let slot = self.state.nodes[node.0].providers.get_mut(&provider);
        if let Some(slot) = slot.filter(|slot| slot.connection == Some(connection)) {
            slot.last_frame = now_ms;
        }
        let id = frame.get("id").and_then(Value::as_str).map(str::to_owned);
        let inbound = Inbound { connection, node, provider, id, frame };
        if let Err(fault) = self.handle(now_ms, &kind, &inbound) {
            let id = inbound.id.clone().unwrap_or_else(|| self.ids.next(now_ms).to_string());
            self.fault(now_ms, connection, id, fault);
        }
    }

    fn handle(&mut self, now: i64, kind: &str, inbound: &Inbound) -> Result<(), Fault> {
        if now < self.overloaded_until
            && matches!(kind, "agent.register" | "agent.recover" | "inventory.sync")
        {
            return Err((OVERLOADED, "the database does not answer".into()));
        }
        match kind {
            "node.register" => self.node_register(now, inbound),
            "node.heartbeat" => {
                self.heartbeat(now, inbound);
                Ok(())
            }
            "node.deregister" => {
                self.node_deregister(now, inbound);
                Ok(())
            }
            "agent.register" => self.agent_register(now, inbound),
            "agent.recover" => self.agent_recover(now, inbound),
            "agent.deregister" => {
                self.agent_deregister(now, inbound);
                Ok(())
            }
            "delivery.ack" => {
                self.ack(now, inbound);
                Ok(())
            }
            "action.result" => {
                self.result(now, inbound.connection, inbound.node, &inbound.provider, &inbound.frame);
                Ok(())
            }
            "inventory.sync" => self.inventory(now, inbound),
            other => Err((OVERLOADED, format!("{other} is not modelled"))),
        }
    }

    fn fault(&mut self, now: i64, connection: ConnectionId, id: String, (code, reason): Fault) {
        let frame =
            json!({ "v": 1, "type": "error", "id": id, "ok": false, "code": code, "message": reason });
        self.journal.push(now, Event::Rejected { connection, code, reason });
        self.out.push_back(Output::Send { connection, text: frame.to_string() });
    }

    pub(super) fn reply(&mut self, now: i64, inbound: &Inbound, data: &Value) {
        let id = inbound.id.clone().unwrap_or_else(|| self.ids.next(now).to_string());
        let frame = Reply { data, id: &id, ok: true, r#type: "reply", v: 1 };
        let text = serde_json::to_string(&frame).expect("a value is JSON");
        self.out.push_back(Output::Send { connection: inbound.connection, text });
    }

    // The node.

    fn node_register(&mut self, now: i64, inbound: &Inbound) -> Result<(), Fault> {
        let (provider, instance) = declared_provider(inbound);
        if let Attach::AtRegister { window_ms } = self.options.profile.attach {
            self.arbitrate(now, inbound, &provider, &instance, window_ms)?;
        }
        let node = &self.state.nodes[inbound.node.0];
        if inbound.text("node_id") != node.id {
            return Err(("node_id_mismatch", "the token belongs to another node".into()));
        }
        let name = inbound.text("name");
        let holder = self.state.node_by_name(node.workspace, name);
        if holder.is_some_and(|holder| holder != inbound.node) {
            return Err(("node_name_conflict", format!("node name {name:?} is already enrolled")));
        }
        self.rename_node(inbound.node, name);
        self.attach(now, inbound.connection, &provider, Some(instance));
        let names = capabilities(inbound);
        let cursor = self.options.profile.cursor && names.iter().any(|name| name == CURSOR);
        if let Some(state) = self.connections.get_mut(&inbound.connection) {
            state.cursor = cursor;
            if !self.options.profile.reregister_keeps_ready {
                state.ready.clear();
            }
        }
        let slot = self.provider_of(inbound.node, &provider);
        slot.handlers_live = !names.is_empty();
        slot.capabilities.clone_from(&names);
        slot.max_agents = inbound.frame.get("max_agents").and_then(schema::whole).unwrap_or(0);
        self.aggregate_capacity(inbound.node);
        let node = &mut self.state.nodes[inbound.node.0];
        (node.online, node.last_heartbeat) = (true, Some(now));
        node.version = Some(inbound.text("version").to_owned());
        let node_id = node.id.clone();
        self.journal.push(
            now,
            Event::NodeRegistered {
                connection: inbound.connection,
                node_id,
                provider: provider.clone(),
                cursor,
            },
        );
        let data = self.node_descriptor(inbound, &provider);
        self.reply(now, inbound, &data);
        self.drain_invocations(now, inbound.node, &provider);
        if !cursor {
            let agents =
                self.agents_of(inbound.node, self.options.profile.cursor.then_some(provider.as_str()));
            self.replay(now, inbound.connection, &agents);
        }
        Ok(())
    }

    /// Another instance that still speaks keeps its place.
    fn arbitrate(
        &self,
        now: i64,
        inbound: &Inbound,
        provider: &str,
        instance: &str,
        window_ms: i64,
    ) -> Result<(), Fault> {
        let Some(slot) = self.state.nodes[inbound.node.0].providers.get(provider) else {
            return Ok(());
        };
        let other = slot.connection.is_some_and(|connection| connection != inbound.connection);
        let same = slot.instance_id.as_deref().is_none_or(|bound| bound == instance);
        if other && !same && now - slot.last_frame < window_ms {
            return Err((
                "provider_instance_conflict",
                format!("provider {provider:?} is served by another instance"),
            ));
        }
        Ok(())
    }

    fn node_descriptor(&self, inbound: &Inbound, provider: &str) -> Value {
        let mut data = self.node_view(inbound.node);
        if self.options.profile.frames.providers {
            let instance = &self.state.nodes[inbound.node.0].providers[provider].instance_id;
            data["provider"] = json!({ "name": provider, "instance_id": instance });
            let declared = inbound.frame.get("capabilities").and_then(Value::as_array);
            let accepted = |capability: &Value| {
                let name = capability["name"].as_str().unwrap_or_default();
                let kind = capability["kind"].as_str().unwrap_or_else(|| implied_kind(name));
                json!({ "name": name, "kind": kind, "accepted": true })
            };
            data["accepted_capabilities"] = declared.into_iter().flatten().map(accepted).collect();
        }
        if self.options.profile.registration_contract {
            data["registration_contract"] = json!("create-only");
        }
        data
    }

    fn heartbeat(&mut self, now: i64, inbound: &Inbound) {
        let number = |key: &str| inbound.frame.get(key).and_then(schema::whole);
        let was_ready = self.is_ready(inbound.node);
        let slot = self.provider_of(inbound.node, &inbound.provider);
        slot.active_agents = number("active_agents").unwrap_or(0);
        slot.max_agents = number("max_agents").unwrap_or(slot.max_agents);
        slot.handlers_live = inbound.frame.get("handlers_live") == Some(&Value::Bool(true));
        slot.load = inbound.frame.get("load").and_then(Value::as_f64).unwrap_or(0.0);
        self.aggregate_capacity(inbound.node);
        let node = &mut self.state.nodes[inbound.node.0];
        (node.online, node.last_heartbeat, node.proved_life) = (true, Some(now), true);
        let returns = !was_ready && self.is_ready(inbound.node);
        if self.options.profile.drain_on_heartbeat || returns {
            self.drain_invocations(now, inbound.node, &inbound.provider);
        }
    }

    fn node_deregister(&mut self, now: i64, inbound: &Inbound) {
        if let Some(slot) = self.state.nodes[inbound.node.0].providers.get_mut(&inbound.provider) {
            (slot.connection, slot.handlers_live) = (None, false);
            slot.capabilities.clear();
        }
        self.lose(now, inbound.node, &inbound.provider);
    }

    // Agents.

    /// The agents of a node, or of one provider of it.
    pub(super) fn agents_of(&self, node: NodeKey, provider: Option<&str>) -> Vec<AgentKey> {
        let mut agents = self.state.agents_on(node);
        agents.retain(|key| provider.is_none_or(|provider| self.state.agents[key.0].provider == provider));
        agents
    }

    fn agent_register(&mut self, now: i64, inbound: &Inbound) -> Result<(), Fault> {
        let workspace = self.state.nodes[inbound.node.0].workspace;
        let name = inbound.text("name");
        if name.is_empty() || self.is_reserved(name) {
            return Err(("invalid_agent_name", "this name is reserved".into()));
        }
        let known = self.state.agent_by_name(workspace, name);
        if known.is_none() {
            self.check_room(None, inbound.node)?;
        }
        let key = match known {
            None => {
                let key = self.make_agent(now, workspace, name, "agent", json!({}));
                let wish = inbound.frame.get("auto_join_general").unwrap_or(&Value::Null);
                self.join_general(key, wish);
                key
            }
            Some(key) => {
                self.may_take_over(now, key, inbound.node)?;
                self.check_room(Some(key), inbound.node)?;
                self.renew_token(now, key);
                key
            }
        };
        self.seat(now, key, inbound);
        Ok(())
    }

    /// Whether an agent may come to live on a node.
    fn check_room(&self, key: Option<AgentKey>, node: NodeKey) -> Result<(), Fault> {
        if self.has_room(node) || key.is_some_and(|key| self.lives_on(key, node)) {
            return Ok(());
        }
        let limit = self.state.nodes[node.0].max_agents;
        Err(("node_capacity_exceeded", format!("the node has its {limit} agents")))
    }

    /// Whether `agent.register` may take a name that exists.
    fn may_take_over(&self, now: i64, key: AgentKey, node: NodeKey) -> Result<(), Fault> {
        let agent = &self.state.agents[key.0];
        if self.options.profile.registration == Registration::CreateOnly {
            return Err(("agent_already_exists", format!("agent {:?} already exists", agent.name)));
        }
        match agent.place {
            Place::Node(other) if agent.is_active(now) && other != node => {
                Err(("agent_location_conflict", format!("agent {:?} is active elsewhere", agent.name)))
            }
            _ => Ok(()),
        }
    }

    fn agent_recover(&mut self, now: i64, inbound: &Inbound) -> Result<(), Fault> {
        let workspace = self.state.nodes[inbound.node.0].workspace;
        let name = inbound.text("name");
        let Some(key) = self.state.agent_by_name(workspace, name) else {
            return Err(("agent_not_found", format!("no agent {name:?}")));
        };
        let agent = &self.state.agents[key.0];
        if *agent.id != *inbound.text("expected_agent_id") || agent.home != Some(inbound.node) {
            // It does not say which: neither is for a stranger to know.
            let reason = format!("{name:?} is not that agent, or not of this node");
            return Err(("agent_recovery_not_authorized", reason));
        }
        self.check_room(Some(key), inbound.node)?;
        self.renew_token(now, key);
        self.seat(now, key, inbound);
        Ok(())
    }

    /// An agent lives on this node's provider from now on: reply first, replay after.
    fn seat(&mut self, now: i64, key: AgentKey, inbound: &Inbound) {
        self.occupy(now, key, inbound.node, &inbound.provider);
        let agent = &mut self.state.agents[key.0];
        agent.home.get_or_insert(inbound.node);
        if let Some(invocation) = inbound.frame.get("invocation_id") {
            agent.metadata["invocation_id"] = invocation.clone();
        }
        let mut data = json!({ "agent_id": &*agent.id, "token": agent.token, "name": &*agent.name });
        let cursor = agent.mailbox.cursor();
        self.note_registered(now, key, Some(inbound.connection));
        if let Some(state) = self.connections.get_mut(&inbound.connection)
            && state.cursor
        {
            state.ready.insert(key);
            data["delivery_ack_seq"] = json!(cursor);
        }
        self.reply(now, inbound, &data);
        let agents = match self.options.profile.replay_on_register {
            Replay::Node => self.agents_of(inbound.node, None),
            Replay::Newly | Replay::Certified => vec![key],
        };
        self.replay(now, inbound.connection, &agents);
    }

    fn agent_deregister(&mut self, now: i64, inbound: &Inbound) {
        let key = self.state.agent_by_id(inbound.text("agent_id"));
        let here = key.filter(|key| self.state.agents[key.0].place == Place::Node(inbound.node));
        if let Some(key) = here {
            self.tell_exited(now, key, "deregistered");
            self.vacate(key);
            let agent = &mut self.state.agents[key.0];
            (agent.active, agent.place, agent.left) = (false, Place::Direct, Some(inbound.node));
            agent.provider = DEFAULT_PROVIDER.to_owned();
            if let Some(state) = self.connections.get_mut(&inbound.connection) {
                state.ready.remove(&key);
            }
        }
        if self.options.profile.deregister_reply && inbound.id.is_some() {
            self.reply(now, inbound, &json!({ "deregistered": here.is_some() }));
        }
    }

    fn ack(&mut self, now: i64, inbound: &Inbound) {
        let workspace = self.state.nodes[inbound.node.0].workspace;
        let up_to_seq = inbound.frame.get("up_to_seq").and_then(schema::whole).unwrap_or(0);
        let scoped = self.options.profile.cursor;
        let matches = |key: &AgentKey| {
            let provider = &self.state.agents[key.0].provider;
            self.state.node_of(*key) == Some(inbound.node) && (!scoped || *provider == inbound.provider)
        };
        let key = self.state.agent_by_name(workspace, inbound.text("agent")).filter(matches);
        if let Some(key) = key {
            let agent = &mut self.state.agents[key.0];
            let ended = agent.mailbox.ack(up_to_seq);
            agent.last_seen = now;
            if let Err(rows) = ended {
                let event =
                    Event::AckTooWide { connection: inbound.connection, agent: agent.name.to_string(), rows };
                self.journal.push(now, event);
            }
        }
        let matched = key.map(|key| self.state.agents[key.0].id.clone());
        let agent = inbound.text("agent").to_owned();
        self.journal.push(now, Event::Acked { connection: inbound.connection, agent, up_to_seq, matched });
    }
}

fn implied_kind(capability: &str) -> &'static str {
    match capability {
        "spawn" | "release" | CURSOR => "capacity",
        name if name.starts_with("spawn:") => "capacity",
        _ => "action",
    }
}

fn capabilities(inbound: &Inbound) -> Vec<String> {
    let list = inbound.frame.get("capabilities").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|capability| capability["name"].as_str())
        .map(str::to_owned)
        .collect()
}

/// The provider that a `node.register` is for, and its instance.
fn declared_provider(inbound: &Inbound) -> (String, String) {
    let given = |key: &str| Some(inbound.frame.get("provider")?[key].as_str()?.to_owned());
    (
        given("name").unwrap_or_else(|| DEFAULT_PROVIDER.to_owned()),
        given("instance_id").unwrap_or_else(|| format!("connection-{}", inbound.connection.0)),
    )
}
