//! Messages: who is sent what, and in which payload.
//!
//! Owns: posting, replying, reading, reacting; the payload shapes; fan-out events.
//! Must not know: sockets.
//!
//! 1. Recipients are those of the moment of sending, never the sender.
//! 2. A mailbox that is full skips its recipient; the sender still gets a 201 and is told afterwards.
//! 3. Fan-out events have sequence 0, carry the id of the message that they are about, are not stored and
//!    never sent again.

use super::Engine;
use super::http::{Answer, Call, Data, refuse};
use super::ids::{AgentKey, RoomKey, iso};
use super::journal::Event;
use super::mailbox::{Mode, Row, RowState};
use super::state::{Message, RoomKind};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

/// Messages that can still be replied to, read or reacted to; older ones are forgotten.
const MESSAGES_KEPT: usize = 10_000;

impl Engine {
    pub(super) fn post_message(&mut self, call: &Call<'_>, channel: &str) -> Answer {
        let (_, sender) = call.caller.agent()?;
        let room = self.channel(call, channel)?;
        let id = self.ids.next(call.now);
        let mode = mode(&call.body)?;
        let text = call.text("text")?;
        let mut data = self.channel_data(call, sender, id, text, mode);
        data["channel_id"] = json!(self.state.rooms[room.0].id);
        self.remember(room, id, id);
        let sender_name = &*self.state.agents[sender.0].name;
        let more = [("channel_name", channel), ("from_name", sender_name)];
        let payload = raw_with("message.created", &mut data, &more);
        self.deliver_to_room(call.now, room, Draft { id, sender, text, payload: &payload, mode });
        Ok((201, data.into()))
    }

    fn channel_data(&self, call: &Call<'_>, sender: AgentKey, id: u64, text: &str, mode: Mode) -> Value {
        let agent = &self.state.agents[sender.0];
        json!({
            "id": id.to_string(), "channel_id": null, "agent_id": &*agent.id, "agent_name": &*agent.name,
            "text": text, "blocks": call.body["blocks"],
            "metadata": metadata(call), "has_attachments": false,
            "thread_id": null, "created_at": iso(call.now), "mentions": mentions(text), "attachments": [],
            "injection_mode": mode.as_str(),
        })
    }

    pub(super) fn post_reply(&mut self, call: &Call<'_>, to: &str) -> Answer {
        let (workspace, sender) = call.caller.agent()?;
        let message = to.parse().ok().and_then(|id| self.state.messages.get(&id));
        let message = message.filter(|message| message.workspace == workspace);
        let Some((room, root)) = message.map(|message| (message.room, message.root)) else {
            return Err(refuse(404, "message_not_found", format!("no message {to:?}")));
        };
        let id = self.ids.next(call.now);
        let agent = &self.state.agents[sender.0];
        let place = &self.state.rooms[room.0];
        let text = call.text("text")?;
        let mut data = json!({
            "id": id.to_string(), "channel_id": place.channel_id(), "channel_name": place.name, "agent_id": &*agent.id,
            "agent_name": &*agent.name, "thread_id": root.to_string(), "text": text,
            "blocks": call.body["blocks"], "metadata": metadata(call), "has_attachments": false, "created_at": iso(call.now),
        });
        let payload = raw_with("thread.reply", &mut data, &[("from_name", &agent.name)]);
        self.remember(room, id, root);
        let draft = Draft { id, sender, text, payload: &payload, mode: Mode::Wait };
        self.deliver_to_room(call.now, room, draft);
        Ok((201, data.into()))
    }

    pub(super) fn post_dm(&mut self, call: &Call<'_>) -> Answer {
        let (_, sender) = call.caller.agent()?;
        let (to, text, mode) = (call.text("to")?, call.text("text")?, mode(&call.body)?);
        let own = &self.state.agents[sender.0];
        let recipient = if to == "@self" { sender } else { self.named(call, to)? };
        let (own_id, own_name) = (own.id.clone(), own.name.clone());
        let room = self.direct_room(call.now, sender, recipient);
        let id = self.ids.next(call.now);
        let id_text = id.to_string();
        let known_metadata = self.options.profile.dm_metadata.then(|| metadata(call));
        let mut data = Direct {
            attachments: [],
            conversation_id: &self.state.rooms[room.0].id,
            created_at: iso(call.now),
            from_agent_id: &own_id,
            from_name: None,
            id: &id_text,
            injection_mode: mode.as_str(),
            message: DirectMessage {
                agent_id: &own_id,
                agent_name: &own_name,
                attachments: [],
                id: &id_text,
                injection_mode: mode.as_str(),
                metadata: known_metadata.as_ref(),
                text,
            },
            metadata: known_metadata.as_ref(),
            text,
            to,
        };
        let answer = Data::of(&data);
        data.from_name = Some(&own_name);
        let payload = (recipient != sender).then(|| raw("dm.received", &data));
        self.remember(room, id, id);
        if let Some(payload) = payload {
            let delivery = format!("del_{}", self.ids.next(call.now));
            self.store(call.now, recipient, delivery, Draft { id, sender, text, payload: &payload, mode });
        }
        Ok((201, answer))
    }

