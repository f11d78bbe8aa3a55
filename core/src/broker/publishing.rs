//! The broker and what it says to the engine for others.
//!
//! Owns: the HTTP calls of `/api/send`, and what their answers mean.
//!
//! 1. A message of the local API is always published to the engine, never handed to a local agent
//!    directly, and never sent twice without the same idempotency key.
//! 2. A refused token of the broker's own agent is replaced, and what it was refused for said again,
//!    once.

use super::Broker;
use super::serving::Waiting;
use crate::api::{ApiError, SendMode, SendRequest, SentView, Target};
use crate::command::{CallRequest, Level, Text};
use crate::edge;
use crate::ids::{AgentName, MessageId, RequestId};
use crate::input::CallReply;
use crate::limits;
use crate::link::answer::{Answer, Refused};
use crate::purpose::CallFor;
use crate::rng::Stream;
use crate::secret::Secret;
use crate::time::Span;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::json;

/// A message on its way to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publishing {
    message: SendRequest,
    /// Idempotency key.
    key: String,
    /// What it was said with.
    token: Secret,
    /// The token of the broker's own agent was refused for it.
    refused: bool,
    /// It waits for another token.
    waits: bool,
}

/// How long the engine may take to answer.
fn patience() -> Span {
    if canary!(PublishUnlimited) { Span::secs(86_400) } else { limits::PUBLISH }
}

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
        let publishing = Publishing { message, key, token, refused: false, waits: false };
        self.publish_call(request, &publishing);
        self.wait(request, Waiting::Publish(publishing), patience());
    }

    fn publish_call(&mut self, request: RequestId, publishing: &Publishing) {
        let Publishing { message, key, token, .. } = publishing;
        let call = CallRequest {
            method: "POST",
            url: edge::http_url(self.link.base_url(), &publish_path(message)),
            bearer: Some(token.clone()),
            headers: [("idempotency-key", Text::Plain(key.clone()))].into(),
            body: Some(publish_body(message)),
        };
        self.cx.call(CallFor::Publish(request), call, patience());
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
        let purpose = CallFor::Channel { member: super::Member::Broker, channel: String::new() };
        self.cx.call(purpose, call, limits::CALL);
    }

    /// Who speaks: an agent here, else the broker's own agent.
    fn speaker(&self, from: Option<&str>) -> Option<Secret> {
        let agent = from.and_then(|from| self.roster.by_name(&AgentName::from(from)));
        let agent =
            agent.and_then(|agent| agent.registered.as_ref()).map(|registered| registered.token.clone());
        agent.or_else(|| self.own_token())
    }

    pub(super) fn own_token(&self) -> Option<Secret> {
        Some(self.link.membership()?.own.as_ref()?.token.clone())
    }

    pub(super) fn on_published(&mut self, request: RequestId, reply: Result<CallReply<'_>, Refused>) {
        let Some(Waiting::Publish(publishing)) = self.requests.waiting.get(&request).cloned() else {
            return;
        };
        let reply = match reply.and_then(Answer::read) {
            Ok(answer) => {
                let message = answer.text("id").map(MessageId);
                let workspace = self.link.workspace();
                let event = format!("http_{}", publishing.key);
                SentView { event: &event, message: message.as_ref(), workspace }.reply()
            }
            Err(refused) if refused.status == Some(401) && self.say_again(request, &publishing) => return,
            #[cfg(canary)]
            Err(_) if canary!(RefusedIsSent) => {
                SentView { event: &publishing.key, message: None, workspace: None }.reply()
            }
            Err(refused) => publish_error(&refused, &publishing.message.to).reply(),
        };
        self.answer(request, reply);
    }

    /// The token that a message was said with is refused: whether it is, or will be, said with another
    /// (invariant 2).
    fn say_again(&mut self, request: RequestId, publishing: &Publishing) -> bool {
        let current = self.speaker(publishing.message.from.as_deref());
        let waits = current.as_ref() == Some(&publishing.token);
        if publishing.refused || (waits && (self.own_token() != current || !self.renew_own_token())) {
            return false;
        }
        let publishing = Publishing { refused: true, waits, ..publishing.clone() };
        if waits {
            self.requests.waiting.insert(request, Waiting::Publish(publishing));
        } else if let Some(token) = current {
            self.say(request, Publishing { token, ..publishing });
        }
        true
    }

    fn say(&mut self, request: RequestId, publishing: Publishing) {
        self.publish_call(request, &publishing);
        self.requests.waiting.insert(request, Waiting::Publish(publishing));
    }

    /// Asks for another token of the broker's own agent; false without a key to ask with.
    pub(super) fn renew_own_token(&mut self) -> bool {
        let renews = self.link.renew_own_token(&mut self.cx);
        if renews {
            let message = "the token of this broker's own agent is refused; asking for another";
            self.cx.log(Level::Warn, "api", message);
        }
        renews
    }

    pub(super) fn on_own_token(&mut self, reply: Result<CallReply<'_>, Refused>) {
        let renewed = self.link.on_own_token(&mut self.cx, reply);
        let waits = |(request, waiting): (&RequestId, &Waiting)| match waiting {
            Waiting::Publish(publishing) if publishing.waits => Some((*request, publishing.clone())),
            _ => None,
        };
        let waiting: Vec<(RequestId, Publishing)> = self.requests.waiting.iter().filter_map(waits).collect();
        for (request, publishing) in waiting {
            match &renewed {
                Ok(token) => {
                    let token = token.clone();
                    self.say(request, Publishing { token, waits: false, ..publishing });
                }
                Err(refused) => {
                    self.answer(request, publish_error(refused, &publishing.message.to).reply());
                }
            }
        }
        match renewed {
            Ok(_) => self.join_channels(),
            Err(refused) => {
                let message = format!("no other token for this broker's own agent: {refused}");
                self.cx.log(Level::Error, "api", &message);
            }
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
fn publish_error(refused: &Refused, to: &Target) -> ApiError {
    match refused.status {
        Some(404) if refused.code == "agent_not_found" => {
            let name = match to {
                Target::Agent(name) => &name.0,
                Target::Channel(channel) => channel,
            };
            ApiError::new(404, "agent_not_found", format!("Agent \"{name}\" not found"))
        }
        Some(status @ (400 | 403 | 404 | 409)) => {
            ApiError::new(status, refused.code.clone(), format!("the engine refused the message: {refused}"))
        }
        _ if refused.code == "engine_timeout" => publish_unconfirmed(),
        _ => ApiError::new(502, refused.code.clone(), format!("the message was not published: {refused}")),
    }
}
