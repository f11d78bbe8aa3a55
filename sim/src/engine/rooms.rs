//! Rooms: channels, direct conversations and groups, and who is in them.
//!
//! Owns: names and membership.
//! Must not know: messages.

use super::Engine;
use super::http::{Answer, Call, Caller, Data, Refusal, refuse};
use super::ids::{AgentKey, RoomKey, WorkspaceKey, conversation_digest, iso};
use super::state::{Room, RoomKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl Room {
    pub(super) fn is_channel(&self) -> bool {
        self.kind == RoomKind::Channel
    }

    /// The id of the channel behind the room.
    pub(super) fn channel_id(&self) -> String {
        match self.kind {
            RoomKind::Direct => self.id.replacen("dm_", "dmch_", 1),
            RoomKind::Channel | RoomKind::Group => self.id.clone(),
        }
    }
}

impl Engine {
    pub(super) fn make_channel(
        &mut self,
        now: i64,
        workspace: WorkspaceKey,
        name: &str,
        topic: Option<&str>,
    ) -> RoomKey {
        let id = self.ids.next(now).to_string();
        let key = self.make_room(now, workspace, id, name, RoomKind::Channel);
        self.state.rooms[key.0].topic = topic.map(str::to_owned);
        self.state.workspaces[workspace.0].rooms.insert(name.to_owned(), key);
        key
    }

    fn make_room(
        &mut self,
        now: i64,
        workspace: WorkspaceKey,
        id: String,
        name: &str,
        kind: RoomKind,
    ) -> RoomKey {
        let key = RoomKey(self.state.rooms.len());
        let members = BTreeSet::new();
        self.state.rooms.push(Room {
            workspace,
            id,
            name: name.to_owned(),
            kind,
            topic: None,
            members,
            created_at: now,
        });
        key
    }

    pub(super) fn join(&mut self, room: RoomKey, agent: AgentKey) -> bool {
        self.state.agents[agent.0].rooms.insert(room);
        self.state.rooms[room.0].members.insert(agent)
    }

    /// The conversation of two agents; made when it is first needed.
    pub(super) fn direct_room(&mut self, now: i64, one: AgentKey, other: AgentKey) -> RoomKey {
        let pair = (one.min(other), one.max(other));
        if let Some(known) = self.state.direct_rooms.get(&pair) {
            return *known;
        }
        let workspace = self.state.agents[one.0].workspace;
        let (a, b) = (&self.state.agents[one.0].id, &self.state.agents[other.0].id);
        let id = format!("dm_{}", conversation_digest(&self.state.workspaces[workspace.0].id, a, b));
        let key = self.make_room(now, workspace, id.clone(), &id, RoomKind::Direct);
        self.state.direct_rooms.insert(pair, key);
        self.state.workspaces[workspace.0].rooms.insert(id, key);
        self.state.rooms[key.0].members.extend([one, other]);
        key
    }

    pub(super) fn channel(&self, call: &Call<'_>, name: &str) -> Result<RoomKey, Refusal> {
        let found = self.state.room_by_name(call.caller.workspace(), name);
        let found = found.filter(|key| self.state.rooms[key.0].is_channel());
        found.ok_or_else(|| refuse(404, "channel_not_found", format!("no channel {name:?}")))
    }

    fn channel_view(&self, key: RoomKey) -> Value {
        let room = &self.state.rooms[key.0];
        json!({
            "id": room.id, "workspace_id": self.state.workspaces[room.workspace.0].id, "name": room.name,
            "topic": room.topic, "member_count": room.members.len(), "is_archived": false,
            "channel_type": 0, "metadata": {}, "created_by": null, "created_at": iso(room.created_at),
        })
    }

    pub(super) fn post_channel(&mut self, call: &Call<'_>) -> Answer {
        let name = call.text("name")?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !name.chars().all(allowed) || name.starts_with('-') {
            return Err(refuse(400, "invalid_channel_name", "lower-case letters, digits and hyphens"));
        }
        let workspace = call.caller.workspace();
        if self.state.room_by_name(workspace, name).is_some() {
            return Err(refuse(409, "channel_already_exists", format!("channel {name:?} already exists")));
        }
        let key = self.make_channel(call.now, workspace, name, call.body["topic"].as_str());
        if let Caller::Agent(_, agent) = call.caller {
            self.join(key, agent);
        }
        Ok((201, self.channel_view(key).into()))
    }

    pub(super) fn channel_list(&self, call: &Call<'_>) -> Value {
        let rooms = self.state.workspaces[call.caller.workspace().0].rooms.values();
        rooms.filter(|key| self.state.rooms[key.0].is_channel()).map(|key| self.channel_view(*key)).collect()
    }

    pub(super) fn channel_members(&self, call: &Call<'_>, name: &str) -> Answer {
        let key = self.channel(call, name)?;
        let member = |agent: &AgentKey| {
            let agent = &self.state.agents[agent.0];
            json!({ "agent_id": &*agent.id, "agent_name": &*agent.name, "role": "member", "joined_at": iso(agent.created_at) })
        };
        let members = self.state.rooms[key.0].members.iter().map(member);
        Ok((200, members.collect::<Value>().into()))
    }

    pub(super) fn join_channel(&mut self, call: &Call<'_>, name: &str) -> Answer {
        let (_, agent) = call.caller.agent()?;
        let key = self.channel(call, name)?;
        let already_member = !self.join(key, agent);
        if !already_member {
            self.tell_members("member.joined", key, agent);
        }
        let id = self.state.agents[agent.0].id.clone();
        Ok((200, json!({ "channel": name, "agent_id": &*id, "already_member": already_member }).into()))
    }

    pub(super) fn leave_channel(&mut self, call: &Call<'_>, name: &str) -> Answer {
        let (_, agent) = call.caller.agent()?;
        let key = self.channel(call, name)?;
        self.state.rooms[key.0].members.remove(&agent);
        self.state.agents[agent.0].rooms.remove(&key);
        self.tell_members("member.left", key, agent);
        Ok((204, Data::NONE))
    }

    /// Who came or went, for those who are in the room.
    fn tell_members(&mut self, event: &str, room: RoomKey, agent: AgentKey) {
        let place = &self.state.rooms[room.0];
        let members: Vec<AgentKey> = place.members.iter().copied().collect();
        let data = json!({ "channel_name": place.name, "agent_name": &*self.state.agents[agent.0].name });
        self.send_context("channel", event, &members, &data);
    }

    pub(super) fn mute_channel(&mut self, call: &Call<'_>, name: &str, mute: bool) -> Answer {
        let (_, agent) = call.caller.agent()?;
        let key = self.channel(call, name)?;
        let muted = &mut self.state.agents[agent.0].muted;
        if mute {
            muted.insert(key)
        } else {
            muted.remove(&key)
        };
        Ok((200, json!({ "channel": name, "muted": mute }).into()))
    }

    pub(super) fn post_group(&mut self, call: &Call<'_>) -> Answer {
        let (workspace, own) = call.caller.agent()?;
        let names = call.body["participants"].as_array().cloned().unwrap_or_default();
        let mut members = BTreeSet::from([own]);
        for name in names.iter().filter_map(Value::as_str) {
            members.insert(self.named(call, name)?);
        }
        let id = self.ids.next(call.now).to_string();
        let key = self.make_room(call.now, workspace, id.clone(), &id, RoomKind::Group);
        self.state.workspaces[workspace.0].rooms.insert(id.clone(), key);
        self.state.rooms[key.0].members = members;
        let view =
            json!({ "id": id, "conversation_id": id, "participants": names, "created_at": iso(call.now) });
        Ok((201, view.into()))
    }
}