    pub(super) fn post_group_message(&mut self, call: &Call<'_>, id: &str) -> Answer {
        let (workspace, sender) = call.caller.agent()?;
        let room = self.state.room_by_name(workspace, id);
        let room = room.filter(|key| self.state.rooms[key.0].kind != RoomKind::Channel);
        let room =
            room.ok_or_else(|| refuse(404, "conversation_not_found", format!("no conversation {id:?}")))?;
        let (text, mode) = (call.text("text")?, mode(&call.body)?);
        let own = &self.state.agents[sender.0];
        let message_id = self.ids.next(call.now);
        let mut data = json!({
            "conversation_id": id, "created_at": iso(call.now), "id": message_id.to_string(), "agent_id": &*own.id,
            "message": { "id": message_id.to_string(), "agent_id": &*own.id, "agent_name": &*own.name, "text": text,
                "injection_mode": mode.as_str(), "attachments": [] },
            "text": text, "injection_mode": mode.as_str(), "attachments": [],
        });
        let payload = raw_with("group_dm.received", &mut data, &[("from_name", &own.name)]);
        self.remember(room, message_id, message_id);
        let draft = Draft { id: message_id, sender, text, payload: &payload, mode };
        self.deliver_to_room(call.now, room, draft);
        Ok((201, data.into()))
    }

    fn remember(&mut self, room: RoomKey, id: u64, root: u64) {
        let workspace = self.state.rooms[room.0].workspace;
        self.state.messages.insert(id, Message { workspace, room, root });
        if self.state.messages.len() > MESSAGES_KEPT {
            self.state.messages.pop_first();
        }
    }

    /// Invariant 1; muted members only get what mentions them.
    fn deliver_to_room(&mut self, now: i64, room: RoomKey, draft: Draft<'_>) {
        let Draft { id, sender, text, .. } = draft;
        let mentioned = mentions(text);
        let members: Vec<AgentKey> = self.state.rooms[room.0].members.iter().copied().collect();
        for member in members.into_iter().filter(|member| *member != sender) {
            let agent = &self.state.agents[member.0];
            if agent.muted.contains(&room) && !mentioned.contains(&agent.name.to_string()) {
                continue;
            }
            let delivery = format!("del_{id}_{}", agent.id);
            self.store(now, member, delivery, draft);
        }
    }

    /// Puts a row into a mailbox and tries to send it (invariant 2).
    fn store(&mut self, now: i64, to: AgentKey, delivery: String, draft: Draft<'_>) {
        let Draft { id: message, sender, .. } = draft;
        let rule = self.options.profile.sequence;
        let agent = &mut self.state.agents[to.0];
        let msg_id: Arc<str> = message.to_string().into();
        if agent.mailbox.depth(now, self.options.mailbox_depth) >= self.options.mailbox_depth {
            self.journal.push(now, Event::DepthCapped { agent_id: agent.id.clone(), msg_id: msg_id.clone() });
            self.tell_failed(sender, None, &msg_id, to, "depth_cap", "mailbox is full");
            return;
        }
        let row = Row {
            seq: 0,
            delivery_id: delivery.into(),
            msg_id: msg_id.clone(),
            state: RowState::Queued,
            mode: draft.mode,
            text: draft.text.into(),
            payload: draft.payload.clone(),
            expires_at_ms: now + self.options.ttl_ms,
            created_at_ms: now,
            next_attempt_at: None,
            sender,
        };
        let seq = agent.mailbox.push(rule, row);
        let agent_id = agent.id.clone();
        self.journal.push(now, Event::Stored { agent_id, seq, msg_id });
        self.dispatch_live(now, to, seq);
    }

    /// A row that is no message, of a type that nobody knows.
    pub(super) fn store_novelty(&mut self, now: i64, to: AgentKey) {
        let id = self.ids.next(now);
        let payload = raw("canvas.painted", &json!({ "id": id.to_string(), "strokes": 3 }));
        let delivery = format!("del_{id}_{}", self.state.agents[to.0].id);
        let draft = Draft { id, sender: to, text: "", payload: &payload, mode: Mode::Wait };
        self.store(now, to, delivery, draft);
    }

