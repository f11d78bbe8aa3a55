//! The broker and agents that go: by release, by their own exit, or with a failed spawn.
//!
//! Owns: the steps from the wish to the end of the process, and who is told.
//!
//! 1. The engine is told, or owed to be told, before whoever asked is answered; when that is the engine
//!    itself, it is answered first, and told behind that.
//! 2. Rows that the agent has not taken go back to the engine unacked; they are never dead letters.
//! 3. An agent is gone when its process is reaped and its output has ended or had time to end.

use super::Broker;
use super::delivering::terminate;
use super::spawning::{Failure, early_death, ending};
use crate::action::released;
use crate::agent::{Agent, Origin, Phase};
use crate::api::{ApiError, Event, released_reply};
use crate::command::{Command, Level, PtySignal};
use crate::ids::{AgentId, AgentName, InvocationId, ProcessId, RequestId};
use crate::input::ExitStatus;
use crate::limits;
use crate::store::Record;
use crate::timers::Timer;
use alloc::format;

impl Broker {
    pub(super) fn release_for_client(&mut self, request: RequestId, name: &AgentName) {
        match self.roster.by_name(name).map(|agent| agent.process) {
            Some(process) => self.release(process, Origin::Api(request)),
            None => {
                let error = ApiError::agent_not_found(&name.0).of_spawn(Some(name.clone()));
                self.answer(request, error.reply());
            }
        }
    }

    pub(super) fn release_for_invocation(&mut self, id: &InvocationId, name: &AgentName) {
        match self.roster.by_name(name).map(|agent| agent.process) {
            Some(process) => self.release(process, Origin::Invocation(id.clone())),
            // What is wanted is already so.
            None => self.finish(id, released(name)),
        }
    }

