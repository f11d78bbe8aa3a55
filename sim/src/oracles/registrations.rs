//! S8 and S14: what becomes of registrations of agents.
//!
//! Would catch: the late reply to a registration that was given up taken for the reply to the next one
//! of the same name; an agent that has left, died or never started and stays registered; an agent
//! reported as running although it could not be bound to its node.
//!
//! 1. S8: a process is started with the token of the latest registration of its name.
//! 2. S14: a name is registered anew only after leave was taken of the identity that it had a process for.
//! 3. S14: whoever asked for an agent is told when its binding to the node failed.
//!
//! Registrations over HTTP have no frames; of them only their bindings are judged.

use super::Broken;
use super::facts::Frame;
use relay_core::ids::{CallId, ProcessId};
use relay_core::{Command, Input};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An identity that this life has registered.
#[derive(Debug)]
struct Registered {
    id: String,
    /// A process was started for it.
    used: bool,
}

#[derive(Debug, Default)]
pub(super) struct Registrations {
    /// Names, by the requests about them.
    asked: BTreeMap<String, String>,
    /// The latest request, and the token that answered it, by name.
    latest: BTreeMap<String, (String, Option<String>)>,
    here: BTreeMap<String, Registered>,
    bindings: BTreeMap<CallId, String>,
    /// Names whose latest identity could not be bound.
    unbound: BTreeSet<String>,
    /// Processes that are being started.
    starting: BTreeMap<ProcessId, String>,
    /// Processes of identities that could not be bound. A name may have had others.
    deaf: BTreeSet<u64>,
}