    /// `delivery.failed` for the sender.
    pub(super) fn tell_failed(
        &mut self,
        sender: AgentKey,
        delivery: Option<&str>,
        message: &str,
        target: AgentKey,
        reason: &str,
        error: &str,
    ) {
        let target = &self.state.agents[target.0];
        let data = json!({
            "delivery_id": delivery, "message_id": message, "target_agent_id": &*target.id,
            "target_agent_name": &*target.name, "reason": reason, "error": error, "retryable": false,
        });
        self.send_context("agent", "delivery.failed", &[sender], &data);
    }

    /// A row dies before it was acked.
    pub(super) fn bury(&mut self, now: i64, to: AgentKey, seq: u64) -> bool {
        let agent = &mut self.state.agents[to.0];
        if !agent.mailbox.finish(seq, RowState::DeadLettered) {
            return false;
        }
        self.journal.push(now, Event::Dead { agent_id: agent.id.clone(), seq });
        if let Some(row) = agent.mailbox.get(seq) {
            let (sender, delivery, message) = (row.sender, row.delivery_id.clone(), row.msg_id.clone());
            self.tell_failed(sender, Some(&delivery), &message, to, "ttl_expired", "delivery TTL expired");
        }
        true
    }

    pub(super) fn sweep_mailboxes(&mut self, now: i64) {
        for index in 0..self.state.agents.len() {
            let key = AgentKey(index);
            if !self.options.profile.expire_on_read {
                self.bury_expired(now, key);
            }
            if self.options.profile.redrive {
                for seq in self.state.agents[index].mailbox.due(now) {
                    if !self.dispatch(now, key, seq, false) {
                        break;
                    }
                }
            }
        }
    }

    // Receipts and reactions.

    pub(super) fn post_read(&mut self, call: &Call<'_>, id: &str) -> Answer {
        let (_, reader) = call.caller.agent()?;
        let room = self.room_of(call, id)?;
        let agent = &self.state.agents[reader.0];
        let mut data = json!({ "message_id": id, "agent_id": &*agent.id, "read_at": iso(call.now) });
        let payload = raw_with("message.read", &mut data, &[("agent_name", &agent.name)]);
        let key = format!("{id}_{}_{}", agent.id, iso(call.now));
        self.fan_out(call.now, room, "message.read", &key, id, &payload);
        Ok((200, data.into()))
    }

    pub(super) fn post_reaction(&mut self, call: &Call<'_>, id: &str) -> Answer {
        let (_, reactor) = call.caller.agent()?;
        let room = self.room_of(call, id)?;
        let reaction = self.ids.next(call.now).to_string();
        let (agent, place) = (&self.state.agents[reactor.0], &self.state.rooms[room.0]);
        let data = Reaction {
            action: "added",
            agent_id: &agent.id,
            agent_name: &agent.name,
            channel_name: &place.name,
            emoji: call.text("emoji")?,
            id: &reaction,
            message_id: id,
        };
        let (answer, payload) = (Data::of(&data), raw("message.reacted", &data));
        self.fan_out(call.now, room, "message.reacted", &reaction, id, &payload);
        Ok((201, answer))
    }

    pub(super) fn delete_reaction(&mut self, call: &Call<'_>, id: &str, emoji: &str) -> Answer {
        let (_, reactor) = call.caller.agent()?;
        let room = self.room_of(call, id)?;
        let (agent, place) = (&self.state.agents[reactor.0], &self.state.rooms[room.0]);
        let data = json!({
            "message_id": id, "emoji": emoji, "agent_id": &*agent.id, "agent_name": &*agent.name,
            "channel_name": place.name, "action": "removed",
        });
        let key = format!("{id}_{emoji}_{}_removed", agent.id);
        self.fan_out(call.now, room, "message.reacted", &key, id, &raw("message.reacted", &data));
        Ok((204, Data::NONE))
    }

    fn room_of(&self, call: &Call<'_>, id: &str) -> Result<RoomKey, super::http::Refusal> {
        let message = id.parse().ok().and_then(|id| self.state.messages.get(&id));
        let message = message.filter(|message| message.workspace == call.caller.workspace());
        message
            .map(|message| message.room)
            .ok_or_else(|| refuse(404, "message_not_found", format!("no message {id:?}")))
    }

    /// Invariant 3: to everyone in the room, the actor included.
    fn fan_out(&mut self, now: i64, room: RoomKey, kind: &str, key: &str, message: &str, payload: &RawValue) {
        let members: Vec<AgentKey> = self.state.rooms[room.0].members.iter().copied().collect();
        for member in members {
            self.send_payload(now, member, kind, key, message, payload);
        }
    }

    // The mailbox over HTTP.

    pub(super) fn inbox(&mut self, call: &Call<'_>) -> Answer {
        let (_, key) = call.caller.agent()?;
        self.expire_on_read(call.now, key);
        let empty =
            json!({ "unread_channels": [], "mentions": [], "unread_dms": [], "recent_reactions": [] });
        Ok((200, empty.into()))
    }

