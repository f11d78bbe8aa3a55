//! The inventory: which identities the engine is told live here.
//!
//! Owns: when a snapshot is due, and which entries the engine refuses.
//! Must not know: how agents come and go.
//!
//! 1. A snapshot lists every running identity but those that the engine refuses.
//! 2. A snapshot waits for each invocation that came on its link and is open here, at most
//!    [`limits::INVENTORY_PATIENCE`], for the engine reschedules every open invocation that a snapshot does
//!    not list; and while a registration is unanswered, for who is registered and not listed is called gone.
//!    For all of them together the first one of a link, or a refresh, waits [`limits::INVENTORY_DELAY`], and
//!    one wanted earlier no longer than the refresh would have. The first one waits
//!    [`limits::INVENTORY_OPENING`] for what the engine had queued, before anything else.
//! 3. One refused entry does not silence the others: it is found and left out (`core/PROTOCOL.md` §8),
//!    until the next refresh: what the engine holds against it may have passed. A refusal that is about no
//!    entry, as of an engine that is overloaded, is none of one until it has come [`PASSING`] times.
//! 4. Only the answer to the latest snapshot tells how things are. A refusal of an older one still tells
//!    whom it names, and until the latest is answered an older one tells how many were passed over.
//! 5. An entry counts as refused until an accepted snapshot lists it, so that trying it again changes
//!    nothing for who asks how things are.

use crate::cx::Cx;
use crate::ids::{AgentId, AgentName};
use crate::limits;
use crate::marks::Mark;
use crate::time::{Mono, Span};
use crate::timers::Timer;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// What the engine answers to a snapshot for the sake of one of its entries (`core/PROTOCOL.md` §8).
const ABOUT_ENTRIES: [&str; 3] =
    ["agent_location_conflict", "agent_provider_conflict", "agent_identity_mismatch"];

/// So many refusals in a row for other reasons are taken for trouble that passes.
const PASSING: u32 = 4;

/// How long the snapshot behind the first of these waits; behind each further one twice as long.
const PASSING_FIRST: Span = Span::secs(1);

/// When the next snapshot is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Due {
    #[default]
    No,
    /// When the engine has had the time to send what it had queued for this node.
    Opening,
    /// As soon as nothing is under way that it would spoil (invariant 2).
    WhenQuiet,
}

#[derive(Debug, Default)]
pub(crate) struct Inventory {
    due: Due,
    /// From then on it waits for nothing (invariant 2).
    latest: Mono,
    /// Entries that the engine refuses (invariant 5).
    refused: BTreeSet<AgentId>,
    /// Entries left out until the next refresh.
    left_out: BTreeSet<AgentId>,
    /// Entries that the engine passed over in the latest snapshot, without saying which.
    passed_over: u64,
    /// Entries left out, one after the other, to find the one that is refused.
    suspects: Vec<AgentId>,
    /// The entries of the latest snapshot, and which one on this link it is.
    listed: Vec<AgentId>,
    number: u64,
    /// Whether it waits for its reply.
    awaited: bool,
    /// Refusals in a row that were about no entry.
    troubles: u32,
}

impl Inventory {
    /// A new link: a snapshot follows (invariant 2), and refusals are forgotten.
    pub(crate) fn opened(&mut self, cx: &mut Cx) {
        let latest = cx.now.mono.after(limits::INVENTORY_DELAY);
        *self = Self { due: Due::Opening, latest, ..Self::default() };
        cx.wake_in(Timer::InventoryWait, limits::INVENTORY_OPENING);
    }

    /// A snapshot is due, on [`Timer::InventoryRefresh`] or for a reason, and it lists again what was
    /// refused, and who was suspected while no answer came (invariant 3).
    pub(crate) fn refresh(&mut self) {
        if !canary!(LeftOutForGood) {
            self.left_out.clear();
        }
        self.suspects.clear();
        self.want();
    }

    /// A snapshot is due (invariant 2).
    fn want(&mut self) {
        if self.due == Due::No {
            self.due = Due::WhenQuiet;
        }
    }

    /// [`Timer::InventoryWait`]: the first one has waited for what the engine had queued, or a later one for
    /// what is under way, which [`Self::is_due`] looks at again.
    pub(crate) fn waited(&mut self) {
        if self.due == Due::Opening {
            self.due = Due::WhenQuiet;
        }
    }

    /// Whether one was sent on this link.
    pub(crate) const fn has_opened(&self) -> bool {
        self.number > 0
    }

    /// Whether a snapshot is to be sent now; `quiet_from`, if that matters: until when what is under way is
    /// worth waiting for.
    pub(crate) fn is_due(&self, cx: &mut Cx, quiet_from: impl FnOnce() -> Mono) -> bool {
        match self.due {
            Due::No => false,
            Due::Opening => canary!(InventoryAtOnce),
            Due::WhenQuiet => {
                let at = quiet_from().min(self.latest);
                if at <= cx.now.mono || canary!(InventoryMidSpawn) {
                    return true;
                }
                cx.timers.set(Timer::InventoryWait, at);
                false
            }
        }
    }

