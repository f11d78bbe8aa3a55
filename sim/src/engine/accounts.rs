//! Workspaces and agents.
//!
//! Owns: names, tokens, presence of agents over HTTP.
//! Must not know: nodes' sockets and mailboxes' rules.
//!
//! 1. A name is unique in its workspace; a deleted agent frees its name.
//! 2. An agent has one token; a rotated one works on only for the profile's grace.

use super::http::{Answer, Call, Caller, Data, Refusal, refuse};
use super::ids::{AgentKey, TokenKind, WorkspaceKey, iso};
use super::journal::Event;
use super::mailbox::{Mailbox, Row};
use super::state::{Agent, Place, Workspace};
use super::{ConnectionId, Engine};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An agent's view shows at most this many waiting deliveries.
const PENDING_SHOWN: usize = 50;
/// The channel that every agent is a member of.
pub(super) const GENERAL: &str = "general";

impl Engine {
    /// Makes a workspace: its id and its key.
    pub fn create_workspace(&mut self, now_ms: i64, name: &str) -> (String, String) {
        let id = self.ids.next(now_ms).to_string();
        let key = self.ids.token(TokenKind::Workspace);
        let workspace = WorkspaceKey(self.state.workspaces.len());
        self.state.workspaces.push(Workspace {
            id: id.clone(),
            name: name.to_owned(),
            key: key.clone(),
            agents: BTreeMap::new(),
            nodes: BTreeMap::new(),
            rooms: BTreeMap::new(),
        });
        self.make_channel(now_ms, workspace, GENERAL, None);
        (id, key)
    }

