//! Nodes: enrolment, sockets, liveness.
//!
//! Owns: node rows and tokens, which socket serves which provider, what the end of a socket means.
//! Must not know: what frames say.
//!
//! 1. A node has one token; it is only looked at by the upgrade.
//! 2. The end of a socket takes its provider, the agents there and their open invocations with it, at
//!    once; a socket that was replaced takes nothing.
//! 3. A node without heartbeat for 45 s is offline, but its socket stays and still carries frames.

use super::http::{Answer, Call, Refusal, refuse};
use super::ids::{AgentKey, NodeKey, TokenKind, WorkspaceKey, iso};
use super::journal::Event;
use super::profile::{Attach, NodeLookup};
use super::state::{Connection, Node, Place, Provider};
use super::{ConnectionId, Engine, Output};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A node is stale this long after its last heartbeat.
const NODE_TTL_MS: i64 = 45_000;
/// The provider of everything that names none.
pub(super) const DEFAULT_PROVIDER: &str = "default";

impl Engine {
    // Enrolment.

    pub(super) fn post_node(&mut self, call: &Call<'_>) -> Answer {
        let workspace = call.caller.owner()?;
        let name = self.enrolled_name(call)?;
        let wanted = call.body["node_id"].as_str();
        let machine = call.body["machine_id"].as_str();
        let existing = self
            .find_node(workspace, name, wanted)?
            .or_else(|| self.find_machine(call.now, workspace, machine?));
        let token = self.ids.token(TokenKind::Node);
        let key = match existing {
            Some(key) => {
                let proof = call.header("x-relaycast-node-token");
                if self.options.profile.node_token_proof && proof != Some(&self.state.nodes[key.0].token) {
                    return Err(refuse(409, "node_token_proof_required", "send the node's current token"));
                }
                self.rename_node(key, name);
                key
            }
            None => self.make_node(call.now, workspace, name, wanted),
        };
        let node = &mut self.state.nodes[key.0];
        node.token.clone_from(&token);
        (node.token_at, node.online, node.proved_life) = (call.now, false, false);
        for provider in node.providers.values_mut() {
            provider.handlers_live = false;
        }
        if let Some(machine) = machine {
            node.machine_id = Some(machine.to_owned());
        }
        let known = node.version.take();
        node.version = call.body["version"].as_str().map(str::to_owned).or(known);
        node.max_agents = call.body["max_agents"].as_u64().unwrap_or(node.max_agents);
        let mut view = self.node_view(key);
        view["token"] = json!(token);
        Ok((201, view.into()))
    }

    fn enrolled_name<'a>(&self, call: &'a Call<'_>) -> Result<&'a str, Refusal> {
        if self.options.profile.node_lookup == NodeLookup::Name {
            return call.text("name");
        }
        let name = call.body["name"].as_str();
        let name = name.filter(|name| !name.is_empty() && !name.starts_with('#'));
        name.ok_or_else(|| {
            refuse(400, "invalid_node_name", "a node name is not empty and does not begin with #")
        })
    }

    /// The node that a machine had, if it once lived and is dead now.
    fn find_machine(&self, now: i64, workspace: WorkspaceKey, machine: &str) -> Option<NodeKey> {
        let stale = |node: &Node| node.last_heartbeat.is_some_and(|at| now - at >= NODE_TTL_MS);
        let known = self.state.nodes.iter().position(|node| {
            node.workspace == workspace
                && node.machine_id.as_deref() == Some(machine)
                && node.proved_life
                && stale(node)
        });
        known.filter(|_| self.options.profile.machine_reuse).map(NodeKey)
    }

