//! Actions: invocations and their placement.
//!
//! Owns: spawn and release, dispatch to nodes, time-outs, rescheduling.
//! Must not know: sockets beyond the frame it writes, and what results mean.
//!
//! 1. A dispatched invocation that is not ended in 30 s goes back, with the same id: to a node that was
//!    not tried, else later to any; while it is back nobody's result counts.
//! 2. A release goes only to the node of its agent.
//! 3. A spawn is sent to a node that is online with live handlers; one that names its node waits for that.

use super::http::{Answer, Call, Caller, Refusal, refuse};
use super::ids::{InvocationKey, NodeKey, iso};
use super::journal::Event;
use super::state::{Invocation, InvocationState, Place, Provider};
use super::{Engine, Output};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How long a dispatched invocation may take.
const DISPATCH_MS: i64 = 30_000;
/// How long an invocation may wait without ever having been dispatched.
const NEVER_DISPATCHED_MS: i64 = 72 * 60 * 60 * 1_000;
/// First and longest wait before another try.
const RETRY_FIRST_MS: i64 = 5_000;
const RETRY_LAST_MS: i64 = 60_000;

impl Engine {
    // Requests.

    pub(super) fn post_spawn(&mut self, call: &Call<'_>) -> Answer {
        call.text("name")?;
        if let Some(known) = self.options.profile.spawn_harnesses
            && !known.contains(&call.text("cli")?)
        {
            return Err(refuse(400, "invalid_request", format!("cli: expected one of {}", known.join(", "))));
        }
        self.spawn(call, call.body.clone())
    }

    pub(super) fn invoke(&mut self, call: &Call<'_>, name: &str) -> Answer {
        call.caller.agent()?;
        let input = call.body.get("input").cloned().unwrap_or_else(|| call.body.clone());
        match name {
            "spawn" => self.spawn(call, input),
            "release" => {
                let target =
                    input["name"].as_str().or_else(|| input["agent"].as_str()).unwrap_or_default().to_owned();
                self.release(call, &target, input)
            }
            other => self.invoke_on_any(call, other, input),
        }
    }

    fn spawn(&mut self, call: &Call<'_>, input: Value) -> Answer {
        let wanted = input["capability"].as_str().or_else(|| input["cli"].as_str());
        let capability = match wanted {
            Some(wanted) if wanted == "spawn" || wanted.starts_with("spawn:") => wanted.to_owned(),
            Some(wanted) => format!("spawn:{wanted}"),
            None => "spawn".to_owned(),
        };
        let target =
            ["target_node", "node", "target"].iter().find_map(|key| input[*key].as_str()).map(str::to_owned);
        let key = self.make_invocation(call, "spawn", &capability, input);
        if let Some(target) = target {
            let node = self.spawn_target(call, &target)?;
            if !self.offers(node, &capability) {
                return Err(refuse(
                    409,
                    "capability_mismatch",
                    format!("node {target:?} does not offer {capability}"),
                ));
            }
            if !self.is_ready(node) {
                self.book(key, node);
            } else if self.has_spare(node) {
                self.place(call.now, key, node);
            } else {
                return Err(refuse(503, "handler_unavailable", format!("node {target:?} is full")));
            }
        } else if !self.place_anywhere(call.now, key) {
            return Err(refuse(503, "handler_unavailable", format!("no live node offers {capability}")));
        }
        Ok((201, self.invocation_view(key).into()))
    }

    /// The node that a spawn names; `self` is the caller's own.
    fn spawn_target(&self, call: &Call<'_>, target: &str) -> Result<NodeKey, Refusal> {
        if target != "self" {
            let node = self.state.node_by_name(call.caller.workspace(), target);
            return node.ok_or_else(|| refuse(404, "node_not_found", format!("no node {target:?}")));
        }
        let Caller::Agent(_, own) = call.caller else {
            return Err(refuse(400, "placement_self_requires_agent", "only an agent has a place of its own"));
        };
        match self.state.agents[own.0].place {
            Place::Node(node) => Ok(node),
            Place::Direct | Place::Nowhere => {
                Err(refuse(409, "placement_self_unavailable", "the caller is on no node"))
            }
        }
    }

    pub(super) fn post_release(&mut self, call: &Call<'_>) -> Answer {
        let name = call.text("name")?.to_owned();
        let input = json!({
            "name": name, "reason": call.body["reason"], "delete_agent": call.body["delete_agent"] == true,
        });
        self.release(call, &name, input)
    }

    fn release(&mut self, call: &Call<'_>, name: &str, input: Value) -> Answer {
        let agent = self.named(call, name)?;
        let Place::Node(node) = self.state.agents[agent.0].place else {
            return Err(refuse(409, "agent_not_node_bound", format!("agent {name:?} is on no node")));
        };
        let provider = self.state.agents[agent.0].provider.clone();
        let is_local = self.options.profile.local_release && !self.is_host_live(node, &provider);
        if is_local && input["delete_agent"] != true {
            return Err(refuse(503, "agent_host_unavailable", format!("the host of {name:?} is away")));
        }
        let key = self.make_invocation(call, "release", "release", input);
        self.state.invocations[key.0].provider = provider;
        self.assign(key, node);
        if is_local {
            self.end(call.now, key, Value::Null, None);
        } else {
            self.send_invocation(call.now, key);
        }
        Ok((201, self.invocation_view(key).into()))
    }

