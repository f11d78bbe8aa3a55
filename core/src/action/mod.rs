//! Actions: what the engine asks this node to do.
//!
//! Owns: the invocations with their results, and that a repeated one is not done twice.
//! Must not know: how an agent is started or stopped.
//!
//! 1. One invocation id is acted on at most once, also after a restart: a repeat of a finished one gets
//!    the stored result, a repeat of a running one waits for it.
//! 2. A result is sent until a later answer proves that it was handled; a new link means sending it again.
//!    What it leads to reaches a caller who lives here only behind the first inventory of the link, and once:
//!    so it waits for that, unless that would give the invocation to another node.
//! 3. At most [`limits::INVOCATIONS`] are remembered, for 24 hours; open ones are never forgotten.
//! 4. A name is not registered again while the result of its release waits: engines carry a release out on
//!    whoever has the name when the result comes (`core/PROTOCOL.md` §7).

mod order;

pub(crate) use order::{RELEASE, SpawnOrder, Wish, read_wish};

use crate::cx::Cx;
use crate::ids::{AgentName, InvocationId};
use crate::limits;
use crate::link::{Answered, Link, Sent};
use crate::marks::Mark;
use crate::purpose::StoreFor;
use crate::store::{Outcome, Record, Saved};
use crate::time::{Mono, Wall};
use crate::{StoreAction, wire};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use serde_json::json;
use serde_json::value::RawValue;

/// What an invocation that was open when the broker stopped is answered with.
const INTERRUPTED: &str = "spawn_failed: the broker was restarted while it worked on this invocation";

#[derive(Debug)]
enum State {
    /// Its record is being written, or its agent is on its way.
    Open,
    /// It is over.
    Done { outcome: Outcome, delivery: Delivery },
}

/// Where a result stands on its way to the engine.
#[derive(Debug)]
enum Delivery {
    Unsent { sends: u32 },
    Sent { sent: Sent, sends: u32 },
    Proven,
}

/// On which link an invocation came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// On one that has ended: the engine has planned it anew.
    Before,
    /// On this one.
    Here {
        /// The engine gives it to another node when an inventory leaves it out.
        movable: bool,
    },
}

#[derive(Debug)]
struct Invocation {
    at: Wall,
    given: Given,
    /// Whom it releases, unless the engine surely has the result.
    releases: Option<AgentName>,
    state: State,
}

impl Invocation {
    /// Whether its result has left on this link, or needs not.
    const fn is_told(&self) -> bool {
        matches!(&self.state, State::Done { delivery: Delivery::Sent { .. } | Delivery::Proven, .. })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Actions {
    invocations: BTreeMap<InvocationId, Invocation>,
    /// Those that are open and came on this link, and when.
    open_here: BTreeMap<InvocationId, Mono>,
    unsent: bool,
}

/// How an invocation comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// On the current link.
    Here,
    /// On one that was given up.
    Late,
}

/// What a frame about an invocation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It is new.
    Fresh,
    /// It is open, or its result has been made due again.
    Repeated,
}

impl Actions {
    /// The invocations of an earlier life. Open ones have failed with it, but for releases: who was to be
    /// released has died with it, and the engine does not ask again.
    pub(crate) fn new(saved: BTreeMap<InvocationId, Saved>) -> Self {
        let unsent = saved.values().any(|saved| saved.releases.is_some());
        let invocation = |(id, Saved { at_ms, releases, outcome }): (InvocationId, Saved)| {
            let (delivery, ended) = match &releases {
                Some(name) => (Delivery::Unsent { sends: 0 }, released(name)),
                None => (Delivery::Proven, Outcome::Error(INTERRUPTED.to_string())),
            };
            let state = State::Done { outcome: outcome.unwrap_or(ended), delivery };
            (id, Invocation { at: Wall(at_ms), given: Given::Before, releases, state })
        };
        let invocations = saved.into_iter().map(invocation).collect();
        Self { invocations, open_here: BTreeMap::new(), unsent }
    }

    /// Whether the result of a release of this name waits to be sent: it would be taken for one of whoever is
    /// registered before it, and would come too late behind a leave.
    pub(crate) fn is_releasing(&self, name: &AgentName) -> bool {
        self.any_release(name, |release| !release.is_told())
    }