    pub(super) fn post_workspace(&mut self, now: i64, bearer: Option<&str>, body: &Value) -> Answer {
        let name = body["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| refuse(400, "invalid_request", "name: expected a non-empty string"))?;
        let known =
            self.state.workspaces.iter().find(|other| bearer == Some(&other.key) && other.name == name);
        let (status, id, key) = match known {
            Some(known) => (200, known.id.clone(), known.key.clone()),
            None => {
                let (id, key) = self.create_workspace(now, name);
                (201, id, key)
            }
        };
        Ok((status, json!({ "workspace_id": id, "api_key": key, "created_at": iso(now) }).into()))
    }

    pub(super) fn post_agent(&mut self, call: &Call<'_>) -> Answer {
        let workspace = call.caller.owner()?;
        let name = call.text("name")?;
        if self.is_reserved(name) {
            return Err(refuse(400, "invalid_agent_name", "this name is reserved"));
        }
        if self.state.agent_by_name(workspace, name).is_some() {
            return Err(refuse(409, "agent_already_exists", format!("agent {name:?} already exists")));
        }
        let kind = call.body["type"].as_str().unwrap_or("agent").to_owned();
        let metadata = call.body.get("metadata").cloned().unwrap_or_else(|| json!({}));
        let key = self.make_agent(call.now, workspace, name, &kind, metadata);
        self.join_general(key, &call.body["auto_join_general"]);
        self.note_registered(call.now, key, None);
        let agent = &self.state.agents[key.0];
        let data = json!({
            "id": &*agent.id, "workspace_id": self.state.workspaces[workspace.0].id, "name": &*agent.name,
            "handle": format!("@{}", agent.name), "token": agent.token, "status": "active",
            "capabilities": [], "created_at": iso(call.now),
        });
        Ok((201, data.into()))
    }

    /// A new agent on its own direct node, in no room.
    pub(super) fn make_agent(
        &mut self,
        now: i64,
        workspace: WorkspaceKey,
        name: &str,
        kind: &str,
        metadata: Value,
    ) -> AgentKey {
        let key = AgentKey(self.state.agents.len());
        let id = self.ids.next(now).to_string().into();
        let token = self.ids.token(TokenKind::Agent);
        self.state.agents.push(Agent {
            workspace,
            id,
            name: name.into(),
            kind: kind.to_owned(),
            metadata,
            token: token.clone(),
            token_at: now,
            previous: None,
            active: true,
            last_seen: now,
            created_at: now,
            place: Place::Direct,
            provider: "default".into(),
            bound: true,
            home: None,
            left: None,
            direct: None,
            mailbox: Mailbox::default(),
            rooms: BTreeSet::new(),
            muted: BTreeSet::new(),
            deleted: false,
        });
        let agent = &self.state.agents[key.0];
        self.state.agent_ids.insert(agent.id.clone(), key);
        self.state.workspaces[workspace.0].agents.insert(agent.name.clone(), key);
        self.state.tokens.insert(token, key);
        key
    }

    /// New agents are in `general`, unless they decline it and the release lets them.
    pub(super) fn join_general(&mut self, key: AgentKey, wish: &Value) {
        let declined = self.options.profile.frames.auto_join && *wish == json!(false);
        let general = self.state.room_by_name(self.state.agents[key.0].workspace, GENERAL);
        if let Some(general) = general.filter(|_| !declined) {
            self.join(general, key);
        }
    }

    pub(super) fn note_registered(&mut self, now: i64, key: AgentKey, connection: Option<ConnectionId>) {
        let agent = &self.state.agents[key.0];
        let (agent_id, name) = (agent.id.clone(), agent.name.clone());
        self.journal.push(now, Event::AgentRegistered { agent_id, name, connection });
    }

    /// Released agents keep a marked form of their name.
    pub(super) fn is_reserved(&self, name: &str) -> bool {
        self.options.profile.reserved_names && name.contains("#released-")
    }

    /// Gives an agent another token (invariant 2).
    pub(super) fn renew_token(&mut self, now: i64, key: AgentKey) -> String {
        let token = self.ids.token(TokenKind::Agent);
        let agent = &mut self.state.agents[key.0];
        let old = std::mem::replace(&mut agent.token, token.clone());
        agent.token_at = now;
        if let Some((older, _)) = agent.previous.replace((old, now + self.options.profile.token_grace_ms)) {
            self.state.tokens.remove(&older);
        }
        self.state.tokens.insert(token.clone(), key);
        token
    }

    pub(super) fn named(&self, call: &Call<'_>, name: &str) -> Result<AgentKey, Refusal> {
        let found = self.state.agent_by_name(call.caller.workspace(), name);
        found.ok_or_else(|| refuse(404, "agent_not_found", format!("no agent {name:?}")))
    }

    fn agent_view(&self, now: i64, key: AgentKey) -> Value {
        let agent = &self.state.agents[key.0];
        let active = agent.is_active(now);
        let channels: Vec<Value> = agent
            .rooms
            .iter()
            .map(|room| &self.state.rooms[room.0])
            .filter(|room| room.is_channel())
            .map(|room| json!({ "id": room.id, "name": room.name, "role": "member", "joined_at": iso(agent.created_at) }))
            .collect();
        json!({
            "id": &*agent.id, "workspace_id": self.state.workspaces[agent.workspace.0].id, "name": &*agent.name,
            "type": agent.kind, "status": if active { "active" } else { "offline" },
            "last_seen": iso(agent.last_seen), "metadata": agent.metadata, "channels": channels,
            "persona": null, "created_at": iso(agent.created_at), "pending_deliveries": pending_of(agent),
        })
    }

    pub(super) fn agent_list(&self, call: &Call<'_>) -> Value {
        let workspace = &self.state.workspaces[call.caller.workspace().0];
        let wanted = call.parameter("status");
        workspace
            .agents
            .values()
            .map(|key| self.agent_view(call.now, *key))
            .filter(|view| wanted.is_none_or(|status| view["status"] == status))
            .collect()
    }

    pub(super) fn own_agent(&self, call: &Call<'_>) -> Answer {
        let (_, key) = call.caller.agent()?;
        Ok((200, self.agent_view(call.now, key).into()))
    }

    pub(super) fn get_agent(&self, call: &Call<'_>, name: &str) -> Answer {
        Ok((200, self.agent_view(call.now, self.named(call, name)?).into()))
    }

    pub(super) fn patch_agent(&mut self, call: &Call<'_>, name: &str) -> Answer {
        let key = self.named(call, name)?;
        let agent = &mut self.state.agents[key.0];
        if let Some(status) = call.body["status"].as_str() {
            agent.active = status == "active";
        }
        if let Some(metadata) = call.body.get("metadata") {
            agent.metadata = metadata.clone();
        }
        Ok((200, self.agent_view(call.now, key).into()))
    }

    pub(super) fn delete_agent(&mut self, call: &Call<'_>, name: &str) -> Answer {
        let key = self.named(call, name)?;
        self.remove_agent(key);
        Ok((204, Data::NONE))
    }

    /// Frees an agent's name and ends its token (invariant 1).
    pub(super) fn remove_agent(&mut self, key: AgentKey) {
        self.vacate(key);
        let agent = &mut self.state.agents[key.0];
        (agent.deleted, agent.active, agent.bound, agent.place) = (true, false, false, Place::Nowhere);
        self.state.workspaces[agent.workspace.0].agents.remove(&agent.name);
        for room in std::mem::take(&mut agent.rooms) {
            self.state.rooms[room.0].members.remove(&key);
        }
    }

    pub(super) fn rotate_token(&mut self, call: &Call<'_>, name: &str) -> Answer {
        call.caller.owner()?;
        let key = self.named(call, name)?;
        let token = self.renew_token(call.now, key);
        Ok((200, json!({ "name": name, "token": token }).into()))
    }

    pub(super) fn take_over(&mut self, call: &Call<'_>, name: &str) -> Answer {
        let key = self.named(call, name)?;
        if call.body["expected_agent_id"].as_str() != Some(&*self.state.agents[key.0].id) {
            return Err(refuse(409, "agent_identity_conflict", "another agent has this name"));
        }
        let token = self.renew_token(call.now, key);
        let audit = format!("aud_{}", self.ids.next(call.now));
        let id = &*self.state.agents[key.0].id;
        Ok((200, json!({ "agent_id": id, "name": name, "token": token, "audit_id": audit }).into()))
    }

    pub(super) fn agent_event(&mut self, call: &Call<'_>, name: &str) -> Answer {
        let key = self.named(call, name)?;
        match call.caller {
            Caller::Agent(_, own) if own != key => Err(refuse(403, "forbidden", "events of another agent")),
            _ => Ok((
                201,
                json!({ "id": self.ids.next(call.now).to_string(), "created_at": iso(call.now) }).into(),
            )),
        }
    }

    pub(super) fn disconnect(&mut self, call: &Call<'_>) -> Answer {
        let (_, key) = call.caller.agent()?;
        let rehomes = self.options.profile.disconnect_rehomes || call.body["deregister"] == true;
        if rehomes {
            self.vacate(key);
        }
        let agent = &mut self.state.agents[key.0];
        agent.active = false;
        if rehomes {
            (agent.place, agent.bound, agent.provider) = (Place::Direct, true, "default".into());
        }
        Ok((200, Data::NONE))
    }
}

fn pending_of(agent: &Agent) -> Value {
    agent.mailbox.open_rows().take(PENDING_SHOWN).map(Row::view).collect()
}