    fn find_node(
        &self,
        workspace: WorkspaceKey,
        name: &str,
        wanted: Option<&str>,
    ) -> Result<Option<NodeKey>, Refusal> {
        let by_name = self.state.node_by_name(workspace, name);
        let by_id = wanted.and_then(|id| self.state.node_by_id(id));
        let unique = || refuse(500, "internal_error", "unique violation");
        if by_id.is_some_and(|id| self.state.nodes[id.0].workspace != workspace) && by_name.is_none() {
            return Err(unique());
        }
        match self.options.profile.node_lookup {
            NodeLookup::Name => match (by_name, by_id) {
                (None, Some(_)) => Err(unique()),
                (found, _) => Ok(found),
            },
            NodeLookup::IdThenName => match (by_id, by_name) {
                (Some(id), Some(name)) if id != name => {
                    Err(refuse(409, "node_name_conflict", "another node has this name"))
                }
                (None, Some(_)) if wanted.is_some() => {
                    Err(refuse(409, "node_name_conflict", "another node has this name"))
                }
                (found, other) => Ok(found.or(other)),
            },
        }
    }

    /// The token of the caller's own implicit node, which exists from now on.
    pub(super) fn direct_token(&mut self, call: &Call<'_>) -> Answer {
        let (workspace, key) = call.caller.agent()?;
        let agent = &self.state.agents[key.0];
        if agent.place != Place::Direct {
            return Err(refuse(409, "agent_bound_to_node", "the agent lives on a broker's node"));
        }
        let (name, id) = (format!("direct-{}", agent.id), format!("node_direct_{}", agent.id));
        let node = match agent.direct {
            Some(node) => node,
            None => {
                let node = self.make_node(call.now, workspace, &name, Some(&id));
                self.state.nodes[node.0].owner = Some(key);
                self.state.agents[key.0].direct = Some(node);
                node
            }
        };
        let token = self.ids.token(TokenKind::Node);
        self.state.nodes[node.0].token.clone_from(&token);
        Ok((200, json!({ "node_id": id, "node_name": name, "token": token }).into()))
    }

    fn make_node(&mut self, now: i64, workspace: WorkspaceKey, name: &str, wanted: Option<&str>) -> NodeKey {
        let key = NodeKey(self.state.nodes.len());
        let id = wanted.map_or_else(|| format!("node_{}", self.ids.next(now)), str::to_owned);
        self.state.nodes.push(Node {
            workspace,
            owner: None,
            id,
            name: name.to_owned(),
            token: String::new(),
            token_at: now,
            version: None,
            online: false,
            last_heartbeat: None,
            created_at: now,
            max_agents: 0,
            machine_id: None,
            proved_life: false,
            providers: BTreeMap::new(),
        });
        self.state.workspaces[workspace.0].nodes.insert(name.to_owned(), key);
        key
    }

    pub(super) fn rename_node(&mut self, key: NodeKey, name: &str) {
        let node = &mut self.state.nodes[key.0];
        if node.name != name {
            let names = &mut self.state.workspaces[node.workspace.0].nodes;
            names.remove(&node.name);
            names.insert(name.to_owned(), key);
            name.clone_into(&mut node.name);
        }
    }

    /// Sums up what the providers of a node allow.
    pub(super) fn aggregate_capacity(&mut self, key: NodeKey) {
        let limits = || self.state.nodes[key.0].providers.values().map(|provider| provider.max_agents);
        let unlimited = self.options.profile.one_unlimited && limits().any(|limit| limit == 0);
        let sum = if unlimited { 0 } else { limits().sum() };
        self.state.nodes[key.0].max_agents = sum;
    }

    /// Whether one more agent may live on a node.
    pub(super) fn has_room(&self, key: NodeKey) -> bool {
        let limit = self.state.nodes[key.0].max_agents;
        limit == 0 || self.active_agents(key) < limit
    }

    pub(super) fn lives_on(&self, key: AgentKey, node: NodeKey) -> bool {
        let agent = &self.state.agents[key.0];
        agent.bound && agent.place == Place::Node(node)
    }

    /// Frees the slot of an agent that is about to leave its place.
    pub(super) fn vacate(&mut self, key: AgentKey) {
        let agent = &self.state.agents[key.0];
        if let (Place::Node(node), true) = (agent.place, agent.bound)
            && let Some(slot) = self.state.nodes[node.0].providers.get_mut(&agent.provider)
        {
            slot.active_agents = slot.active_agents.saturating_sub(1);
        }
    }