    fn release(&mut self, process: ProcessId, waiter: Origin) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        #[cfg(canary)]
        if let (Origin::Invocation(id), Phase::Running) = (&waiter, &agent.phase)
            && canary!(AnsweredTooSoon)
        {
            let outcome = released(agent.name());
            self.finish(id, outcome);
            return self.dismiss(process);
        }
        agent.waiters.push(waiter);
        match agent.phase {
            Phase::Leaving => self.leaving.put_behind(agent.name()),
            Phase::Running | Phase::Proving | Phase::Starting => self.dismiss(process),
            Phase::Registering { .. } | Phase::LookingUp(_) | Phase::OverHttp(_) | Phase::Binding(_) => {
                let message = "it was released before it was started";
                self.fail_spawn(process, Failure::new(409, "spawn_released_before_ready", message));
            }
        }
    }

    /// Releases an agent because the broker goes.
    pub(super) fn release_for_stop(&mut self, process: ProcessId) {
        match self.roster.get(process).map(|agent| agent.phase.clone()) {
            Some(Phase::Running | Phase::Proving | Phase::Starting) => self.dismiss(process),
            Some(Phase::Leaving) | None => {}
            Some(_) => {
                let failure = Failure::new(503, "shutting_down", "this broker is shutting down");
                self.fail_spawn(process, failure);
            }
        }
    }

    /// Sends an agent away: the engine first, then the process.
    pub(super) fn dismiss(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        let was = core::mem::replace(&mut agent.phase, Phase::Leaving);
        let (name, origin) = (agent.name().clone(), agent.origin.clone());
        self.agents_changed = true;
        self.deregister(process);
        if was == Phase::Proving || was == Phase::Starting {
            let failure =
                Failure::new(409, "spawn_released_before_ready", "it was released before it had started");
            self.tell_failure(&name, &origin, &failure);
        }
        if was != Phase::Starting {
            self.cx.push(terminate(process));
        }
        self.cx.wake_in(Timer::AgentKill(process), limits::AGENT_GRACE);
    }

    /// Takes an agent's identity back (invariants 1 and 2).
    fn deregister(&mut self, process: ProcessId) {
        let Some(name) = self.roster.get(process).map(|agent| agent.name().clone()) else {
            return;
        };
        let Some(registered) = self.roster.deregister(process) else {
            return;
        };
        let open = self.delivery.close(&mut self.cx, &registered.id);
        if open > 0 {
            let message = format!("{open} messages for {name:?} were not taken; they stay with the engine");
            self.cx.log(Level::Warn, "delivery", &message);
            self.events.push(&Event::DeliveryDropped { name: &name, count: open, reason: "agent left" });
        }
        self.inventory.forget(&registered.id);
        self.census.forget(&registered.id);
        self.burials.forget(&registered.id);
        #[cfg(canary)]
        {
            let phase = self.roster.get(process).map(|agent| agent.phase.clone());
            let died = phase == Some(Phase::Running);
            let withheld = if died { canary!(MissingWorker) } else { canary!(NotDeregistered) };
            if withheld {
                return;
            }
        }
        // Whoever came behind the answer to a release does not wait until that is surely there.
        let behind = self.actions.has_unanswered_release(&name);
        self.owe(registered.id, name, behind);
    }

    /// The engine has to be told that nobody lives here for whom a registration came late: perhaps whoever was
    /// to be released.
    pub(super) fn owe_late(&mut self, agent_id: AgentId, name: AgentName) {
        self.owe(agent_id, name, true);
    }

    /// The engine has to be told that an agent has left; at once if it can be.
    fn owe(&mut self, agent_id: AgentId, name: AgentName, behind: bool) {
        self.journal(&Record::Owed { agent_id: agent_id.clone(), name: name.clone() });
        self.leaving.owe(agent_id, name, behind);
        self.flush_leaving();
    }

    pub(super) fn flush_leaving(&mut self) {
        let is_releasing = |name: &_| !canary!(ReleasedTooSoon) && self.actions.is_releasing(name);
        self.leaving.flush(&mut self.cx, &mut self.link, is_releasing);
    }

    pub(super) fn on_kill_timer(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get(process) else {
            return;
        };
        if agent.exited.is_some() {
            // A grandchild may hold the terminal for ever.
            return self.settle_exit(process);
        }
        self.cx.push(Command::PtySignal { process, signal: PtySignal::Kill });
        self.cx.wake_in(Timer::AgentKill(process), limits::AGENT_GRACE);
    }

    pub(super) fn on_eof(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get_mut(process) else {
            return;
        };
        if agent.ended {
            return self.cx.count_stale(true);
        }
        agent.ended = true;
        if agent.exited.is_some() {
            self.settle_exit(process);
        } else if agent.phase != Phase::Leaving {
            // Without a terminal it can take no message.
            self.cx.wake_in(Timer::AgentKill(process), limits::AGENT_GRACE);
        }
    }

    pub(super) fn on_exited(&mut self, process: ProcessId, status: ExitStatus) {
        let Some(agent) = self.roster.get_mut(process) else {
            return self.cx.count_stale(true);
        };
        if agent.exited.is_some() {
            return self.cx.count_stale(true);
        }
        agent.exited = Some(status);
        if agent.ended {
            self.settle_exit(process);
        } else {
            self.cx.wake_in(Timer::AgentKill(process), limits::TERMINAL_DRAIN);
        }
    }

    /// The process is gone (invariant 3).
    fn settle_exit(&mut self, process: ProcessId) {
        let Some(agent) = self.roster.get(process) else {
            return;
        };
        let status = agent.exited.unwrap_or(ExitStatus::Unknown);
        let failure = agent.is_spawning().then(|| early_death(agent, status));
        let name = agent.name().clone();
        if failure.is_none() {
            let reason = if agent.phase == Phase::Leaving { "released" } else { "exited" };
            self.events.push(&Event::agent_exited(&name, status, reason));
            if agent.phase != Phase::Leaving {
                self.cx.log(Level::Warn, "agent", &format!("{name:?} {}", ending(status)));
            }
        }
        self.gone(process, failure);
    }

    /// Takes an agent out and tells everyone who waits.
    pub(super) fn gone(&mut self, process: ProcessId, failure: Option<Failure>) {
        if canary!(FailedSpawnRegistered) && failure.is_some() {
            drop(self.roster.deregister(process));
        }
        self.deregister(process);
        let Some(agent) = self.roster.remove(process) else {
            return;
        };
        if let Some(id) = self.registrations.take_inherited(process) {
            self.owe_late(id, agent.name().clone());
        }
        for timer in [
            Timer::AgentRegister(process),
            Timer::AgentRetry(process),
            Timer::AgentProof(process),
            Timer::AgentKill(process),
            Timer::Terminal(process),
        ] {
            self.cx.timers.clear(&timer);
        }
        if agent.pid.is_some() {
            self.cx.push(Command::PtyForget { process });
        }
        self.agents_changed = true;
        self.early.take(agent.name());
        if let Some(failure) = failure {
            self.tell_failure(agent.name(), &agent.origin, &failure);
        }
        for request in agent.open_inputs() {
            let message = "the agent's program ended before its terminal took all of it";
            self.answer(request, ApiError::new(504, "worker_timeout", message).reply());
        }
        self.tell_waiters(&agent);
    }

    fn tell_waiters(&mut self, agent: &Agent) {
        let name = agent.name();
        if !agent.waiters.is_empty() {
            self.cx.log(Level::Info, "agent", &format!("{name:?} was released"));
            self.events.push(&Event::AgentReleased { name });
        }
        for waiter in &agent.waiters {
            match waiter {
                Origin::Api(request) => self.answer(*request, released_reply(name)),
                Origin::Invocation(id) => self.finish(id, released(name)),
            }
        }
    }
}
