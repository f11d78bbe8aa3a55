//! Timers: what the core wants to be woken for.
//!
//! Owns: the set of armed deadlines.
//! Must not know: what happens when one fires.
//!
//! 1. At most one deadline per [`Timer`]; arming again moves it.
//! 2. Timers fire in order of deadline, then of `Timer`, so two runs fire alike.
//! 3. Timers fire only through [`Timers::pop_due`], which only `Input::Tick` calls.

use crate::ids::{AgentId, ProcessId, RequestId, StoreId};
use crate::time::Mono;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// One reason to be woken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The next attempt to resolve the identity, mint or connect.
    LinkRetry,
    /// The handshake or the register reply is overdue.
    LinkDeadline,
    /// The next heartbeat.
    Heartbeat,
    /// Liveness: no frame or no correlated answer for too long.
    Liveness,
    /// The next inventory refresh.
    InventoryRefresh,
    /// An inventory has waited for what is under way.
    InventoryWait,
    /// The connection has been good for long enough: delays start small again.
    LinkSettled,
    /// Past the 401 budget: try one connection.
    DisabledProbe,
    /// Out of order or provisional rows of an identity waited long enough.
    DeliveryGap(AgentId),
    /// An identity with holes asks for a replay.
    DeliveryReplay(AgentId),
    /// A registration of an agent is overdue.
    AgentRegister(ProcessId),
    /// A registration that an engine in trouble refused is tried again.
    AgentRetry(ProcessId),
    /// A started child has lived long enough to count as started.
    AgentProof(ProcessId),
    /// A released child must be gone by now.
    AgentKill(ProcessId),
    /// The next step of an agent's terminal: readiness, injection pause, taken check.
    Terminal(ProcessId),
    /// A local API request must be answered by now.
    Request(RequestId),
    /// A store operation takes too long.
    Store(StoreId),
    /// A step of the shutdown takes too long.
    Shutdown,
    /// The engine did not replay although it was asked: a new link will make it.
    ReplayCheck,
    /// Dead letters and files that could not be written are written again.
    Rewrite,
    /// Agents that could not be got into their channels are got there.
    Join,
    /// The owner of a broker without lasting state did not renew its lease.
    Lease,
}

impl Timer {
    /// Whether it waits for a program, on whose behalf a client of this machine may wait, or for rows.
    const fn waits_for_others(&self) -> bool {
        matches!(
            self,
            Self::Terminal(_)
                | Self::AgentProof(_)
                | Self::AgentKill(_)
                | Self::Request(_)
                | Self::DeliveryGap(_)
        )
    }

    /// The stable name of the reason, for [`Wake`](crate::Wake) and traces.
    pub(crate) const fn why(&self) -> &'static str {
        match self {
            Self::LinkRetry => "link retry",
            Self::LinkDeadline => "link deadline",
            Self::Heartbeat => "heartbeat",
            Self::Liveness => "liveness",
            Self::InventoryRefresh | Self::InventoryWait => "inventory",
            Self::LinkSettled => "link settled",
            Self::DisabledProbe => "disabled probe",
            Self::DeliveryGap(_) => "delivery gap",
            Self::DeliveryReplay(_) => "delivery replay",
            Self::AgentRegister(_) => "agent register",
            Self::AgentRetry(_) => "agent retry",
            Self::AgentProof(_) => "agent proof",
            Self::AgentKill(_) => "agent kill",
            Self::Terminal(_) => "terminal",
            Self::Request(_) => "request deadline",
            Self::Store(_) => "store deadline",
            Self::Shutdown => "shutdown",
            Self::ReplayCheck => "replay check",
            Self::Rewrite => "rewrite",
            Self::Join => "join",
            Self::Lease => "lease",
        }
    }
}

/// The armed timers.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: BTreeMap<Timer, Mono>,
    queue: BTreeSet<(Mono, Timer)>,
}