    /// Moves an agent to a node's provider and takes a slot there.
    pub(super) fn occupy(&mut self, now: i64, key: AgentKey, node: NodeKey, provider: &str) {
        if !self.lives_on(key, node) {
            self.vacate(key);
            self.provider_of(node, provider).active_agents += 1;
        }
        let agent = &mut self.state.agents[key.0];
        (agent.place, agent.bound, agent.active, agent.last_seen) = (Place::Node(node), true, true, now);
        agent.left = None;
        provider.clone_into(&mut agent.provider);
    }

    pub(super) fn node_view(&self, key: NodeKey) -> Value {
        let node = &self.state.nodes[key.0];
        let names: BTreeSet<&str> =
            node.providers.values().flat_map(|p| &p.capabilities).map(String::as_str).collect();
        let capabilities: Vec<Value> = names.into_iter().map(|name| json!({ "name": name })).collect();
        let live = node.providers.values().any(|provider| provider.connection.is_some());
        let mut view = json!({
            "id": node.id, "name": node.name, "kind": "ws",
            "role": if node.owner.is_some() { "direct" } else { "broker" }, "delivery_adapter": "ws.node.v1",
            "delivery": null, "capabilities": capabilities, "tags": [], "version": node.version,
            "status": if node.online { "online" } else { "offline" }, "live": live && node.online,
            "handlers_live": self.handlers_live(key), "load": self.load(key), "active_agents": self.active_agents(key),
            "max_agents": node.max_agents, "last_heartbeat_at": node.last_heartbeat.map(iso),
            "created_at": iso(node.created_at),
        });
        if let Some(machine) = node.machine_id.as_ref().filter(|_| self.options.profile.machine_reuse) {
            view["machine_id"] = json!(machine);
        }
        view
    }

    pub(super) fn handlers_live(&self, key: NodeKey) -> bool {
        self.state.nodes[key.0]
            .providers
            .values()
            .any(|provider| provider.connection.is_some() && provider.handlers_live)
    }

    /// Whether a node takes new work now.
    pub(super) fn is_ready(&self, key: NodeKey) -> bool {
        self.state.nodes[key.0].online && self.handlers_live(key)
    }

    pub(super) fn load(&self, key: NodeKey) -> f64 {
        self.state.nodes[key.0].providers.values().fold(0.0, |load, provider| provider.load.max(load))
    }

    pub(super) fn active_agents(&self, key: NodeKey) -> u64 {
        self.state.nodes[key.0].providers.values().map(|provider| provider.active_agents).sum()
    }

    pub(super) fn node_list(&self, call: &Call<'_>) -> Value {
        let nodes = self.state.workspaces[call.caller.workspace().0].nodes.values();
        nodes.map(|key| self.node_view(*key)).collect()
    }

    pub(super) fn node_named(&self, call: &Call<'_>, name: &str) -> Result<NodeKey, Refusal> {
        let found = self.state.node_by_name(call.caller.workspace(), name);
        found.ok_or_else(|| refuse(404, "node_not_found", format!("no node {name:?}")))
    }

    pub(super) fn get_node(&self, call: &Call<'_>, name: &str) -> Answer {
        Ok((200, self.node_view(self.node_named(call, name)?).into()))
    }

    pub(super) fn node_agents(&self, call: &Call<'_>, name: &str) -> Answer {
        let node = self.node_named(call, name)?;
        let agents = self.state.agents_on(node).into_iter();
        let views = agents.map(|agent| self.binding_view(call.now, agent, node));
        Ok((200, views.collect::<Value>().into()))
    }

    // Sockets.

