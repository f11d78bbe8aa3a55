//! The broker and channels: memberships that are wanted, until the engine has them.
//!
//! Owns: the memberships that are not had yet, and the calls that get them.
//! Must not know: what channels are for.
//!
//! 1. A membership is tried until it is had, the engine refuses it for good, or its agent is gone.
//!    One call at a time is made for it, and only while the link is up.
//! 2. The broker makes the operator's channels before it joins them; agents join channels that exist.
//! 3. A replica of the engine may not know yet a token or a channel that is young: an agent that is refused
//!    for either tries [`limits::JOIN_TRIES`] times.

use super::Broker;
use crate::command::{CallRequest, Level};
use crate::edge;
use crate::ids::ProcessId;
use crate::input::CallReply;
use crate::limits;
use crate::link::answer::{Answer, Refused};
use crate::purpose::CallFor;
use crate::secret::Secret;
use crate::timers::Timer;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde_json::json;

/// The channel that the engine makes every agent a member of.
const GENERAL: &str = "general";

/// Who shall be in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// The broker's own agent.
    Broker,
    /// An agent here.
    Agent(ProcessId),
}

/// What is to be done next for a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Make,
    Join,
}

/// One membership that is not had yet.
#[derive(Debug)]
struct Wanted {
    member: Member,
    channel: String,
    next: Next,
    /// A call for it is under way.
    calling: bool,
    /// Refusals that may have come too early (invariant 3).
    refusals: u8,
}

impl Wanted {
    const fn new(member: Member, channel: String, next: Next) -> Self {
        Self { member, channel, next, calling: false, refusals: 0 }
    }
}

/// The memberships that are not had yet.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    wanted: Vec<Wanted>,
}

impl Memberships {
    /// The channels of the operator.
    pub(super) fn new(channels: Vec<String>) -> Self {
        let wanted = |channel| Wanted::new(Member::Broker, channel, Next::Make);
        Self { wanted: channels.into_iter().map(wanted).collect() }
    }

    fn position(&self, member: Member, channel: &str) -> Option<usize> {
        self.wanted.iter().position(|wanted| wanted.member == member && wanted.channel == channel)
    }
}

impl Broker {
    /// Wants an agent in the channels of its order.
    pub(super) fn want_channels(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get(process).filter(|agent| agent.registered.is_some()) else {
            return;
        };
        let member = Member::Agent(process);
        for channel in agent.order.channels.iter().filter(|channel| *channel != GENERAL) {
            if self.memberships.position(member, channel).is_none() {
                self.memberships.wanted.push(Wanted::new(member, channel.clone(), Next::Join));
            }
        }
        self.join_channels();
    }

    /// Makes the calls that are due ([`Timer::Join`], and whenever the link comes up).
    pub(super) fn join_channels(&mut self) {
        if !self.link.is_up() || self.stopping.is_stopping() {
            return;
        }
        let mut wanted = core::mem::take(&mut self.memberships.wanted);
        let hosted = |wanted: &Wanted| match wanted.member {
            Member::Broker => true,
            Member::Agent(process) => {
                self.roster.get(process).is_some_and(|agent| agent.registered.is_some())
            }
        };
        wanted.retain(hosted);
        for membership in wanted.iter_mut().filter(|membership| !membership.calling) {
            if let Some(token) = self.token_of(membership.member) {
                membership.calling = true;
                self.channel_call(membership, token);
            }
        }
        self.memberships.wanted = wanted;
    }

    fn token_of(&self, member: Member) -> Option<Secret> {
        match member {
            Member::Broker => self.own_token(),
            Member::Agent(process) => Some(self.roster.get(process)?.registered.as_ref()?.token.clone()),
        }
    }

    fn channel_call(&mut self, membership: &Wanted, token: Secret) {
        let Wanted { member, channel, next, .. } = membership;
        let (path, body): (&[&str], _) = match next {
            Next::Make => (&["v1", "channels"], json!({ "name": channel })),
            Next::Join => (&["v1", "channels", channel, "join"], json!({})),
        };
        let request = CallRequest {
            method: "POST",
            url: edge::http_url(self.link.base_url(), path),
            bearer: Some(token),
            headers: Vec::new(),
            body: Some(body.to_string()),
        };
        let purpose = CallFor::Channel { member: *member, channel: channel.clone() };
        self.cx.call(purpose, request, limits::CALL);
    }

    pub(super) fn on_channel_call(
        &mut self,
        member: Member,
        channel: &str,
        reply: Result<CallReply<'_>, Refused>,
    ) {
        let Some(position) = self.memberships.position(member, channel) else {
            return;
        };
        let wanted = &mut self.memberships.wanted[position];
        wanted.calling = false;
        // 409: it exists, or the agent is in it.
        match reply.and_then(Answer::read).err().filter(|refused| refused.status != Some(409)) {
            None if wanted.next == Next::Make => {
                wanted.next = Next::Join;
                self.join_channels();
            }
            None => {
                self.memberships.wanted.remove(position);
            }
            Some(refused) if self.may_pass(position, &refused) => {
                self.cx.timers.set_earlier(Timer::Join, self.cx.now.mono.after(limits::JOIN_RETRY));
                self.cx.log(Level::Warn, "api", &format!("channel #{channel}: {refused}; trying again"));
            }
            Some(refused) => {
                self.memberships.wanted.remove(position);
                self.cx.log(Level::Warn, "api", &format!("channel #{channel}: {refused}"));
            }
        }
    }

    /// Whether the same call may succeed later. A token of the broker's own that is refused is replaced.
    fn may_pass(&mut self, position: usize, refused: &Refused) -> bool {
        let wanted = &mut self.memberships.wanted[position];
        match (wanted.member, refused.status) {
            (Member::Broker, Some(401)) => self.renew_own_token(),
            (Member::Agent(_), Some(401 | 404)) => {
                wanted.refusals += 1;
                wanted.refusals < limits::JOIN_TRIES
            }
            _ => refused.is_transient(),
        }
    }
}
