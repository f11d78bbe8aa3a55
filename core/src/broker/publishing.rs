//! The broker and what it says to the engine for others: messages, and membership in channels.
//!
//! Owns: the HTTP calls of `/api/send` and of joining channels, and what their answers mean.
//!
//! 1. A message of the local API is always published to the engine, never handed to a local agent
//!    directly, and never sent twice without the same idempotency key.

use super::Broker;
use super::serving::Waiting;
use crate::api::{ApiError, SendMode, SendRequest, SentView, Target};
use crate::command::{CallRequest, Level, Text};
use crate::edge;
use crate::ids::{AgentName, MessageId, ProcessId, RequestId};
use crate::input::CallReply;
use crate::limits;
use crate::link::answer::{Answer, Refused};
use crate::purpose::CallFor;
use crate::rng::Stream;
use crate::secret::Secret;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::json;

/// The channel that the engine makes every agent a member of.
const GENERAL: &str = "general";

impl Broker {
    pub(super) fn publish(&mut self, request: RequestId, message: SendRequest) {
        let Some(token) = self.speaker(message.from.as_deref()) else {
            let reason = self.link.reason();
            let text = format!("this broker is not registered with the engine yet ({reason}); try again");
            return self.reply(request, ApiError::new(503, "not_connected", text).reply());
        };
        #[cfg(canary)]
        self.register_speaker(message.from.as_deref());
        let key = self.cx.rng.hex(Stream::Publish, self.cx.counters.next(), 16);
        let to = match &message.to {
            Target::Agent(name) => name.0.clone(),
            Target::Channel(channel) => format!("#{channel}"),
        };
        let call = CallRequest {
            method: "POST",
            url: edge::http_url(self.link.base_url(), &publish_path(&message)),
            bearer: Some(token),
            headers: [("idempotency-key", Text::Plain(key.clone()))].into(),
            body: Some(publish_body(&message)),
        };
        self.wait(request, Waiting::Publish { to, event: format!("http_{key}") }, limits::PUBLISH);
        self.cx.call(CallFor::Publish(request), call, limits::PUBLISH);
    }

    /// Registers over HTTP the agent that speaks, although it has a token.
    #[cfg(canary)]
    fn register_speaker(&mut self, from: Option<&str>) {
        let speaker = from.map(AgentName::from).filter(|_| canary!(SpeakerRegistered));
        let Some(name) = speaker.filter(|name| self.roster.by_name(name).is_some()) else {
            return;
        };
        let call = CallRequest {
            method: "POST",
            url: edge::http_url(self.link.base_url(), &["v1", "agents"]),
            bearer: self.link.key().cloned(),
            headers: Vec::new(),
            body: Some(json!({ "name": name, "type": "agent" }).to_string()),
        };
        self.cx.call(CallFor::Channel { channel: String::new() }, call, limits::CALL);
    }

    /// Who speaks: an agent here, else the broker's own agent.
    fn speaker(&self, from: Option<&str>) -> Option<Secret> {
        let agent = from.and_then(|from| self.roster.by_name(&AgentName::from(from)));
        let agent =
            agent.and_then(|agent| agent.registered.as_ref()).map(|registered| registered.token.clone());
        agent.or_else(|| Some(self.link.membership()?.own.as_ref()?.token.clone()))
    }

    pub(super) fn on_published(&mut self, request: RequestId, reply: Result<CallReply<'_>, Refused>) {
        let Some(Waiting::Publish { to, event }) = self.requests.waiting.get(&request).cloned() else {
            return;
        };
        let reply = match reply.and_then(Answer::read) {
            Ok(answer) => {
                let message = answer.text("id").map(MessageId);
                let workspace = self.link.workspace();
                SentView { event: &event, message: message.as_ref(), workspace }.reply()
            }
            Err(refused) => publish_error(&refused, &to).reply(),
        };
        self.answer(request, reply);
    }

    /// Makes the operator's channels and joins them, once there is an own agent. Only failures matter.
    pub(super) fn join_channels(&mut self) {
        let Some(own) = self.link.membership().and_then(|membership| membership.own.clone()) else {
            return;
        };
        for channel in core::mem::take(&mut self.channels) {
            self.channel_call(
                &channel,
                &["v1", "channels"],
                Some(json!({ "name": channel }).to_string()),
                &own.token,
            );
            self.channel_call(&channel, &["v1", "channels", &channel, "join"], None, &own.token);
        }
    }

    /// Joins an agent to the channels of its order, with its own token.
    pub(super) fn join_agent_channels(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get(process) else {
            return;
        };
        let Some(registered) = agent.registered.clone() else {
            return;
        };
        for channel in agent.order.channels.clone().iter().filter(|channel| *channel != GENERAL) {
            self.channel_call(channel, &["v1", "channels", channel, "join"], None, &registered.token);
        }
    }

    fn channel_call(&mut self, channel: &str, path: &[&str], body: Option<String>, token: &Secret) {
        let request = CallRequest {
            method: "POST",
            url: edge::http_url(self.link.base_url(), path),
            bearer: Some(token.clone()),
            headers: Vec::new(),
            body: Some(body.unwrap_or_else(|| "{}".to_string())),
        };
        self.cx.call(CallFor::Channel { channel: channel.to_string() }, request, limits::CALL);
    }

    pub(super) fn on_channel_call(&mut self, channel: &str, reply: Result<CallReply<'_>, Refused>) {
        match reply.and_then(Answer::read) {
            Ok(_) => {}
            // It exists, or the agent is in it.
            Err(refused) if refused.status == Some(409) => {}
            Err(refused) => self.cx.log(Level::Warn, "api", &format!("channel #{channel}: {refused}")),
        }
    }
}

fn publish_path(message: &SendRequest) -> Vec<&str> {
    match (&message.thread_id, &message.to) {
        (Some(thread), _) => ["v1", "messages", thread, "replies"].into(),
        (None, Target::Channel(channel)) => ["v1", "channels", channel, "messages"].into(),
        (None, Target::Agent(_)) => ["v1", "dm"].into(),
    }
}

fn publish_body(message: &SendRequest) -> String {
    let mut body = json!({ "text": message.text });
    // A reply has no mode of its own, and engines refuse unknown keys.
    if message.thread_id.is_none() {
        if message.mode == SendMode::Steer {
            body["mode"] = json!(message.mode.as_str());
        }
        if let Target::Agent(name) = &message.to {
            body["to"] = json!(name);
        }
    }
    body.to_string()
}

pub(super) fn publish_unconfirmed() -> ApiError {
    let message =
        "the engine did not confirm the message in time; it may have been sent. Look before sending it again";
    ApiError::new(504, "publish_unconfirmed", message)
}

/// What the engine's refusal of a message means for the client.
fn publish_error(refused: &Refused, to: &str) -> ApiError {
    match refused.status {
        Some(404) if refused.code == "agent_not_found" => {
            ApiError::new(404, "agent_not_found", format!("Agent \"{to}\" not found"))
        }
        Some(status @ (400 | 403 | 404 | 409)) => {
            ApiError::new(status, refused.code.clone(), format!("the engine refused the message: {refused}"))
        }
        _ if refused.code == "engine_timeout" => publish_unconfirmed(),
        _ => ApiError::new(502, refused.code.clone(), format!("the message was not published: {refused}")),
    }
}
