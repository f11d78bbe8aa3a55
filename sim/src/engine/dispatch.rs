//! Dispatch: frames that leave for a node.
//!
//! Owns: which socket a frame for an agent goes to, live dispatch, and fan-out events.
//! Must not know: why something is sent.
//!
//! 1. A frame goes to the socket of the agent's node and provider, if that is open; with the cursor
//!    capability only once the agent is ready on it.
//! 2. A row that was written is `delivered`, whatever becomes of the bytes.

use super::ids::AgentKey;
use super::journal::Event;
use super::losses::Loss;
use super::mailbox::Row;
use super::messages::raw;
use super::state::Agent;
use super::{ConnectionId, Engine, Output};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A queued row is tried again by the sweep after this.
const REDRIVE_MS: i64 = 30_000;

#[derive(serde::Serialize)]
struct Deliver<'a> {
    v: u8,
    r#type: &'a str,
    delivery_id: &'a str,
    agent_id: &'a str,
    agent: &'a str,
    msg_id: &'a str,
    seq: u64,
    mode: &'a str,
    payload: &'a RawValue,
}

impl Engine {
    /// The socket that an agent can be sent to (invariant 1).
    pub(super) fn socket_of(&self, key: AgentKey) -> Option<ConnectionId> {
        let agent = &self.state.agents[key.0];
        let node = self.state.node_of(key)?;
        let connection = self.state.nodes[node.0].providers.get(&agent.provider)?.connection?;
        let state = self.connections.get(&connection)?;
        let open = agent.bound && (!state.cursor || state.ready.contains(&key));
        open.then_some(connection)
    }

    /// The first dispatch of a row.
    pub(super) fn dispatch_live(&mut self, now: i64, key: AgentKey, seq: u64) {
        let before = self.out.len();
        if !self.dispatch(now, key, seq, false) {
            let due = self.options.profile.redrive.then_some(now + REDRIVE_MS);
            if let Some(row) = self.state.agents[key.0].mailbox.get_mut(seq) {
                row.next_attempt_at = due;
            }
            return;
        }
        if self.reorder && self.out.len() == before + 1 {
            self.overtake(key);
        }
    }

    /// Holds every second frame of an agent back until the next one has left.
    fn overtake(&mut self, key: AgentKey) {
        match self.held_back.take() {
            Some((held, frame)) if held == key.0 => self.out.push_back(frame),
            other => {
                self.held_back = self.out.pop_back().map(|frame| (key.0, frame));
                self.out.extend(other.map(|(_, frame)| frame));
            }
        }
    }

    /// Lets frames go that waited to be overtaken.
    pub fn release_held_back(&mut self, now_ms: i64) {
        if let Some((_, frame)) = self.held_back.take() {
            self.out.push_back(frame);
        }
        self.release_replays(now_ms);
    }

    /// Writes a row to its agent's socket; false if there is none, or the send fails (invariant 2).
    pub(super) fn dispatch(&mut self, now: i64, key: AgentKey, seq: u64, replay: bool) -> bool {
        let Some(connection) = self.socket_of(key) else {
            return false;
        };
        let row = self.state.agents[key.0].mailbox.get(seq);
        if row.is_none_or(|row| !row.state.is_open()) {
            return true;
        }
        let loss = self.loss_of_row(now, key, seq);
        if loss == Some(Loss::Failed) {
            self.note_lost(now, key, seq, Loss::Failed);
            return false;
        }
        let agent = &mut self.state.agents[key.0];
        let Some(row) = agent.mailbox.get(seq) else {
            return true;
        };
        let text = frame(agent, row);
        let event = Event::Delivered {
            connection,
            agent_id: agent.id.clone(),
            seq,
            delivery_id: row.delivery_id.clone(),
            msg_id: row.msg_id.clone(),
            replay,
        };
        agent.mailbox.mark_delivered(seq);
        self.journal.push(now, event);
        match loss {
            Some(loss) => self.note_lost(now, key, seq, loss),
            None => self.out.push_back(Output::Send { connection, text }),
        }
        true
    }

