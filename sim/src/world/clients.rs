//! Clients: senders at the engine, the operator at the local API, and the plan's steps.
//!
//! Owns: who asks whom for what, and what is asked for again.
//! Must not know: how requests travel.
//!
//! 1. The operator wants every planned agent to run until it is retired: one that does not is spawned again, and
//!    one that runs on is released again. While all is as it is wanted nobody looks, so quiet time costs nothing.

use super::World;
use super::event::Event;
use super::marks::FaultMark;
use crate::agents::Kind;
use crate::agents::reader::{Token, body};
use crate::engine::{Engine, HttpResponse};
use crate::plan::{AgentPlan, SECOND, Step};
use crate::rng::{Stream, key};
use relay_core::ids::RequestId;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How often the operator looks.
const LOOK: u64 = 2 * SECOND;
/// The operator asks no oftener than this, however much is sent.
const ASK: u64 = SECOND;
/// Names of the senders at the engine.
pub(crate) const SENDERS: [&str; 2] = ["alice", "bob"];
/// First tasks are numbered from here, beyond all messages.
const TASK: Token = 1 << 32;
/// Results and refusals are numbered from here.
const RESULT: Token = 2 << 32;
/// So few actions are refused that some are again.
const ACTIONS: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Clients {
    /// How often the operator has asked how things are.
    inquiries: u64,
    /// When the operator asks again, at the earliest.
    asks_at: u64,
    tokens: Token,
    /// So many first tasks were given.
    tasks: Token,
    /// The operator is going to look.
    looks: bool,
    /// Spawns under way, by agent.
    pub(super) spawning: BTreeMap<usize, RequestId>,
    /// Agents whose identity was deleted, and when the operator starts them anew.
    deleted: BTreeMap<usize, u64>,
    /// Agents that the operator does not want any more.
    retired: BTreeSet<usize>,
    /// Tokens of the senders.
    senders: Vec<String>,
    /// The latest message of the channel.
    latest: Option<String>,
    /// The identities in the senders' group, and its conversation.
    group: Option<(Vec<String>, String)>,
}

impl Clients {
    pub(super) fn died(&mut self) {
        self.spawning.clear();
    }
}