    fn expire_on_read(&mut self, now: i64, key: AgentKey) {
        if self.options.profile.expire_on_read {
            self.bury_expired(now, key);
        }
    }

    fn bury_expired(&mut self, now: i64, key: AgentKey) {
        for seq in self.state.agents[key.0].mailbox.expired(now) {
            self.bury(now, key, seq);
        }
    }

    pub(super) fn deliveries(&mut self, call: &Call<'_>) -> Answer {
        let (_, key) = call.caller.agent()?;
        self.expire_on_read(call.now, key);
        let rows = self.state.agents[key.0].mailbox.open_rows();
        Ok((200, rows.map(Row::view).collect::<Value>().into()))
    }

    pub(super) fn settle_delivery(&mut self, call: &Call<'_>, id: &str, verb: &str) -> Answer {
        let (_, key) = call.caller.agent()?;
        let mailbox = &mut self.state.agents[key.0].mailbox;
        let seq = mailbox.open_rows().find(|row| &*row.delivery_id == id).map(|row| row.seq);
        let seq = seq.ok_or_else(|| refuse(404, "delivery_not_found", format!("no open delivery {id:?}")))?;
        let state = match verb {
            "ack" => RowState::Acked,
            "fail" => RowState::Failed,
            "defer" => {
                if let Some(row) = mailbox.get_mut(seq) {
                    row.state = RowState::Queued;
                }
                return Ok((200, json!({ "id": id, "status": "queued" }).into()));
            }
            _ => return Err(refuse(404, "not_found", "no such route")),
        };
        mailbox.finish(seq, state);
        Ok((200, json!({ "id": id, "status": state.as_str() }).into()))
    }
}

/// A direct message, as its sender is answered and, with the sender's name, as its recipient gets it.
#[derive(Serialize)]
struct Direct<'a> {
    attachments: [(); 0],
    conversation_id: &'a str,
    created_at: String,
    from_agent_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_name: Option<&'a str>,
    id: &'a str,
    injection_mode: &'a str,
    message: DirectMessage<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
    text: &'a str,
    to: &'a str,
}

#[derive(Serialize)]
struct DirectMessage<'a> {
    agent_id: &'a str,
    agent_name: &'a str,
    attachments: [(); 0],
    id: &'a str,
    injection_mode: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
    text: &'a str,
}

#[derive(Serialize)]
struct Reaction<'a> {
    action: &'a str,
    agent_id: &'a str,
    agent_name: &'a str,
    channel_name: &'a str,
    emoji: &'a str,
    id: &'a str,
    message_id: &'a str,
}

/// What is the same for all recipients of one message.
#[derive(Clone, Copy)]
struct Draft<'a> {
    id: u64,
    sender: AgentKey,
    text: &'a str,
    payload: &'a Arc<RawValue>,
    mode: Mode,
}

fn mode(body: &Value) -> Result<Mode, super::http::Refusal> {
    match body["mode"].as_str() {
        None if body["mode"].is_null() => Ok(Mode::Wait),
        Some("wait") => Ok(Mode::Wait),
        Some("steer") => Ok(Mode::Steer),
        _ => Err(refuse(400, "invalid_request", "mode: expected wait or steer")),
    }
}

fn metadata(call: &Call<'_>) -> Value {
    call.body.get("data").cloned().unwrap_or_else(|| json!({}))
}

/// The `{type, data}` of a frame.
pub(super) fn raw(kind: &str, data: &impl Serialize) -> Arc<RawValue> {
    #[derive(Serialize)]
    struct Payload<'a, D> {
        data: &'a D,
        r#type: &'a str,
    }
    serde_json::value::to_raw_value(&Payload { data, r#type: kind }).expect("a value is JSON").into()
}

/// The same, with more texts in the data of the frame. They are taken out again, for what else the data is
/// used for: a copy of it would be one of the message.
fn raw_with(kind: &str, data: &mut Value, more: &[(&str, &str)]) -> Arc<RawValue> {
    for (key, text) in more {
        debug_assert!(data.get(key).is_none(), "{key} would be lost");
        data[key] = json!(text);
    }
    let payload = raw(kind, data);
    if let Some(data) = data.as_object_mut() {
        for (key, _) in more {
            data.remove(*key);
        }
    }
    payload
}

/// Names behind an `@` that begins a word.
fn mentions(text: &str) -> Vec<String> {
    let name = |word: &str| {
        let name = word.strip_prefix('@')?;
        let end = name.find(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).unwrap_or(name.len());
        (end > 0).then(|| name[..end].to_owned())
    };
    text.split_whitespace().filter_map(name).collect()
}
