//! Registering: from an open socket to a confirmed node.
//!
//! Owns: `node.register`, its dialects, and what its reply or refusal leads to; answers to all other
//! requests are only passed on.
//! Must not know: how the socket came to be, and what follows the confirmation.
//!
//! 1. Before the confirmation only `node.register` is sent, so every error is about it.
//! 2. The first reply confirms; later ones change nothing.

use super::token::Minted;
use super::{Link, LinkEvent, PROVIDER, Phase, ReplyTo, Request};
use crate::command::Level;
use crate::cx::Cx;
use crate::limits;
use crate::marks::Mark;
use crate::secret::mask;
use crate::timers::Timer;
use crate::wire::{Dialect, ErrorFrame, Node, Object, Provider, Reply};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

impl Link {
    pub(super) fn register(&mut self, cx: &mut Cx) {
        let (node, dialect) = (self.node(), self.dialect);
        let Phase::Registering(session) = &mut self.phase else {
            return;
        };
        session.dialect = dialect;
        let id = session.request(cx, Request::Register);
        session.send(cx, node.register(&id, dialect));
        cx.wake_in(Timer::LinkDeadline, limits::REGISTER_REPLY);
    }

    pub(super) fn node(&self) -> Node {
        let spawn = |harness: &String| format!("spawn:{harness}");
        Node {
            name: self.node_name().unwrap_or_default().to_string(),
            node_id: self.node_id().cloned().unwrap_or_else(|| "".into()),
            capabilities: self.config.harnesses.iter().map(spawn).chain(["release".to_string()]).collect(),
            max_agents: self.config.max_agents,
            tags: Vec::new(),
            version: format!("relay-broker/{}", self.config.version),
            provider: Provider {
                name: PROVIDER.to_string(),
                instance_id: self.identity.instance_id().to_string(),
            },
        }
    }

    /// A reply frame.
    pub(crate) fn on_reply(&mut self, cx: &mut Cx, reply: &Reply<'_>) -> ReplyTo {
        let node_id = self.node_id().cloned();
        let Some(session) = self.session() else {
            return ReplyTo::Nobody;
        };
        let known = reply.id.as_deref().and_then(|id| session.answered(cx, id));
        match known {
            Some((Request::Register, _)) => ReplyTo::Link(self.confirm(cx)),
            Some((request, answered)) => ReplyTo::Request(request, answered),
            // An engine that names its replies itself: the node descriptor can be nothing else.
            None if matches!(self.phase, Phase::Registering(_))
                && Object::parse(reply.data.get()).and_then(|data| data.id("id")).as_deref()
                    == node_id.as_ref().map(|id| id.0.as_str()) =>
            {
                ReplyTo::Link(self.confirm(cx))
            }
            None => ReplyTo::Nobody,
        }
    }

    fn confirm(&mut self, cx: &mut Cx) -> LinkEvent {
        let mut session = match core::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Registering(session) => session,
            // A second reply, or one that came too late, changes nothing.
            other => {
                self.phase = other;
                return LinkEvent::Nothing;
            }
        };
        session.last_answer = cx.now.mono;
        cx.timers.clear(&Timer::LinkDeadline);
        cx.timers.clear(&Timer::LinkRetry);
        cx.timers.clear(&Timer::DisabledProbe);
        cx.timers.set(Timer::Liveness, session.dead_at());
        cx.wake_in(Timer::LinkSettled, limits::LINK_SETTLED);
        cx.stats.registrations += 1;
        self.phase = Phase::Up(session);
        self.tokens().on_confirmed();
        self.disabled = false;
        self.confirmed_once = true;
        self.given_up.clear();
        self.reason.clear();
        let node = self.node_name().unwrap_or_default().to_string();
        let base_url = &self.config.base_url;
        cx.log(Level::Info, "link", &format!("registered as node {node:?} with the engine at {base_url}"));
        LinkEvent::Confirmed
    }

    /// An error frame.
    pub(crate) fn on_error(&mut self, cx: &mut Cx, error: &ErrorFrame<'_>) -> ReplyTo {
        if matches!(self.phase, Phase::Registering(_)) {
            return ReplyTo::Link(self.on_register_refused(cx, error));
        }
        let Some(session) = self.session() else {
            return ReplyTo::Nobody;
        };
        match error.id.as_deref().and_then(|id| session.answered(cx, id)) {
            Some((request, answered)) => ReplyTo::Request(request, answered),
            None => ReplyTo::Nobody,
        }
    }

    /// Nothing else was sent yet, so every error before the confirmation is about the registration.
    fn on_register_refused(&mut self, cx: &mut Cx, error: &ErrorFrame<'_>) -> LinkEvent {
        let told = mask(&format!("{}: {}", error.code, error.message));
        match &*error.code {
            "invalid_message" if self.dialect == Dialect::Provider => {
                cx.marks.hit(Mark::DialectFallback);
                self.dialect = Dialect::Legacy;
                self.register(cx);
                LinkEvent::Nothing
            }
            "provider_instance_conflict" => {
                cx.marks.hit(Mark::InstanceConflict);
                cx.timers.clear(&Timer::LinkDeadline);
                self.reason = format!("another instance holds this node: {told}");
                let wait = self.backoff.next(&cx.rng);
                cx.wake_in(Timer::LinkRetry, wait);
                LinkEvent::Nothing
            }
            "node_name_conflict" if matches!(self.tokens().rename(), Minted::Renamed) => {
                self.register(cx);
                LinkEvent::Nothing
            }
            "node_id_mismatch" | "node_not_found" => {
                let event = self.reconnect(cx, "the token belongs to another node");
                cx.timers.clear(&Timer::LinkRetry);
                self.tokens().distrust();
                self.on_unauthorized(cx, &format!("the engine refused the registration: {told}"));
                event
            }
            _ => {
                // Both dialects were refused: the next attempt begins with the newer one again.
                self.dialect = Dialect::Provider;
                let event = self.reconnect(cx, "the engine refused the registration");
                self.reason = format!("the engine refused the registration: {told}");
                cx.log(Level::Error, "link", &self.reason.clone());
                event
            }
        }
    }
}
