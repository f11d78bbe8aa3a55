//! The scene: what the broker that lives now has on the wire, and who lives with it.
//!
//! Owns: the current link, whether its registration is confirmed, requests without an answer, and the
//! identities and processes hosted here; all as the wire and the commands tell it.
//! Must not know: what is right about it.
//!
//! 1. A fact is one as soon as the broker has been told it, or has commanded it.
//! 2. The death of a life ends its scene.

use super::At;
use super::facts::Frame;
use relay_core::ids::{CallId, LinkId, ProcessId};
use relay_core::limits::{ANSWER_SILENCE, INVENTORY_DELAY, INVENTORY_REFRESH};
use relay_core::{Command, Input};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a request on the link is about.
#[derive(Debug)]
enum Asked {
    Register,
    /// With the identities that run and were left out, and those that were listed.
    Inventory(Vec<String>, Vec<String>),
    Agent(String),
    Other,
}

/// The one link of a life.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// When its registration was confirmed, in virtual µs.
    pub(super) confirmed_at: Option<u64>,
    /// Without a correlated answer until then the engine counts as dead: the machine's clock, in µs.
    pub(super) answer_by: u64,
    /// From then on an inventory waits for nothing that is under way: the machine's clock, in µs.
    pub(super) inventory_by: u64,
    /// By then an inventory has left, as its clock did not jump meanwhile: the machine's clock, in µs.
    pub(super) inventory_due: u64,
    /// When the engine has last refused an inventory on it, in virtual µs.
    pub(super) refused_at: Option<u64>,
    /// How many it has refused since one left that lacked nobody.
    pub(super) refusals: usize,
    /// Identities that the latest accepted inventory left out, and that were not registered since.
    pub(super) left_out: Vec<String>,
    /// How many entries of it the engine passed over.
    pub(super) passed_over: u64,
    /// Whom it listed.
    listed: Vec<String>,
    /// How many of these the engine does not know.
    unknown: usize,
    requests: BTreeMap<String, Asked>,
}

impl Link {
    /// What a reply is about that does not say to what it is one: the node's, or that of a name.
    fn meant(&mut self, frame: &Frame<'_>) -> Option<Asked> {
        let data = frame.data.as_ref()?;
        if self.confirmed_at.is_none() && data.id.as_deref().is_some_and(|id| id.starts_with("node_")) {
            return Some(Asked::Register);
        }
        let name = data.name.as_deref()?;
        let wanted = |asked: &Asked| matches!(asked, Asked::Agent(other) if other == name);
        let id = self.requests.iter().find(|(_, asked)| wanted(asked)).map(|(id, _)| id.clone())?;
        self.requests.remove(&id)
    }
}

#[derive(Debug)]
struct Process {
    name: String,
    /// The broker knows that it runs.
    runs: bool,
}

#[derive(Debug, Default)]
pub(super) struct Scene {
    pub(super) link: Option<Link>,
    /// The latest link whose registration was confirmed.
    confirmed: Option<LinkId>,
    /// Names of the identities registered by this life, by identity.
    hosted: BTreeMap<String, String>,
    /// The latest registration of each name.
    latest: BTreeMap<String, String>,
    processes: BTreeMap<ProcessId, Process>,
    /// Whom the engine has asked to release: they run on for a moment, and count as gone.
    parting: BTreeSet<String>,
    /// Registrations over HTTP.
    calls: BTreeMap<CallId, String>,
    mono: u64,
    /// The broker is asked to stop.
    pub(super) stops: bool,
}

/// A step of the machine's clock beyond this is a jump, which re-arms what waits for answers.
const JUMP: u64 = relay_core::limits::CLOCK_JUMP.0;

/// A timer's due time and the command that follows may be this far apart, in µs.
const SLACK: u64 = 1_000_000;

impl Scene {
    /// Whether a later link than this one was confirmed: agents may be others under old names.
    pub(super) fn is_outlived(&self, link: LinkId) -> bool {
        self.confirmed.is_some_and(|confirmed| confirmed > link)
    }

    /// Whether this life has registered an agent of this name and not taken leave of it.
    pub(super) fn hosts(&self, name: &str) -> bool {
        self.hosted.values().any(|other| other == name)
    }

    /// The name under which this life has registered an identity.
    pub(super) fn name_of(&self, id: &str) -> Option<&str> {
        self.hosted.get(id).map(String::as_str)
    }

    /// The identities that this life has registered under a name.
    pub(super) fn ids_of(&self, name: &str) -> impl Iterator<Item = &str> {
        self.hosted.iter().filter(move |(_, other)| *other == name).map(|(id, _)| id.as_str())
    }

    /// Identities whose process the broker knows to run.
    pub(super) fn running(&self) -> impl Iterator<Item = (&str, &str)> {
        let stays = |name: &str| self.runs(name) && !self.parting.contains(name);
        let hosted = self.hosted.iter().filter(move |(_, name)| stays(name));
        hosted.map(|(id, name)| (id.as_str(), name.as_str()))
    }

