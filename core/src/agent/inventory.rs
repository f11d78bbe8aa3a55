//! The inventory: which identities the engine is told live here.
//!
//! Owns: when a snapshot is due, and which entries the engine refuses.
//! Must not know: how agents come and go.
//!
//! 1. A snapshot lists every running identity but those that the engine refuses.
//! 2. A refresh waits, at most [`limits::INVENTORY_PATIENCE`], while an invocation is open here: the
//!    engine reschedules every open invocation that a snapshot does not list.
//! 3. One refused entry does not silence the others: it is found and left out (`core/PROTOCOL.md` §8).

use crate::cx::Cx;
use crate::ids::{AgentId, AgentName};
use crate::limits;
use crate::marks::Mark;
use crate::timers::Timer;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// How urgent the next snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Due {
    #[default]
    No,
    /// As soon as no invocation is open.
    WhenQuiet,
    /// Now.
    Now,
}

#[derive(Debug, Default)]
pub(crate) struct Inventory {
    due: Due,
    /// Entries that the engine refuses on this link.
    refused: BTreeSet<AgentId>,
    /// Entries left out, one after the other, to find the one that is refused.
    suspects: Vec<AgentId>,
    /// The entries of the latest snapshot.
    listed: Vec<AgentId>,
    /// Whether it waits for its reply.
    awaited: bool,
}

impl Inventory {
    /// A new link: a snapshot follows at once, and refusals are forgotten.
    pub(crate) fn opened(&mut self) {
        *self = Self { due: Due::Now, ..Self::default() };
    }

    /// [`Timer::InventoryRefresh`]: a snapshot is due, if nothing is open (invariant 2).
    pub(crate) fn refresh(&mut self, cx: &mut Cx) {
        if self.due == Due::No {
            self.due = Due::WhenQuiet;
            cx.wake_in(Timer::InventoryForce, limits::INVENTORY_PATIENCE);
        }
    }

    /// [`Timer::InventoryForce`]: it has waited long enough.
    pub(crate) fn force(&mut self) {
        if self.due == Due::WhenQuiet {
            self.due = Due::Now;
        }
    }

    /// A snapshot is due as soon as no invocation is open.
    pub(crate) fn hasten(&mut self) {
        self.due = self.due.max(Due::WhenQuiet);
    }

    /// Whether a snapshot is to be sent now.
    pub(crate) fn is_due(&self, invocation_open: bool) -> bool {
        match self.due {
            Due::No => false,
            Due::WhenQuiet => !invocation_open,
            Due::Now => true,
        }
    }

    /// Whether the engine has answered the latest snapshot, and none is due: what it had for those who
    /// live here has been sent.
    pub(crate) fn is_settled(&self) -> bool {
        self.due == Due::No && !self.awaited
    }

    /// Whether an identity is to be listed.
    pub(crate) fn lists(&self, id: &AgentId) -> bool {
        !self.refused.contains(id) && !self.suspects.contains(id)
    }

    /// A snapshot of these was sent.
    pub(crate) fn sent(&mut self, cx: &mut Cx, listed: Vec<AgentId>) {
        self.due = Due::No;
        self.listed = listed;
        self.awaited = true;
        cx.timers.clear(&Timer::InventoryForce);
        cx.wake_in(Timer::InventoryRefresh, limits::INVENTORY_REFRESH);
    }

    /// It was accepted. The entry left out last, if any, was the one refused.
    pub(crate) fn accepted(&mut self, cx: &mut Cx) -> Option<AgentId> {
        self.awaited = false;
        let culprit = self.suspects.pop()?;
        self.refused.insert(culprit.clone());
        cx.marks.hit(Mark::InventoryExcluded);
        if !self.suspects.is_empty() {
            self.suspects.clear();
            self.due = Due::Now;
        }
        Some(culprit)
    }

    /// It was refused, with this message; `names` tells whom an identity is called.
    pub(crate) fn rejected(
        &mut self,
        cx: &mut Cx,
        message: &str,
        name_of: impl Fn(&AgentId) -> Option<AgentName>,
    ) -> Option<AgentId> {
        self.awaited = false;
        let called =
            |id: &AgentId, word: &str| id.0 == word || name_of(id).is_some_and(|name| name.0 == word);
        // Only what stands in quotes is surely a name and no word of the sentence.
        let quoted = || message.split(['"', '\'', '`']).skip(1).step_by(2);
        let named = self.listed.iter().find(|id| quoted().any(|word| called(id, word))).cloned();
        if let Some(id) = named {
            self.refused.insert(id.clone());
            cx.marks.hit(Mark::InventoryExcluded);
            self.due = Due::Now;
            return Some(id);
        }
        // The newest entry is the likeliest: the others were accepted before.
        if let Some(last) = self.listed.last().cloned() {
            self.suspects.push(last);
            self.due = Due::Now;
        } else {
            self.suspects.clear();
        }
        None
    }

    /// The identity has left: if it comes back, it is listed anew.
    pub(crate) fn forget(&mut self, id: &AgentId) {
        self.refused.remove(id);
        self.suspects.retain(|suspect| suspect != id);
        self.listed.retain(|listed| listed != id);
    }

    /// How many identities the engine refuses.
    pub(crate) fn refused(&self) -> usize {
        self.refused.len()
    }
}
