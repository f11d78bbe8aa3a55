//! The shared context of one `handle`.
//!
//! Owns: the current reading of the clocks, the timers, the output queue, counters, randomness and the
//! purposes of IO in flight.
//! Must not know: any area's state.
//!
//! 1. Every command leaves through [`Cx::push`], in the order in which it was decided.
//! 2. IO that has a completion is entered here with its purpose and taken out by it, exactly once.

use crate::command::{CallRequest, Command, Level, LogLine, StoreAction};
use crate::ids::{CallId, Counters, OpId, StoreId};
use crate::limits;
use crate::marks::{Mark, Marks};
use crate::purpose::{CallFor, StoreFor};
use crate::rng::Rng;
use crate::secret::mask;
use crate::stats::{Held, Stats};
use crate::time::{Now, Span};
use crate::timers::{Timer, Timers};
use alloc::collections::{BTreeMap, VecDeque};

#[derive(Debug)]
pub(crate) struct Cx {
    pub(crate) now: Now,
    pub(crate) timers: Timers,
    pub(crate) out: VecDeque<Command>,
    pub(crate) marks: Marks,
    pub(crate) stats: Stats,
    pub(crate) counters: Counters,
    pub(crate) rng: Rng,
    calls: BTreeMap<CallId, CallFor>,
    stores: BTreeMap<StoreId, StoreFor>,
    /// Appends to the journal since it was last compacted.
    pub(crate) appended: usize,
}

impl Cx {
    pub(crate) fn new(now: Now, seed: [u8; 32]) -> Self {
        Self {
            now,
            timers: Timers::default(),
            out: VecDeque::new(),
            marks: Marks::default(),
            stats: Stats::default(),
            counters: Counters::default(),
            rng: Rng::new(seed),
            calls: BTreeMap::new(),
            stores: BTreeMap::new(),
            appended: 0,
        }
    }

    pub(crate) fn push(&mut self, command: Command) {
        self.out.push_back(command);
    }

    pub(crate) fn log(&mut self, level: Level, area: &'static str, message: &str) {
        self.push(Command::Log(LogLine { level, area, message: mask(message) }));
    }

    pub(crate) fn wake_in(&mut self, timer: Timer, span: Span) {
        self.timers.set(timer, self.now.mono.after(span));
    }

    pub(crate) const fn op(&mut self) -> OpId {
        OpId(self.counters.next())
    }

    /// Starts an HTTP call; the answer comes back with `purpose`.
    pub(crate) fn call(&mut self, purpose: CallFor, request: CallRequest, span: Span) -> CallId {
        let call = CallId(self.counters.next());
        self.calls.insert(call, purpose);
        let deadline = self.now.mono.after(span);
        self.push(Command::Call { call, request, deadline });
        call
    }

    /// Ends an HTTP call; `None` for one that nobody waits for.
    pub(crate) fn call_done(&mut self, call: CallId) -> Option<CallFor> {
        let purpose = self.calls.remove(&call);
        self.count_stale(purpose.is_none());
        purpose
    }

    /// Starts a store operation; its end comes back with `purpose`.
    pub(crate) fn store(&mut self, purpose: StoreFor, action: StoreAction) {
        let store = StoreId(self.counters.next());
        self.stores.insert(store, purpose);
        let deadline = self.now.mono.after(limits::STORE);
        self.timers.set(Timer::Store(store), deadline);
        self.appended += usize::from(matches!(action, StoreAction::Append { .. }));
        self.push(Command::Store { store, action, deadline });
    }

    /// Ends a store operation.
    pub(crate) fn store_done(&mut self, store: StoreId) -> Option<StoreFor> {
        let purpose = self.stores.remove(&store);
        self.timers.clear(&Timer::Store(store));
        self.count_stale(purpose.is_none());
        purpose
    }

    /// Timers that are armed, and operations that have not ended.
    pub(crate) fn held(&self) -> Held {
        let (timers, calls, stores) = (self.timers.len(), self.calls.len(), self.stores.len());
        Held { timers, calls, stores, requests: 0 }
    }

    /// Whether everything that was to be stored is stored.
    pub(crate) fn is_stored(&self) -> bool {
        self.stores.is_empty()
    }

    /// Counts a completion that nobody waits for.
    pub(crate) fn count_stale(&mut self, stale: bool) {
        if stale {
            self.stats.stale_completions += 1;
            self.marks.hit(Mark::StaleCompletion);
        }
    }
}