impl World<'_> {
    pub(super) fn enrol_senders(&mut self) {
        for name in SENDERS {
            let key = self.api_key.clone();
            let wish = json!({ "name": name }).to_string();
            let answer = self.http("POST", "/v1/agents", Some(&key), &[], Some(&wish));
            let data: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let token = data["data"]["token"].as_str().expect("a new agent has a token");
            self.clients.senders.push(token.to_owned());
        }
    }

    pub(super) fn on_step(&mut self, number: usize) {
        if self.now >= self.clients.asks_at {
            self.inquire();
        }
        let (_, step) = self.plan.steps[number];
        let name = |agent: usize| self.plan.agents[agent].name.clone();
        match step {
            Step::Direct { to, steer, size } => {
                let mode = if steer { "steer" } else { "wait" };
                let wish = json!({ "to": name(to), "text": self.text(size), "mode": mode });
                self.post(number, "/v1/dm", &wish);
            }
            Step::Burst { to, count } => {
                let to = name(to);
                for size in 0..count {
                    let wish = json!({ "to": to, "text": self.text(size), "mode": "wait" });
                    self.post(number, "/v1/dm", &wish);
                }
            }
            Step::Input { to } => {
                let wish = json!({ "data": "typed by hand\r" });
                self.ask("POST", &format!("/api/input/{}", name(to)), &wish.to_string());
            }
            Step::Channel { size } => {
                let wish = json!({ "text": self.text(size) });
                self.clients.latest = self.make(number, "/v1/channels/general/messages", &wish);
                // Somebody reacts to every fourth at once.
                if number.is_multiple_of(4) {
                    self.post_about_latest(number + 1, "reactions", &json!({ "emoji": "wave" }));
                }
            }
            Step::Reply { .. } if self.clients.latest.is_none() => {}
            Step::Reply { size } => {
                let wish = json!({ "text": self.text(size) });
                self.post_about_latest(number, "replies", &wish);
            }
            Step::Group { size } => {
                if let Some(group) = self.group() {
                    let wish = json!({ "text": self.text(size) });
                    self.post(0, &format!("/v1/dm/{group}/messages"), &wish);
                }
            }
            Step::Send { to, size } => {
                let from = name((to + 1) % self.plan.agents.len());
                let wish = json!({ "to": name(to), "text": self.text(size), "from": from });
                self.ask("POST", "/api/send", &wish.to_string());
            }
            Step::Invoke { agent } => self.invoke(number, agent),
            Step::InvokeRelease { agent } => {
                let delete = number.is_multiple_of(2);
                let wish = json!({ "name": name(agent), "reason": "planned", "delete_agent": delete });
                self.order("/v1/agents/release", &wish);
            }
            Step::Release { agent } => {
                self.ask("DELETE", &format!("/api/spawned/{}", name(agent)), "");
            }
            Step::React { read } => {
                let event = if read { "read" } else { "reactions" };
                self.post_about_latest(number, event, &json!({ "emoji": "eyes" }));
            }
            Step::Reactions { count } => {
                for times in 0..count {
                    let wish = json!({ "emoji": format!("e{times}") });
                    self.post_about_latest(number, "reactions", &wish);
                }
            }
            Step::Outcome { to } if self.plan.agents[to].kind == Kind::Deaf => {}
            Step::Outcome { to } => self.at_engine(to, |engine, now, id| {
                let output = json!({ "outcome": body(RESULT + number as Token, 1, 1) });
                engine.finish_elsewhere(now, id, &output);
            }),
            Step::Deny { to } => self.at_engine(to, |engine, now, id| {
                let (action, why) = (number % ACTIONS, body(RESULT + number as Token, 1, 1));
                engine.deny_action(now, id, &format!("action-{action}"), &why);
            }),
            Step::Novel { to } => self.at_engine(to, Engine::send_novelty),
            Step::Ask { agent, what } => self.pester(number, &name(agent), what),
            Step::Fault(fault) => self.start_fault(fault),
        }
    }

    /// Something happens at the engine that concerns an agent, if it knows it.
    fn at_engine(&mut self, agent: usize, happens: impl FnOnce(&mut Engine, i64, &str)) {
        if let Some(id) = self.engine.agent_id(&self.plan.agents[agent].name) {
            let now = self.now_ms();
            happens(&mut self.engine, now, &id);
            self.pump_engine();
        }
    }

    /// Every agent gets one more message.
    pub(super) fn write_to_all(&mut self) {
        for number in 0..self.plan.agents.len() {
            let name = self.plan.agents[number].name.clone();
            let wish = json!({ "to": name, "text": self.text(20), "mode": "wait" });
            self.post(number, "/v1/dm", &wish);
        }
    }

    /// Somebody orders an agent at the engine.
    fn invoke(&mut self, number: usize, agent: usize) {
        let AgentPlan { name, kind, .. } = self.plan.agents[agent].clone();
        if !kind.is_placeable() {
            return;
        }
        let task = self.task(agent);
        // Every second order is an action of an agent, and names the harness only there.
        if number.is_multiple_of(2) {
            let wish = json!({ "name": name, "cli": kind.command(), "task": task });
            self.order("/v1/agents/spawn", &wish);
        } else {
            let capability = format!("spawn:{}", kind.command());
            let wish = json!({ "name": name, "capability": capability, "task": task });
            self.post(number, "/v1/actions/spawn/invoke", &wish);
        }
    }

    /// The first task of an agent that has one, each time another.
    fn task(&mut self, agent: usize) -> String {
        if !self.plan.agents[agent].task {
            return String::new();
        }
        self.clients.tasks += 1;
        body(TASK + self.clients.tasks, 60, 400)
    }

    /// A new body.
    fn text(&mut self, size: usize) -> String {
        self.clients.tokens += 1;
        let token = self.clients.tokens;
        let line = self.rng.between(Stream::Step, key(token, 9), 1, 400) as usize;
        body(token, size, line)
    }

    /// The conversation of a sender and all agents that there are; a new one when there are others.
    fn group(&mut self) -> Option<String> {
        let known = |agent: &AgentPlan| Some((agent.name.clone(), self.engine.agent_id(&agent.name)?));
        let (names, ids): (Vec<_>, Vec<_>) = self.plan.agents.iter().filter_map(known).unzip();
        match &self.clients.group {
            Some((members, group)) if *members == ids => return Some(group.clone()),
            _ if names.is_empty() => return None,
            _ => {}
        }
        let group = self.make(0, "/v1/dm/group", &json!({ "participants": names }))?;
        self.clients.group = Some((ids, group.clone()));
        Some(group)
    }

    /// A sender's request.
    fn post(&mut self, number: usize, path: &str, wish: &Value) -> HttpResponse {
        let token = self.clients.senders[number % SENDERS.len()].clone();
        self.http("POST", path, Some(&token), &[], Some(&wish.to_string()))
    }

    /// A sender's request about the latest message of the channel, if there is one.
    fn post_about_latest(&mut self, number: usize, what: &str, wish: &Value) {
        if let Some(latest) = &self.clients.latest {
            let path = format!("/v1/messages/{latest}/{what}");
            self.post(number, &path, wish);
        }
    }

    /// A sender's request; the id of what it made.
    fn make(&mut self, number: usize, path: &str, wish: &Value) -> Option<String> {
        super::calls::made(&self.post(number, path, wish).body).map(|made| made.id.into_owned())
    }

    /// A request of whoever holds the workspace key.
    fn order(&mut self, path: &str, wish: &Value) {
        let key = self.api_key.clone();
        self.http("POST", path, Some(&key), &[], Some(&wish.to_string()));
    }

    /// An agent may be missing.
    pub(super) fn look_soon(&mut self) {
        if !std::mem::replace(&mut self.clients.looks, true) {
            self.heap.put(self.now + LOOK, Event::Supervise);
        }
    }

    pub(super) fn supervise(&mut self) {
        self.clients.looks = false;
        for number in 0..self.plan.agents.len() {
            if self.terminals.has(&self.plan.agents[number].name) {
                self.part_with(number);
                continue;
            }
            if self.clients.retired.contains(&number) {
                continue;
            }
            self.clients.deleted.remove(&number);
            self.look_soon();
            let AgentPlan { name, kind, from, .. } = self.plan.agents[number].clone();
            if self.now < from || self.clients.spawning.contains_key(&number) {
                continue;
            }
            let wish = json!({ "name": name, "cli": kind.command(), "task": self.task(number) });
            if let Some(request) = self.ask("POST", "/api/spawn", &wish.to_string()) {
                self.clients.spawning.insert(number, request);
            }
        }
    }

    /// Somebody deletes the identity of an agent that runs here; after so long the operator starts it anew.
    pub(super) fn delete_identity(&mut self, agent: usize, lasts: u64) {
        let name = self.plan.agents[agent].name.clone();
        if !self.is_placed_here(&name) || !self.terminals.has(&name) {
            return;
        }
        self.delete_agent(&name);
        self.mark(FaultMark::IdentityDeleted);
        self.clients.deleted.insert(agent, self.now + lasts);
        self.look_soon();
    }

    /// An agent is not wanted any more from now on.
    pub(super) fn retire(&mut self, agent: usize) {
        if self.clients.retired.insert(agent) && self.terminals.has(&self.plan.agents[agent].name) {
            self.mark(FaultMark::Retired);
            self.part_with(agent);
        }
    }

    /// An agent that is not wanted, or whose identity is gone, is released when its time has come, until it is
    /// gone as well.
    fn part_with(&mut self, number: usize) {
        let retired = self.clients.retired.contains(&number).then_some(0);
        let Some(until) = retired.or_else(|| self.clients.deleted.get(&number).copied()) else {
            return;
        };
        if self.now >= until {
            self.ask("DELETE", &format!("/api/spawned/{}", self.plan.agents[number].name), "");
        }
        self.look_soon();
    }

    /// The operator asks how things are; mostly whether all is well.
    pub(super) fn inquire(&mut self) {
        self.clients.inquiries += 1;
        self.clients.asks_at = self.now + ASK;
        let target = match self.clients.inquiries % 16 {
            2 => "/api/session",
            6 => "/api/status",
            10 => "/api/spawned",
            14 => "/api/dead-letters",
            _ => "/health",
        };
        self.ask("GET", target, "");
    }

    /// The agents that the operator wants.
    pub(super) fn wanted_agents(&self) -> impl Iterator<Item = &AgentPlan> {
        let agents = self.plan.agents.iter().enumerate();
        agents.filter(|(number, _)| !self.clients.retired.contains(number)).map(|(_, agent)| agent)
    }

    /// An agent that the operator wants and that does not run.
    pub(super) fn missing_agent(&self) -> Option<&str> {
        self.wanted_agents().map(|agent| agent.name.as_str()).find(|name| !self.terminals.has(name))
    }

    /// An agent that the operator does not want, and that runs.
    pub(super) fn unwanted_agent(&self) -> Option<&str> {
        let mut names = self.clients.retired.iter().map(|number| self.plan.agents[*number].name.as_str());
        names.find(|name| self.terminals.has(name))
    }
}