    /// Asks for an upgrade of `/v1/node/ws`.
    ///
    /// # Errors
    /// The HTTP status to answer with instead.
    pub fn upgrade(
        &mut self,
        now_ms: i64,
        path_and_query: &str,
        bearer: Option<&str>,
    ) -> Result<ConnectionId, u16> {
        self.touch(now_ms);
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        if path != "/v1/node/ws" {
            return Err(426);
        }
        let from_query =
            query.split('&').find_map(|pair| pair.strip_prefix("token=")).filter(|token| !token.is_empty());
        let token = from_query.or(bearer).filter(|token| token.starts_with("nt_live_")).ok_or(401_u16)?;
        let index = self.state.nodes.iter().position(|node| node.token == token).ok_or(401_u16)?;
        if self.is_unseen(now_ms, self.state.nodes[index].token_at, "a node's token") {
            return Err(401);
        }
        let node = NodeKey(index);
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let state = Connection { node, provider: None, cursor: false, ready: BTreeSet::new() };
        self.connections.insert(connection, state);
        let node_id = self.state.nodes[index].id.clone();
        self.journal.push(now_ms, Event::Upgraded { connection, node_id });
        if self.options.profile.attach == Attach::AtUpgrade {
            self.attach(now_ms, connection, DEFAULT_PROVIDER, None);
        }
        Ok(connection)
    }

    /// Makes a socket the one of its node's provider; the older one is superseded.
    pub(super) fn attach(
        &mut self,
        now: i64,
        connection: ConnectionId,
        provider: &str,
        instance_id: Option<String>,
    ) {
        let Some(state) = self.connections.get_mut(&connection) else {
            return;
        };
        state.provider = Some(provider.to_owned());
        let slot = self.state.nodes[state.node.0].providers.entry(provider.to_owned()).or_default();
        slot.instance_id = instance_id;
        slot.last_frame = now;
        if let Some(old) = slot.connection.replace(connection).filter(|old| *old != connection) {
            self.connections.remove(&old);
            self.journal.push(now, Event::Closed { connection: old });
            self.out.push_back(Output::Close { connection: old, code: 1000, reason: "superseded" });
        }
    }

    /// A socket is gone (invariant 2).
    pub fn closed(&mut self, now_ms: i64, connection: ConnectionId) {
        self.touch(now_ms);
        let Some(state) = self.connections.remove(&connection) else {
            return;
        };
        self.journal.push(now_ms, Event::Closed { connection });
        let Some(provider) = state.provider else { return };
        let slot = self.state.nodes[state.node.0].providers.get_mut(&provider);
        if let Some(slot) = slot.filter(|slot| slot.connection == Some(connection)) {
            slot.connection = None;
            self.lose(now_ms, state.node, &provider);
        }
    }

    /// A provider of a node counts as gone.
    pub(super) fn lose(&mut self, now: i64, node: NodeKey, provider: &str) {
        let row = &mut self.state.nodes[node.0];
        if let Some(slot) = row.providers.get_mut(provider) {
            (slot.load, slot.active_agents) = (0.0, 0);
        }
        row.online = row.providers.values().any(|provider| provider.connection.is_some());
        let node_id = row.id.clone();
        self.journal.push(now, Event::NodeLost { node_id, provider: provider.to_owned() });
        for key in self.state.agents_on(node) {
            let agent = &mut self.state.agents[key.0];
            if agent.provider == provider {
                agent.active = false;
            }
        }
        self.reschedule_of(now, node, provider);
    }

    /// Invariant 3.
    pub(super) fn sweep_nodes(&mut self, now: i64) {
        for index in 0..self.state.nodes.len() {
            let node = &mut self.state.nodes[index];
            let stale = node.last_heartbeat.is_some_and(|at| now - at >= NODE_TTL_MS);
            if node.online && stale {
                node.online = false;
                let providers: Vec<String> = node.providers.keys().cloned().collect();
                for provider in providers {
                    self.lose(now, NodeKey(index), &provider);
                }
                self.state.nodes[index].online = false;
            }
        }
    }

    pub(super) fn provider_of(&mut self, node: NodeKey, name: &str) -> &mut Provider {
        self.state.nodes[node.0].providers.entry(name.to_owned()).or_default()
    }
}