    /// An event outside of the sequence, if the agent can be reached right now.
    pub(super) fn send_event(
        &mut self,
        now: i64,
        key: AgentKey,
        kind: &str,
        event: &str,
        msg_id: &str,
        data: &Value,
    ) {
        self.send_payload(now, key, kind, event, msg_id, &raw(kind, data));
    }

    /// The same with a payload that others get, too.
    pub(super) fn send_payload(
        &mut self,
        now: i64,
        key: AgentKey,
        kind: &str,
        event: &str,
        msg_id: &str,
        payload: &RawValue,
    ) {
        let Some(connection) = self.socket_of(key) else {
            return;
        };
        let agent = &self.state.agents[key.0];
        let folded = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let delivery_id = format!("evt_{}_{}_{}", folded(kind), folded(event), agent.id);
        let deliver = Deliver {
            v: 1,
            r#type: "deliver",
            delivery_id: &delivery_id,
            agent_id: &agent.id,
            agent: &agent.name,
            msg_id,
            seq: 0,
            mode: "wait",
            payload,
        };
        let text = serde_json::to_string(&deliver).expect("a frame is JSON");
        let event = Event::Delivered {
            connection,
            agent_id: agent.id.clone(),
            seq: 0,
            delivery_id: delivery_id.into(),
            msg_id: msg_id.into(),
            replay: false,
        };
        self.journal.push(now, event);
        match self.loss(now) {
            Some(loss) => self.note_lost(now, key, 0, loss),
            None => self.out.push_back(Output::Send { connection, text }),
        }
    }

    /// Tells an agent that it may not invoke an action, and why: outside of the sequence, under the action's name.
    pub fn deny_action(&mut self, now_ms: i64, agent_id: &str, action: &str, why: &str) {
        if let Some(key) = self.state.agent_by_id(agent_id) {
            let caller = self.state.agents[key.0].name.clone();
            let data = json!({ "action_name": action, "caller_name": &*caller, "error": why });
            let event = format!("{action}_{agent_id}");
            self.send_event(now_ms, key, "action.denied", &event, action, &data);
        }
    }

    /// Tells an agent that an action it asked for has ended on another node, with this output.
    pub fn finish_elsewhere(&mut self, now_ms: i64, agent_id: &str, output: &Value) {
        if let Some(key) = self.state.agent_by_id(agent_id) {
            let id = format!("inv_{}", self.ids.next(now_ms));
            let data = json!({
                "invocation_id": id, "action_name": "look-up", "status": "completed", "output": output,
                "error": null,
            });
            self.send_event(now_ms, key, "action.completed", &id, &id, &data);
        }
    }

    /// What an engine of later years may send an agent: a row whose payload is of a type that there is
    /// not yet, and a frame of such a type.
    pub fn send_novelty(&mut self, now_ms: i64, agent_id: &str) {
        let Some(key) = self.state.agent_by_id(agent_id) else {
            return;
        };
        self.store_novelty(now_ms, key);
        if let Some(connection) = self.socket_of(key) {
            let frame =
                json!({ "v": 1, "type": "agent.dreams", "agent_id": agent_id, "of": { "sheep": [1, 2] } });
            self.out.push_back(Output::Send { connection, text: frame.to_string() });
        }
    }

    /// `context.update` to the nodes of the agents concerned.
    pub(super) fn send_context(&mut self, topic: &str, event: &str, agents: &[AgentKey], data: &Value) {
        for key in agents {
            let Some(connection) = self.socket_of(*key) else {
                continue;
            };
            let ids = [&*self.state.agents[key.0].id];
            let frame = json!({ "v": 1, "type": "context.update", "topic": topic, "event": event, "agent_ids": ids, "data": data });
            self.out.push_back(Output::Send { connection, text: frame.to_string() });
        }
    }
}

fn frame(agent: &Agent, row: &Row) -> String {
    let deliver = Deliver {
        v: 1,
        r#type: "deliver",
        delivery_id: &row.delivery_id,
        agent_id: &agent.id,
        agent: &agent.name,
        msg_id: &row.msg_id,
        seq: row.seq,
        mode: row.mode.as_str(),
        payload: &row.payload,
    };
    serde_json::to_string(&deliver).expect("a frame is JSON")
}