    /// Whether a release can reach who runs an agent.
    fn is_host_live(&self, node: NodeKey, provider: &str) -> bool {
        let node = &self.state.nodes[node.0];
        let live = |slot: &Provider| slot.connection.is_some() && slot.handlers_live;
        node.online && node.providers.get(provider).is_some_and(live)
    }

    fn invoke_on_any(&mut self, call: &Call<'_>, name: &str, input: Value) -> Answer {
        let key = self.make_invocation(call, name, name, input);
        if !self.place_anywhere(call.now, key) {
            return Err(refuse(404, "action_not_found", format!("nobody offers {name:?}")));
        }
        Ok((201, self.invocation_view(key).into()))
    }

    pub(super) fn get_invocation(&self, _call: &Call<'_>, id: &str) -> Answer {
        let key = self
            .state
            .invocation_by_id(id)
            .ok_or_else(|| refuse(404, "invocation_not_found", "no such invocation"))?;
        Ok((200, self.invocation_view(key).into()))
    }

    fn invocation_view(&self, key: InvocationKey) -> Value {
        let invocation = &self.state.invocations[key.0];
        let node = invocation.node.map(|node| self.state.nodes[node.0].id.clone());
        let status = match invocation.state {
            InvocationState::Pending => "pending",
            InvocationState::Dispatched => "dispatched",
            InvocationState::Completed => "completed",
            InvocationState::Failed => "failed",
        };
        json!({
            "invocation_id": invocation.id, "action_name": invocation.action, "handler_agent_id": null,
            "handler_node_id": node, "dispatched_node_id": node, "input": invocation.input, "status": status,
            "output": invocation.output, "error": invocation.error, "created_at": iso(invocation.created_at),
        })
    }

    fn make_invocation(
        &mut self,
        call: &Call<'_>,
        action: &str,
        capability: &str,
        input: Value,
    ) -> InvocationKey {
        let key = InvocationKey(self.state.invocations.len());
        let id = format!("inv_{}", self.ids.next(call.now));
        self.state.invocation_ids.insert(id.clone(), key);
        self.state.invocations.push(Invocation {
            workspace: call.caller.workspace(),
            id,
            action: action.to_owned(),
            capability: capability.to_owned(),
            input,
            caller: call.caller.agent().ok().map(|(_, agent)| agent),
            state: InvocationState::Pending,
            node: None,
            provider: String::new(),
            tried: BTreeSet::new(),
            attempts: 0,
            dispatched_at: 0,
            retry_after: None,
            created_at: call.now,
            output: Value::Null,
            error: None,
        });
        key
    }

    // Placement and dispatch.

    /// The provider of a node that offers a capability.
    fn provider_for(&self, node: NodeKey, capability: &str) -> Option<&str> {
        let offers = |names: &[String]| names.iter().any(|name| name == capability);
        let providers = &self.state.nodes[node.0].providers;
        providers.iter().find(|(_, provider)| offers(&provider.capabilities)).map(|(name, _)| name.as_str())
    }

    fn offers(&self, node: NodeKey, capability: &str) -> bool {
        self.provider_for(node, capability).is_some()
    }

    /// Room for one more agent beside those that spawns on their way there will need.
    fn has_spare(&self, node: NodeKey) -> bool {
        let limit = self.state.nodes[node.0].max_agents;
        let coming =
            |other: &&Invocation| other.action == "spawn" && other.is_open() && other.node == Some(node);
        let reserved = || self.state.invocations.iter().filter(coming).count() as u64;
        limit == 0 || self.active_agents(node) + reserved() < limit
    }

    fn place_anywhere(&mut self, now: i64, key: InvocationKey) -> bool {
        let invocation = &self.state.invocations[key.0];
        let nodes = self.state.workspaces[invocation.workspace.0].nodes.values().copied();
        let mut eligible: Vec<NodeKey> = nodes
            .filter(|node| !invocation.tried.contains(node) && self.is_ready(*node))
            .filter(|node| self.has_spare(*node) && self.offers(*node, &invocation.capability))
            .collect();
        eligible.sort_by(|a, b| {
            self.load(*a).total_cmp(&self.load(*b)).then(self.active_agents(*a).cmp(&self.active_agents(*b)))
        });
        let Some(node) = eligible.first().copied() else {
            return false;
        };
        self.place(now, key, node);
        true
    }

    fn place(&mut self, now: i64, key: InvocationKey, node: NodeKey) {
        self.book(key, node);
        self.send_invocation(now, key);
    }

    /// An invocation waits for a node that offers it.
    fn book(&mut self, key: InvocationKey, node: NodeKey) {
        let capability = self.state.invocations[key.0].capability.clone();
        let provider =
            self.provider_for(node, &capability).unwrap_or(super::nodes::DEFAULT_PROVIDER).to_owned();
        self.state.invocations[key.0].provider = provider;
        self.assign(key, node);
    }

