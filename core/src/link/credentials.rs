//! Credentials: how the link comes by its identity and its node token, and what a refused one leads to.
//!
//! Owns: the answers to the calls of [`Identity`](super::identity::Identity) and [`Tokens`] as far as
//! the link's way goes on or ends with them, and the writing of both again.
//! Must not know: frames.
//!
//! 1. After every answer the link goes on, waits with a timer, or has told that a person has to act.
//!
//! The rules are those of `core/PROTOCOL.md` §2 and §10.

use super::answer::Refused;
use super::token::{Minted, Scope, Tokens, Verdict};
use super::{Link, LinkEvent, Phase, identity, token};
#[cfg(canary)]
use crate::command::Command;
use crate::command::Level;
use crate::cx::Cx;
use crate::edge;
use crate::ids::NodeId;
use crate::input::CallReply;
use crate::limits;
use crate::purpose::{CallFor, StoreFor};
use crate::secret::Secret;
use crate::timers::Timer;
use alloc::format;
use alloc::string::{String, ToString};

impl Link {
    /// The tokens; made once the workspace is known, because they are scoped to it.
    pub(super) fn tokens(&mut self) -> &mut Tokens {
        let (config, identity) = (&self.config, &self.identity);
        self.tokens.get_or_insert_with(|| {
            let workspace = identity.membership().map_or_else(|| "".into(), |m| m.workspace.clone());
            let node_id = match (&config.node_id, &config.node_token) {
                (Some(fixed), _) => NodeId(fixed.clone()),
                (None, Some(_)) => NodeId(self.machine_seed.clone()),
                (None, None) => edge::node_id(&self.machine_seed, &self.cwd, &workspace),
            };
            let scope = Scope {
                name: token::node_name(config.node_name.as_deref(), &config.instance, &node_id),
                node_id,
                workspace,
                base_url: config.base_url.clone(),
                version: format!("relay-broker/{}", config.version),
            };
            Tokens::new(scope, identity.key().cloned(), config.node_token.clone(), &self.cache)
        })
    }

    /// The answer to a call of the link.
    pub(crate) fn on_call(
        &mut self,
        cx: &mut Cx,
        purpose: &CallFor,
        reply: Result<CallReply<'_>, Refused>,
    ) -> LinkEvent {
        if !matches!(self.phase, Phase::Calling) {
            return LinkEvent::Nothing;
        }
        self.phase = Phase::Idle;
        if *purpose == CallFor::Mint {
            return self.on_minted(cx, reply);
        }
        let step = match purpose {
            CallFor::Workspace => self.identity.on_workspace(reply),
            _ => self.identity.on_own_agent(cx, reply),
        };
        match step {
            identity::Step::Known | identity::Step::Next => self.advance(cx),
            identity::Step::Later(refused) => self.later(cx, "registering this broker", &refused),
            identity::Step::Fatal(refused) => {
                let advice = match refused.status {
                    Some(401 | 403) => "; check RELAY_API_KEY and RELAY_BASE_URL",
                    _ => "",
                };
                self.reason =
                    format!("the engine at {} refused this broker: {refused}{advice}", self.config.base_url);
                return LinkEvent::Fatal(self.reason.clone());
            }
        }
        LinkEvent::Nothing
    }

    fn on_minted(&mut self, cx: &mut Cx, reply: Result<CallReply<'_>, Refused>) -> LinkEvent {
        match self.tokens().on_minted(cx, reply) {
            Minted::Token | Minted::Renamed if self.disabled => {
                // Past the budget a mint does not change the pace.
                cx.wake_in(Timer::DisabledProbe, limits::DISABLED_PROBE);
            }
            Minted::Token => {
                let wait = self.pause_after_mint(cx);
                cx.wake_in(Timer::LinkRetry, wait);
            }
            Minted::Renamed => self.advance(cx),
            Minted::Later(_) if canary!(MintTriedOnce) => {}
            Minted::Later(refused) => self.later(cx, "minting a node token", &refused),
            Minted::Refused(refused) => {
                let advice = match &*refused.code {
                    "node_token_proof_required" => format!(
                        "; the node's token was replaced by somebody else: start this broker with the current one \
                         in RELAY_NODE_TOKEN and RELAY_NODE_ID={}, or delete the node",
                        self.tokens().node_id()
                    ),
                    _ => String::new(),
                };
                self.disable(cx, &format!("the engine mints no node token: {refused}{advice}"));
            }
        }
        LinkEvent::Nothing
    }

    /// A token that follows a refused one waits, so that 401s cannot spin; any other is used at once.
    fn pause_after_mint(&mut self, cx: &Cx) -> crate::time::Span {
        if self.tokens().follows_refusal() { self.backoff.next(&cx.rng) } else { crate::time::Span(0) }
    }

    /// The token is no good, as a 401 or the reply to the registration says.
    pub(super) fn on_unauthorized(&mut self, cx: &mut Cx, why: &str) {
        match self.tokens().on_unauthorized(cx) {
            Verdict::TryAgain => {
                self.reason = why.to_string();
                let wait = self.backoff.short(&cx.rng);
                cx.wake_in(Timer::LinkRetry, wait);
            }
            Verdict::Mint => {
                #[cfg(canary)]
                if let (true, Some(token)) = (canary!(SecretLogged), self.tokens().current()) {
                    let message = format!("{why}: {}", token.expose());
                    cx.push(Command::Log(crate::command::LogLine {
                        level: Level::Warn,
                        area: "link",
                        message,
                    }));
                }
                cx.log(Level::Warn, "link", &format!("{why}; minting another"));
                self.reason = why.to_string();
                self.tokens().mint(cx);
                self.phase = Phase::Calling;
            }
            Verdict::Disabled => self.disable(cx, why),
        }
    }

    /// Asks for another token of the broker's own agent, once at a time; false without a key.
    pub(crate) fn renew_own_token(&mut self, cx: &mut Cx) -> bool {
        self.identity.renew(cx)
    }

    /// The answer about another token of the broker's own agent: the token.
    pub(crate) fn on_own_token(
        &mut self,
        cx: &mut Cx,
        reply: Result<CallReply<'_>, Refused>,
    ) -> Result<Secret, Refused> {
        self.identity.on_renewed(cx, reply)
    }

    /// Identity or token could not be written.
    pub(crate) fn on_unwritten(&mut self, what: &StoreFor) {
        match what {
            StoreFor::Identity => self.identity.on_unwritten(),
            _ => self.tokens().on_unwritten(),
        }
    }

    /// Writes again what could not be written.
    pub(crate) fn rewrite(&mut self, cx: &mut Cx) {
        self.identity.rewrite(cx);
        if let Some(tokens) = &mut self.tokens {
            tokens.rewrite(cx);
        }
    }
}