    /// Whether the engine has answered the latest snapshot, and none is due: what it had for those who
    /// live here has been sent.
    pub(crate) fn is_settled(&self) -> bool {
        self.due == Due::No && !self.awaited
    }

    /// Whether an identity is to be listed.
    pub(crate) fn lists(&self, id: &AgentId) -> bool {
        if canary!(AllLeftOut) {
            return self.left_out.is_empty() && self.suspects.is_empty();
        }
        !self.left_out.contains(id) && !self.suspects.contains(id)
    }

    /// The number of the next snapshot on this link.
    pub(crate) const fn next(&self) -> u64 {
        self.number + 1
    }

    /// A snapshot of these was sent.
    pub(crate) fn sent(&mut self, cx: &mut Cx, listed: Vec<AgentId>) {
        self.due = Due::No;
        self.listed = listed;
        self.number += 1;
        self.awaited = true;
        self.latest = cx.now.mono.after(limits::INVENTORY_REFRESH).after(limits::INVENTORY_DELAY);
        cx.timers.clear(&Timer::InventoryWait);
        cx.wake_in(Timer::InventoryRefresh, limits::INVENTORY_REFRESH);
    }

    /// Snapshot `number` was accepted, but for so many entries that were passed over. The entry left out
    /// last, if any, was the one refused; it is returned if that is news.
    pub(crate) fn accepted(&mut self, cx: &mut Cx, number: u64, passed_over: u64) -> Option<AgentId> {
        let is_latest = self.is_latest(number);
        if is_latest || self.awaited {
            self.passed_over = passed_over;
        }
        if !is_latest {
            return None;
        }
        self.awaited = false;
        self.troubles = 0;
        self.refused.retain(|id| !self.listed.contains(id));
        let culprit = self.suspects.pop()?;
        if !self.suspects.is_empty() {
            self.suspects.clear();
            self.want();
        }
        self.leave_out(cx, culprit)
    }

    /// Leaves an entry out; returns it if it was not refused before.
    fn leave_out(&mut self, cx: &mut Cx, id: AgentId) -> Option<AgentId> {
        self.left_out.insert(id.clone());
        cx.marks.hit(Mark::InventoryExcluded);
        self.refused.insert(id.clone()).then_some(id)
    }

    /// Snapshot `number` was refused, with this code and message; `name_of` tells how an identity is called.
    /// Whom it is known to be about is returned, if that is news.
    pub(crate) fn rejected(
        &mut self,
        cx: &mut Cx,
        number: u64,
        (code, message): (&str, &str),
        name_of: impl Fn(&AgentId) -> Option<AgentName>,
    ) -> Option<AgentId> {
        let is_latest = self.is_latest(number);
        self.awaited &= !is_latest;
        if !ABOUT_ENTRIES.contains(&code) && self.troubles < PASSING {
            if is_latest {
                cx.wake_in(Timer::InventoryRefresh, Span(PASSING_FIRST.0 << self.troubles));
                self.troubles += 1;
            }
            return None;
        }
        let called =
            |id: &AgentId, word: &str| id.0 == word || name_of(id).is_some_and(|name| name.0 == word);
        // Only what stands in quotes is surely a name and no word of the sentence.
        let quoted = || message.split(['"', '\'', '`']).skip(1).step_by(2);
        let named = self.listed.iter().find(|id| quoted().any(|word| called(id, word))).cloned();
        if let Some(id) = named {
            self.want();
            return self.leave_out(cx, id);
        }
        if !is_latest {
            return None;
        }
        // What was refused before is the likeliest, and then the newest: the others were accepted.
        let known = self.listed.iter().find(|id| self.refused.contains(*id));
        if let Some(suspect) = known.or_else(|| self.listed.last()).cloned() {
            self.suspects.push(suspect);
            self.want();
        } else {
            self.suspects.clear();
        }
        None
    }

    /// The identity has left: if it comes back, it is listed anew.
    pub(crate) fn forget(&mut self, id: &AgentId) {
        self.refused.remove(id);
        self.left_out.remove(id);
        self.suspects.retain(|suspect| suspect != id);
        self.listed.retain(|listed| listed != id);
    }

    /// Whether this is the latest snapshot.
    pub(crate) const fn is_latest(&self, number: u64) -> bool {
        number == self.number
    }

    /// Who of those whom the latest snapshot listed is still here.
    pub(crate) fn listed(&self) -> &[AgentId] {
        &self.listed
    }

    /// How many entries the engine passed over in the latest snapshot.
    pub(crate) const fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// How many identities the engine refuses or passes over.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.len() as u64 + self.passed_over
    }
}