    /// Whether a release of this name has never been answered.
    pub(crate) fn has_unanswered_release(&self, name: &AgentName) -> bool {
        self.any_release(name, |release| match &release.state {
            State::Open => true,
            State::Done { delivery, .. } => matches!(delivery, Delivery::Unsent { sends: 0 }),
        })
    }

    fn any_release(&self, name: &AgentName, is_meant: impl Fn(&Invocation) -> bool) -> bool {
        self.invocations
            .values()
            .any(|invocation| invocation.releases.as_ref() == Some(name) && is_meant(invocation))
    }

    /// Whether an invocation has come in before.
    pub(crate) fn knows(&self, id: &InvocationId) -> bool {
        self.invocations.contains_key(id)
    }

    /// An invocation has come in (invariant 1), and whom it releases: what releases nobody another node can
    /// do as well.
    pub(crate) fn begin(
        &mut self,
        cx: &mut Cx,
        id: &InvocationId,
        releases: Option<&AgentName>,
        came: Came,
    ) -> Asked {
        let given = match came {
            Came::Here => Given::Here { movable: releases.is_none() },
            Came::Late => Given::Before,
        };
        #[cfg(canary)]
        if canary!(RepeatIsNew) && releases.is_none() {
            self.invocations.retain(|other, known| other != id || matches!(known.state, State::Open));
        }
        if let Some(known) = self.invocations.get_mut(id) {
            known.given = given;
            known.releases = releases.cloned();
            if let State::Done { delivery, .. } = &mut known.state {
                cx.marks.hit(Mark::InvocationRepeated);
                *delivery = Delivery::Unsent { sends: 0 };
                self.unsent = true;
            } else {
                self.open_here.insert(id.clone(), cx.now.mono);
            }
            return Asked::Repeated;
        }
        self.forget_old(cx.now.wall);
        let releases = releases.cloned();
        self.invocations
            .insert(id.clone(), Invocation { at: cx.now.wall, given, releases, state: State::Open });
        if came == Came::Here {
            self.open_here.insert(id.clone(), cx.now.mono);
        }
        Asked::Fresh
    }

    /// Writes that an invocation is about to be acted on; unless it releases, [`StoreFor::Started`] comes back.
    pub(crate) fn record_start(&self, cx: &mut Cx, id: &InvocationId) {
        let releases = self.invocations.get(id).and_then(|invocation| invocation.releases.clone());
        let purpose = match releases {
            // To release somebody twice does no harm.
            Some(_) => StoreFor::Journal,
            None => StoreFor::Started(id.clone()),
        };
        let record = Record::Started { invocation: id.clone(), at_ms: cx.now.wall.0, releases };
        cx.store(purpose, StoreAction::Append { lines: record.line() });
    }

    /// An invocation is over. False if it was over already.
    pub(crate) fn finish(&mut self, cx: &mut Cx, id: &InvocationId, outcome: Outcome) -> bool {
        let Some(invocation) = self.invocations.get_mut(id) else {
            return false;
        };
        if !matches!(invocation.state, State::Open) {
            return false;
        }
        self.open_here.remove(id);
        let at_ms = invocation.at.0;
        let (ending, releases) = (outcome.clone(), invocation.releases.clone());
        let record = Record::Finished { invocation: id.clone(), at_ms, outcome: ending, releases };
        invocation.state = State::Done { outcome, delivery: Delivery::Unsent { sends: 0 } };
        self.unsent = true;
        cx.store(StoreFor::Journal, StoreAction::Append { lines: record.line() });
        true
    }

    /// Whether an invocation is open that came on this link: what came before was planned anew when that ended.
    pub(crate) fn any_open(&self) -> bool {
        !self.open_here.is_empty()
    }

    /// When the last of those that are open will have been waited for by an inventory.
    pub(crate) fn quiet_from(&self) -> Mono {
        let last = self.open_here.values().max();
        last.map_or(Mono(0), |came| came.after(limits::INVENTORY_PATIENCE))
    }