impl Registrations {
    pub(super) fn input(&mut self, input: &Input<'_>, frame: Option<&Frame<'_>>) {
        match input {
            Input::LinkText { text, .. } => {
                if let Some(frame) = frame.filter(|frame| frame.kind() == "reply" && frame.id.is_none()) {
                    // It may answer any of the registrations of its name.
                    let name = frame.data.as_ref().and_then(|data| data.name.as_deref());
                    self.latest.remove(name.unwrap_or_default());
                }
                let name = frame.and_then(|frame| self.asked.remove(frame.id.as_deref()?));
                if let (Some(frame), Some(name)) = (frame.filter(|frame| frame.kind() == "reply"), name) {
                    self.on_reply(name, frame, text);
                }
            }
            Input::CallDone { call, result } => {
                let Some(name) = self.bindings.remove(call) else {
                    return;
                };
                if result.as_ref().is_ok_and(|reply| reply.status < 300) {
                    self.unbound.remove(&name);
                } else {
                    self.unbound.insert(name);
                }
            }
            Input::Spawned { process, result } => {
                if let (Some(name), Ok(pid)) = (self.starting.remove(process), result) {
                    let pid = u64::from(*pid);
                    self.deaf.remove(&pid);
                    if self.unbound.contains(&name) {
                        self.deaf.insert(pid);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_reply(&mut self, name: String, frame: &Frame<'_>, text: &str) {
        let reply: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some((request, token)) = self.latest.get_mut(&name)
            && Some(request.as_str()) == frame.id.as_deref()
        {
            *token = reply["data"]["token"].as_str().map(str::to_owned);
        }
        if let Some(id) = reply["data"]["agent_id"].as_str() {
            self.here.insert(name, Registered { id: id.to_owned(), used: false });
        }
    }

    pub(super) fn command(&mut self, command: &Command, frame: Option<&Frame<'_>>) -> Result<(), Broken> {
        match command {
            Command::LinkSend { text, .. } => frame.map_or(Ok(()), |frame| self.sent(frame, text)),
            Command::Spawn { process, child, .. } => {
                let value = |key: &str| {
                    let found = child.env.iter().rev().find(|(name, _)| name == key);
                    found.map_or("", |(_, value)| value.expose())
                };
                let name = value("RELAY_AGENT_NAME");
                self.starting.insert(*process, name.to_owned());
                self.spawned(name, value("RELAY_AGENT_TOKEN"))
            }
            Command::Call { call, request, .. } => {
                self.called(*call, &request.url, request.body.as_deref());
                Ok(())
            }
            Command::ApiReply { body, status: 200, .. } => self.reported(body),
            _ => Ok(()),
        }
    }

    fn sent(&mut self, frame: &Frame<'_>, text: &str) -> Result<(), Broken> {
        let name = frame.name.as_deref().unwrap_or_default();
        match (frame.kind(), frame.id.as_deref()) {
            (kind @ ("agent.register" | "agent.recover"), Some(request)) => {
                self.asked.insert(request.to_owned(), name.to_owned());
                self.latest.insert(name.to_owned(), (request.to_owned(), None));
                self.unbound.remove(name);
                match self.here.get(name).filter(|here| here.used && kind == "agent.register") {
                    Some(Registered { id, .. }) => {
                        Err(("S14", format!("{name:?} is registered anew and {id} was not taken leave of")))
                    }
                    None => Ok(()),
                }
            }
            ("agent.deregister", _) => {
                let left = frame.agent_id.as_deref().unwrap_or_default();
                self.here.retain(|_, here| here.id != left);
                Ok(())
            }
            ("action.result", _) => self.reported(text),
            _ => Ok(()),
        }
    }

    fn spawned(&mut self, name: &str, token: &str) -> Result<(), Broken> {
        if let Some(here) = self.here.get_mut(name) {
            here.used = true;
        }
        match self.latest.get(name) {
            Some((request, answer)) if answer.as_deref() != Some(token) => {
                Err(("S8", format!("{name:?} is started with a token that does not answer {request}")))
            }
            _ => Ok(()),
        }
    }

    fn called(&mut self, call: CallId, url: &str, body: Option<&str>) {
        if !url.ends_with("/agents") {
            return;
        }
        let body: Value = serde_json::from_str(body.unwrap_or_default()).unwrap_or_default();
        if let Some(name) = body["agent_name"].as_str() {
            self.bindings.insert(call, name.to_owned());
        } else if let Some(name) = body["name"].as_str() {
            self.latest.remove(name);
            self.here.remove(name);
            self.unbound.remove(name);
        }
    }

    /// An answer about a spawn, or the result of one.
    fn reported(&self, text: &str) -> Result<(), Broken> {
        if self.deaf.is_empty() {
            return Ok(());
        }
        let answer: Value = serde_json::from_str(text).unwrap_or_default();
        let pid = answer["pid"].as_u64().or_else(|| answer["output"]["pid"].as_u64());
        match pid.filter(|pid| self.deaf.contains(pid) && !answer["warning"].is_string()) {
            Some(pid) => Err(("S14", format!("process {pid} is reported as running and could not be bound"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::ids::LinkId;
    use relay_core::time::Mono;
    use relay_core::{Child, Secret, Text};

    fn sends(facts: &mut Registrations, text: &str) -> &'static str {
        let command = Command::LinkSend { link: LinkId(1), text: text.into() };
        facts.command(&command, Some(&Frame::read(text))).err().map_or("", |(rule, _)| rule)
    }

    fn gets(facts: &mut Registrations, text: &str) {
        facts.input(&Input::LinkText { link: LinkId(1), text }, Some(&Frame::read(text)));
    }

    fn starts(facts: &mut Registrations, token: &str) -> &'static str {
        let token = Text::Secret(Secret::new(token).expect("not empty"));
        let env =
            vec![("RELAY_AGENT_NAME".into(), Text::Plain("bob".into())), ("RELAY_AGENT_TOKEN".into(), token)];
        let child = Child { argv: vec![], env, env_remove: vec![], cwd: None, rows: 1, cols: 1 };
        let spawn = Command::Spawn { process: ProcessId(1), child, deadline: Mono(9) };
        facts.command(&spawn, None).err().map_or("", |(rule, _)| rule)
    }

    const FIRST: &str = r#"{"type":"agent.register","id":"r1","name":"bob"}"#;
    const SECOND: &str = r#"{"type":"agent.register","id":"r2","name":"bob"}"#;

    #[test]
    fn a_process_gets_the_token_of_the_latest_registration() {
        let mut facts = Registrations::default();
        assert_eq!(sends(&mut facts, FIRST), "");
        assert_eq!(sends(&mut facts, SECOND), "");
        gets(&mut facts, r#"{"type":"reply","id":"r1","data":{"agent_id":"7","token":"at_1"}}"#);
        assert_eq!(starts(&mut facts, "at_1"), "S8");
        gets(&mut facts, r#"{"type":"reply","id":"r2","data":{"agent_id":"7","token":"at_2"}}"#);
        assert_eq!(starts(&mut facts, "at_2"), "");
    }

    #[test]
    fn a_name_is_free_again_only_when_leave_was_taken() {
        let mut facts = Registrations::default();
        sends(&mut facts, FIRST);
        gets(&mut facts, r#"{"type":"reply","id":"r1","data":{"agent_id":"7","token":"at_1"}}"#);
        assert_eq!(starts(&mut facts, "at_1"), "");
        assert_eq!(sends(&mut facts, SECOND), "S14");
        sends(&mut facts, r#"{"type":"agent.deregister","agent_id":"7"}"#);
        assert_eq!(sends(&mut facts, SECOND), "");
    }

    #[test]
    fn a_failed_binding_is_told() {
        let mut facts = Registrations::default();
        facts.unbound.insert("bob".into());
        assert_eq!(starts(&mut facts, "at_1"), "");
        facts.input(&Input::Spawned { process: ProcessId(1), result: Ok(7) }, None);
        let reply = |body: &str| Command::ApiReply {
            request: relay_core::ids::RequestId(1),
            status: 200,
            content_type: "application/json",
            body: body.into(),
        };
        assert!(facts.command(&reply(r#"{"name":"bob","pid":7}"#), None).is_err());
        let warned = r#"{"name":"bob","pid":7,"warning":"it is not bound"}"#;
        assert_eq!(facts.command(&reply(warned), None), Ok(()));
        let result = |pid: u64| {
            let output = format!(r#"{{"spawned":true,"name":"bob","agent_id":"9","pid":{pid}}}"#);
            format!(r#"{{"type":"action.result","invocation_id":"i","output":{output}}}"#)
        };
        assert_eq!(sends(&mut facts, &result(7)), "S14");
        assert_eq!(sends(&mut facts, &result(6)), "", "a former process, told once more");
    }
}