    fn assign(&mut self, key: InvocationKey, node: NodeKey) {
        let invocation = &mut self.state.invocations[key.0];
        (invocation.node, invocation.state, invocation.retry_after) =
            (Some(node), InvocationState::Pending, None);
        invocation.tried.insert(node);
    }

    /// Writes the frame, if the socket is open.
    pub(super) fn send_invocation(&mut self, now: i64, key: InvocationKey) {
        let invocation = &mut self.state.invocations[key.0];
        let Some(node) = invocation.node.filter(|_| invocation.is_open()) else {
            return;
        };
        let slot = self.state.nodes[node.0].providers.get(&invocation.provider);
        let Some(connection) = slot.and_then(|slot| slot.connection) else {
            return;
        };
        (invocation.state, invocation.dispatched_at) = (InvocationState::Dispatched, now);
        let frame = json!({
            "v": 1, "type": "action.invoke", "invocation_id": invocation.id, "action": invocation.capability,
            "input": invocation.input,
        });
        let (invocation_id, action) = (invocation.id.clone(), invocation.capability.clone());
        if self.loss(now).is_some() {
            return self.journal.push(now, Event::InvocationLost { invocation_id });
        }
        self.journal.push(now, Event::InvocationSent { connection, invocation_id, action });
        self.out.push_back(Output::Send { connection, text: frame.to_string() });
    }

    /// What waited for a node is sent when it is there again.
    pub(super) fn drain_invocations(&mut self, now: i64, node: NodeKey, provider: &str) {
        let waits = |other: &Invocation| {
            other.state == InvocationState::Pending && other.node == Some(node) && other.provider == provider
        };
        for key in self.keys_of(waits) {
            self.send_invocation(now, key);
        }
    }

    fn keys_of(&self, wanted: impl Fn(&Invocation) -> bool) -> Vec<InvocationKey> {
        let indexed = self.state.invocations.iter().enumerate();
        indexed.filter(|(_, invocation)| wanted(invocation)).map(|(index, _)| InvocationKey(index)).collect()
    }

    // Rescheduling (invariant 1).

    pub(super) fn reschedule(&mut self, now: i64, key: InvocationKey) {
        let invocation = &mut self.state.invocations[key.0];
        if invocation.action == "release" {
            if self.options.profile.release_sticks {
                return;
            }
            // It can only be done where the agent is.
            invocation.state = InvocationState::Pending;
            let invocation_id = invocation.id.clone();
            return self.journal.push(now, Event::InvocationRescheduled { invocation_id });
        }
        invocation.attempts += 1;
        invocation.state = InvocationState::Pending;
        let invocation_id = invocation.id.clone();
        self.journal.push(now, Event::InvocationRescheduled { invocation_id });
        if !self.place_anywhere(now, key) {
            let invocation = &mut self.state.invocations[key.0];
            let wait = RETRY_FIRST_MS << (invocation.attempts - 1).min(10);
            (invocation.node, invocation.retry_after) = (None, Some(now + wait.min(RETRY_LAST_MS)));
            invocation.tried.clear();
        }
    }

    pub(super) fn reschedule_of(&mut self, now: i64, node: NodeKey, provider: &str) {
        let lost = |other: &Invocation| {
            other.state == InvocationState::Dispatched
                && other.node == Some(node)
                && other.provider == provider
        };
        for key in self.keys_of(lost) {
            self.reschedule(now, key);
        }
    }

    /// Open invocations of a node that its inventory does not list.
    pub(super) fn reschedule_unlisted(
        &mut self,
        now: i64,
        node: NodeKey,
        provider: &str,
        listed: &[&str],
    ) -> usize {
        let unlisted = |other: &Invocation| {
            other.is_open()
                && other.node == Some(node)
                && other.provider == provider
                && !listed.contains(&other.id.as_str())
        };
        let keys = self.keys_of(unlisted);
        for key in &keys {
            self.reschedule(now, *key);
        }
        keys.len()
    }

    pub(super) fn sweep_invocations(&mut self, now: i64) {
        let overdue = |other: &Invocation| {
            other.state == InvocationState::Dispatched && now - other.dispatched_at > DISPATCH_MS
        };
        for key in self.keys_of(overdue) {
            self.reschedule(now, key);
        }
        let retry = |other: &Invocation| {
            other.state == InvocationState::Pending && other.retry_after.is_some_and(|at| at <= now)
        };
        for key in self.keys_of(retry) {
            self.reschedule(now, key);
        }
        let abandoned = |other: &Invocation| {
            other.state == InvocationState::Pending
                && other.dispatched_at == 0
                && now - other.created_at > NEVER_DISPATCHED_MS
        };
        if self.options.profile.bounded_invocations {
            for key in self.keys_of(abandoned) {
                self.end(now, key, Value::Null, Some("never_dispatched_expired".into()));
            }
        }
    }
}