    /// The link that carried invocations and results is gone (invariant 2).
    pub(crate) fn link_lost(&mut self) {
        self.open_here.clear();
        for invocation in self.invocations.values_mut() {
            invocation.given = Given::Before;
            if let State::Done { delivery, .. } = &mut invocation.state
                && let Delivery::Sent { sends, .. } = *delivery
                && !canary!(ResultLost)
            {
                *delivery = Delivery::Unsent { sends };
                self.unsent = true;
            }
        }
    }

    /// Sends what is due, as far as there is credit; with `opened` all of it, else what the first inventory of
    /// the link would give away, for that does not list it (invariant 2), and releases of who is wanted again,
    /// for whom that inventory may be waiting.
    pub(crate) fn flush(
        &mut self,
        cx: &mut Cx,
        link: &mut Link,
        opened: bool,
        is_listed: impl Fn(&InvocationId) -> bool,
        is_wanted: impl Fn(&AgentName) -> bool,
    ) {
        if !self.unsent {
            return;
        }
        let mut waits = false;
        for (id, invocation) in &mut self.invocations {
            let given_away = invocation.given == Given::Here { movable: true };
            let State::Done { outcome, delivery } = &mut invocation.state else {
                continue;
            };
            let Delivery::Unsent { sends } = *delivery else {
                continue;
            };
            let is_wanted = invocation.releases.as_ref().is_some_and(&is_wanted);
            if !opened && !is_wanted && (!given_away || is_listed(id)) {
                waits = true;
                continue;
            }
            if !link.has_credit() {
                return;
            }
            let Some(sent) = link.send(cx, result_frame(id, outcome)) else {
                return;
            };
            if sends > 0 {
                cx.marks.hit(Mark::ResultResent);
            }
            *delivery = Delivery::Sent { sent, sends: sends + 1 };
        }
        self.unsent = waits;
    }

    /// The engine answered a request: results sent before it have arrived.
    pub(crate) fn on_answer(&mut self, cx: &mut Cx, answered: Answered) {
        for (id, invocation) in &mut self.invocations {
            if let State::Done { delivery, .. } = &mut invocation.state
                && let Delivery::Sent { sent, .. } = delivery
                && sent.is_proven_by(answered)
            {
                *delivery = Delivery::Proven;
                if invocation.releases.take().is_some() {
                    let record = Record::Answered { invocation: id.clone() };
                    cx.store(StoreFor::Journal, StoreAction::Append { lines: record.line() });
                }
            }
        }
    }

    /// What is remembered, for the journal.
    pub(crate) fn saved(&self) -> BTreeMap<InvocationId, Saved> {
        let save = |(id, invocation): (&InvocationId, &Invocation)| {
            let outcome = match &invocation.state {
                State::Open => None,
                State::Done { outcome, .. } => Some(outcome.clone()),
            };
            (id.clone(), Saved { at_ms: invocation.at.0, releases: invocation.releases.clone(), outcome })
        };
        self.invocations.iter().map(save).collect()
    }

    /// Forgets what is too old, and the oldest when there are too many (invariant 3).
    fn forget_old(&mut self, now: Wall) {
        let fresh =
            |invocation: &Invocation| now.0.saturating_sub(invocation.at.0) < limits::INVOCATION_AGE_MS;
        if self.invocations.len() < limits::INVOCATIONS {
            return;
        }
        self.invocations.retain(|_, invocation| matches!(invocation.state, State::Open) || fresh(invocation));
        while self.invocations.len() >= limits::INVOCATIONS {
            let closed = self.invocations.iter().filter(|(_, other)| !matches!(other.state, State::Open));
            // Releases that may not have been answered come last: their record tells so.
            let first = closed.min_by_key(|(_, other)| (other.releases.is_some(), other.at.0));
            let Some(oldest) = first.map(|(id, _)| id.clone()) else {
                return;
            };
            self.invocations.remove(&oldest);
        }
    }
}

/// The result of a release.
pub(crate) fn released(name: &AgentName) -> Outcome {
    Outcome::Output(json!({ "released": true, "name": name }).to_string())
}

fn result_frame(id: &InvocationId, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Output(json) => {
            let raw: Box<RawValue> = serde_json::from_str(json).unwrap_or_else(|_| RawValue::NULL.to_owned());
            wire::action_result(id, wire::Outcome::Output(&raw))
        }
        Outcome::Error(error) => wire::action_result(id, wire::Outcome::Error(error)),
    }
}