impl Timers {
    /// Arms `timer` for `at`, replacing an earlier deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Mono) {
        if let Some(old) = self.deadlines.insert(timer.clone(), at) {
            self.queue.remove(&(old, timer.clone()));
        }
        self.queue.insert((at, timer));
    }

    /// Arms `timer` unless it is armed for an earlier instant already.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Mono) {
        if self.deadlines.get(&timer).is_none_or(|old| *old > at) {
            self.set(timer, at);
        }
    }

    /// Disarms `timer`.
    pub(crate) fn clear(&mut self, timer: &Timer) {
        if let Some(old) = self.deadlines.remove(timer) {
            self.queue.remove(&(old, timer.clone()));
        }
    }

    /// Whether `timer` is armed.
    pub(crate) fn is_set(&self, timer: &Timer) -> bool {
        self.deadlines.contains_key(timer)
    }

    /// What `timer` is armed for.
    pub(crate) fn deadline(&self, timer: &Timer) -> Option<Mono> {
        self.deadlines.get(timer).copied()
    }

    /// How many timers are armed.
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<(Mono, &Timer)> {
        self.queue.first().map(|(at, timer)| (*at, timer))
    }

    /// Moves each timer to `later` of its deadline that waits for others who did not go on while the machine slept.
    pub(crate) fn put_off(&mut self, later: impl Fn(Mono) -> Mono) {
        let waiting = self.queue.iter().filter(|(_, timer)| timer.waits_for_others()).cloned();
        for (at, timer) in waiting.collect::<Vec<_>>() {
            self.set(timer, later(at));
        }
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Mono) -> Option<Timer> {
        if self.queue.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.deadlines.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Set(usize, u64),
        SetEarlier(usize, u64),
        Clear(usize),
        PutOff(u64),
        PopDue(u64),
    }

    /// Same reasons of several owners as well as different reasons.
    fn timer(number: usize) -> Timer {
        match number {
            0 => Timer::LinkRetry,
            1 => Timer::Lease,
            2 => Timer::Heartbeat,
            number => Timer::Terminal(ProcessId(number as u64)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn timers_do_what_a_plain_list_does(acts in prop::collection::vec(prop_oneof![
            3 => (0..6_usize, 0..20_u64).prop_map(|(number, at)| Act::Set(number, at)),
            2 => (0..6_usize, 0..20_u64).prop_map(|(number, at)| Act::SetEarlier(number, at)),
            1 => (0..6_usize).prop_map(Act::Clear),
            1 => (0..20_u64).prop_map(Act::PutOff),
            3 => (0..20_u64).prop_map(Act::PopDue),
        ], 0..60)) {
            let mut timers = Timers::default();
            let mut list: Vec<(Mono, Timer)> = Vec::new();
            for act in acts {
                match act {
                    Act::Set(number, at) => {
                        timers.set(timer(number), Mono(at));
                        list.retain(|(_, other)| *other != timer(number));
                        list.push((Mono(at), timer(number)));
                    }
                    Act::SetEarlier(number, at) => {
                        timers.set_earlier(timer(number), Mono(at));
                        if !list.iter().any(|(old, other)| *other == timer(number) && *old <= Mono(at)) {
                            list.retain(|(_, other)| *other != timer(number));
                            list.push((Mono(at), timer(number)));
                        }
                    }
                    Act::Clear(number) => {
                        timers.clear(&timer(number));
                        list.retain(|(_, other)| *other != timer(number));
                    }
                    Act::PutOff(micros) => {
                        timers.put_off(|at| at.after(Span(micros)));
                        for (at, timer) in &mut list {
                            if matches!(timer, Timer::Terminal(_)) {
                                at.0 += micros;
                            }
                        }
                    }
                    Act::PopDue(now) => {
                        let due = list.iter().filter(|(at, _)| *at <= Mono(now)).min().cloned();
                        list.retain(|armed| Some(armed) != due.as_ref());
                        prop_assert_eq!(timers.pop_due(Mono(now)), due.map(|(_, timer)| timer));
                    }
                }
                let first = list.iter().min().map(|(at, timer)| (*at, timer));
                prop_assert_eq!(timers.next(), first);
                for number in 0..6 {
                    let armed = list.iter().find(|(_, other)| *other == timer(number)).map(|(at, _)| *at);
                    prop_assert_eq!(timers.is_set(&timer(number)), armed.is_some());
                    prop_assert_eq!(timers.deadline(&timer(number)), armed);
                }
            }
        }
    }

    #[test]
    fn arming_again_moves_a_timer() {
        let mut timers = Timers::default();
        timers.set(Timer::Heartbeat, Mono(10));
        timers.set(Timer::Heartbeat, Mono(30));
        timers.set_earlier(Timer::Heartbeat, Mono(40));
        timers.set(Timer::LinkRetry, Mono(30));
        assert_eq!(timers.pop_due(Mono(29)), None);
        assert_eq!(timers.pop_due(Mono(30)), Some(Timer::LinkRetry), "same instant: order of Timer");
        assert_eq!(timers.pop_due(Mono(30)), Some(Timer::Heartbeat));
        assert_eq!(timers.next(), None);
    }
}