    /// Whether a process of this name is there, as far as the broker knows.
    pub(super) fn runs(&self, name: &str) -> bool {
        self.processes.values().any(|process| process.runs && process.name == name)
    }

    /// Whose process it is.
    pub(super) fn process(&self, process: ProcessId) -> Option<&str> {
        self.processes.get(&process).map(|process| process.name.as_str())
    }

    /// An identity that runs and gets no messages, as the engine has said.
    pub(super) fn deaf(&self) -> Option<String> {
        let link = self.link.as_ref()?;
        let left_out = link.left_out.iter().find(|id| self.running().any(|(running, _)| running == *id));
        let passed_over = || (link.passed_over > 0).then(|| format!("{} entries", link.passed_over));
        left_out.cloned().or_else(passed_over)
    }

    /// Whether somebody runs whom the engine does not know, as it has said.
    pub(super) fn has_unknown(&self) -> bool {
        let runs = |id: &String| self.running().any(|(running, _)| running == id);
        // It is asked with every health, and mostly nobody is unknown.
        self.link.as_ref().filter(|link| link.unknown > 0).is_some_and(|link| {
            let gone = link.listed.iter().filter(|id| !runs(id)).count();
            link.unknown > gone
        })
    }

    /// Whether the link's registration is confirmed.
    pub(super) fn is_confirmed(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.confirmed_at.is_some())
    }

    pub(super) fn input(&mut self, at: At, input: &Input<'_>, frame: Option<&Frame<'_>>) {
        let jumped = at.mono.saturating_sub(self.mono) > JUMP;
        self.mono = at.mono;
        if let Some(link) = self.link.as_mut().filter(|_| jumped) {
            link.answer_by = link.answer_by.max(answer_by(at));
            // What was due while the machine slept is done as soon as it is awake.
            link.inventory_due = link.inventory_due.max(at.mono + SLACK);
        }
        match input {
            Input::Terminate => self.stops = true,
            // How long the opening may take is another matter.
            Input::LinkUp { link } => {
                if let Some(current) = self.link.as_mut().filter(|other| other.id == *link) {
                    current.answer_by = answer_by(at);
                }
            }
            Input::LinkText { link, .. } => {
                let current = self.link.as_ref().is_some_and(|other| other.id == *link);
                if let Some(frame) = frame.filter(|_| current) {
                    self.on_frame(at, frame);
                }
                let release = frame.filter(|frame| frame.action.as_deref() == Some("release"));
                let name = release.and_then(|frame| frame.input.as_ref()?.name.as_deref());
                if let Some(name) = name.filter(|name| self.hosts(name)) {
                    self.parting.insert(name.to_owned());
                }
            }
            Input::LinkDown { link, .. } | Input::LinkRefused { link, .. } => {
                self.link.take_if(|other| other.id == *link);
            }
            Input::Spawned { process, result: Ok(_) } => {
                if let Some(process) = self.processes.get_mut(process) {
                    process.runs = true;
                }
            }
            Input::PtyExited { process, .. } | Input::Spawned { process, result: Err(_) } => {
                self.processes.remove(process);
            }
            Input::CallDone { call, result } => {
                let name = self.calls.remove(call);
                if let (Some(name), Ok(reply)) = (name, result)
                    && reply.status < 300
                {
                    let body: Value = serde_json::from_slice(reply.body).unwrap_or_default();
                    if let Some(id) = body["data"]["id"].as_str() {
                        self.host(id, name);
                    }
                }
            }
            _ => {}
        }
    }

    /// The latest registration of a name was answered: what it had before it was started has no process.
    fn host(&mut self, id: &str, name: String) {
        if !self.runs(&name) {
            self.hosted.retain(|_, other| *other != name);
        }
        self.parting.remove(&name);
        self.hosted.insert(id.to_owned(), name);
    }

    fn on_frame(&mut self, at: At, frame: &Frame<'_>) {
        let is_reply = frame.kind() == "reply";
        let runs: BTreeSet<String> = if frame.data.as_ref().is_some_and(|data| data.rebound_agents.is_some())
        {
            self.running().map(|(id, _)| id.to_owned()).collect()
        } else {
            BTreeSet::new()
        };
        let (Some(link), true) = (&mut self.link, is_reply || frame.kind() == "error") else {
            return;
        };
        let known = frame.id.as_deref().and_then(|id| link.requests.remove(id));
        let Some(asked) = known.or_else(|| link.meant(frame)) else {
            return;
        };
        link.answer_by = answer_by(at);
        match asked {
            Asked::Register if is_reply => {
                link.confirmed_at = Some(at.now);
                self.confirmed = Some(link.id);
                link.inventory_by = at.mono + INVENTORY_DELAY.0;
                link.inventory_due = link.inventory_by + SLACK;
            }
            Asked::Inventory(..) if !is_reply => {
                link.refused_at = Some(at.now);
                link.refusals += 1;
            }
            Asked::Inventory(left_out, listed) => {
                link.left_out = left_out;
                link.passed_over = frame.data.as_ref().map_or(0, |data| data.rejected_agents);
                let known = frame.data.as_ref().and_then(|data| data.rebound_agents).unwrap_or(u64::MAX);
                let known = known.saturating_add(link.passed_over);
                // The answer to one that is not the latest tells nothing for sure.
                let is_latest = !link.requests.values().any(|asked| matches!(asked, Asked::Inventory(..)));
                // Who has left since may be among those that are known, or not.
                let listed: Vec<String> = listed.into_iter().filter(|id| runs.contains(id)).collect();
                link.unknown = if is_latest { listed.len().saturating_sub(known as usize) } else { 0 };
                link.listed = listed;
            }
            Asked::Agent(name) if is_reply => {
                let id = frame.data.as_ref().and_then(|data| data.agent_id.as_deref());
                link.left_out.retain(|other| Some(other.as_str()) != id);
                let latest = frame.id.as_deref() == self.latest.get(&name).map(String::as_str);
                match id {
                    // One that does not say to what it is an answer is taken for the latest.
                    Some(id) if latest || (frame.id.is_none() && !self.runs(&name)) => self.host(id, name),
                    Some(id) => self.hosted.extend([(id.to_owned(), name)]),
                    None => {}
                }
            }
            _ => {}
        }
    }

    pub(super) fn command(&mut self, at: At, command: &Command, frame: Option<&Frame<'_>>) {
        match command {
            Command::LinkOpen { link, .. } => {
                let answer_by = answer_by(at);
                self.link = Some(Link {
                    id: *link,
                    confirmed_at: None,
                    answer_by,
                    inventory_by: 0,
                    inventory_due: 0,
                    refused_at: None,
                    refusals: 0,
                    left_out: Vec::new(),
                    passed_over: 0,
                    listed: Vec::new(),
                    unknown: 0,
                    requests: BTreeMap::new(),
                });
            }
            Command::LinkClose { link, .. } => {
                self.link.take_if(|other| other.id == *link);
            }
            Command::LinkSend { .. } => {
                if let Some(frame) = frame {
                    self.on_sent(at, frame);
                }
            }
            Command::Spawn { process, child, .. } => {
                let name = child.env.iter().rev().find(|(name, _)| name == "RELAY_AGENT_NAME");
                let name = name.map_or("", |(_, value)| value.expose()).to_owned();
                self.processes.insert(*process, Process { name, runs: false });
            }
            Command::PtyForget { process } => {
                // The broker has done with it, and with whoever it was.
                if let Some(process) = self.processes.remove(process) {
                    self.hosted.retain(|_, name| *name != process.name);
                }
            }
            Command::Call { call, request, .. }
                if request.method == "POST" && request.url.ends_with("/v1/agents") =>
            {
                let body = request.body.as_deref().unwrap_or_default();
                let body: Value = serde_json::from_str(body).unwrap_or_default();
                if let Some(name) = body["name"].as_str() {
                    self.latest.remove(name);
                    self.calls.insert(*call, name.to_owned());
                }
            }
            _ => {}
        }
    }

    fn on_sent(&mut self, at: At, frame: &Frame<'_>) {
        let name = || frame.name.as_deref().unwrap_or_default().to_owned();
        let asked = match frame.kind() {
            "node.register" => Asked::Register,
            "inventory.sync" => {
                let listed =
                    |id: &str| frame.agents.iter().any(|entry| entry.agent_id.as_deref() == Some(id));
                let left_out = self.running().filter(|(id, _)| !listed(id));
                let left_out: Vec<String> = left_out.map(|(id, _)| id.to_owned()).collect();
                if let Some(link) = &mut self.link {
                    link.inventory_by = at.mono + INVENTORY_REFRESH.0 + INVENTORY_DELAY.0;
                    link.inventory_due = link.inventory_by + SLACK;
                    if left_out.is_empty() {
                        link.refusals = 0;
                    }
                }
                let listed = frame.agents.iter().filter_map(|entry| entry.agent_id.as_deref());
                Asked::Inventory(left_out, listed.map(str::to_owned).collect())
            }
            "agent.register" | "agent.recover" => {
                self.latest.extend(frame.id.as_deref().map(|id| (name(), id.to_owned())));
                Asked::Agent(name())
            }
            "agent.deregister" => {
                self.hosted.remove(frame.agent_id.as_deref().unwrap_or_default());
                Asked::Other
            }
            _ => return,
        };
        if let (Some(link), Some(id)) = (&mut self.link, &frame.id) {
            link.requests.insert(id.to_string(), asked);
        }
    }
}
/// Until when an answer must come to what is asked now. Edited records tell any time.
const fn answer_by(at: At) -> u64 {
    at.mono.saturating_add(ANSWER_SILENCE.0)
}
