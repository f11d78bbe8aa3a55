//! The broker and its end.
//!
//! Owns: the steps of a shutdown and their deadlines.
//!
//! 1. The steps: no new work; injections that have begun may end; goodbyes to the engine; children are
//!    stopped; exit. The whole takes at most [`limits::SHUTDOWN`].
//! 2. Rows that are held stay unacked.
//! 3. A second wish to stop exits at once.

use super::Broker;
use crate::command::{Command, Level, PtySignal};
use crate::ids::ProcessId;
use crate::inject::machine::Injector;
use crate::limits;
use crate::time::Mono;
use crate::timers::Timer;
use alloc::vec::Vec;

/// How far the shutdown has come.
#[derive(Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Running,
    /// Injections that have begun may end.
    Settling,
    /// Goodbyes are said and children are stopped.
    Leaving,
    /// Children were killed.
    Killed,
    /// Nothing more will be done.
    Exited,
}

#[derive(Debug, Default)]
pub(super) struct Stopping {
    step: Step,
    deadline: Mono,
    link_closed: bool,
}

impl Stopping {
    pub(super) fn is_stopping(&self) -> bool {
        self.step != Step::Running
    }
}

impl Broker {
    /// The wish to stop (invariant 3).
    pub(super) fn terminate(&mut self) {
        if !self.stopping.is_stopping() {
            return self.begin_stop();
        }
        self.cx.log(Level::Warn, "broker", "asked to stop a second time; exiting at once");
        self.kill_all();
        self.exit(1);
    }

    /// Begins to stop, unless that has begun.
    pub(super) fn begin_stop(&mut self) {
        if self.stopping.is_stopping() {
            return;
        }
        self.cx.log(Level::Info, "broker", "shutting down");
        self.stopping.step = Step::Settling;
        self.stopping.deadline = self.cx.now.mono.after(limits::SHUTDOWN);
        self.refuse_waiting();
        let spawning = self.roster.iter().filter(|agent| agent.is_spawning()).map(|agent| agent.process);
        for process in spawning.collect::<Vec<ProcessId>>() {
            self.release_for_stop(process);
        }
        self.cx.wake_in(Timer::Shutdown, limits::SHUTDOWN_INJECTIONS);
    }

    pub(super) fn on_shutdown_timer(&mut self) {
        match self.stopping.step {
            Step::Settling => self.say_goodbye(),
            Step::Leaving => {
                self.stopping.step = Step::Killed;
                self.kill_all();
                self.cx.timers.set(Timer::Shutdown, self.stopping.deadline);
            }
            Step::Killed => self.exit(0),
            Step::Running | Step::Exited => {}
        }
    }

    fn kill_all(&mut self) {
        for agent in self.roster.iter() {
            self.cx.push(Command::PtySignal { process: agent.process, signal: PtySignal::Kill });
        }
    }

    pub(super) fn on_link_closed(&mut self) {
        self.stopping.link_closed = true;
    }

    /// Takes the next step as soon as nothing keeps it.
    pub(super) fn flush_stopping(&mut self) {
        match self.stopping.step {
            Step::Settling => {
                let busy =
                    |agent: &crate::agent::Agent| agent.injector.as_ref().is_some_and(Injector::has_written);
                if !self.roster.iter().any(busy) {
                    self.say_goodbye();
                }
            }
            Step::Leaving | Step::Killed
                if self.roster.len() == 0 && self.stopping.link_closed && self.cx.is_stored() =>
            {
                self.exit(0);
            }
            _ => {}
        }
    }

    fn say_goodbye(&mut self) {
        self.stopping.step = Step::Leaving;
        self.repair_journal();
        self.flush_link();
        let processes: Vec<ProcessId> = self.roster.iter().map(|agent| agent.process).collect();
        for process in processes {
            self.release_for_stop(process);
        }
        self.flush_link();
        let event = self.link.stop(&mut self.cx);
        self.on_link_event(event);
        // No letter is on its way any more, and nothing else may happen for long.
        self.compact_journal();
        self.cx.wake_in(Timer::Shutdown, limits::AGENT_GRACE);
    }

    /// Followers have seen everything, the last agent's end too.
    fn close_streams(&mut self) {
        self.flush_events();
        for subscriber in self.events.close() {
            self.cx.push(Command::StreamClose { subscriber, code: 1001, reason: "shutting down" });
        }
    }

    pub(super) fn exit(&mut self, code: u8) {
        if self.stopping.step != Step::Exited {
            self.stopping.step = Step::Exited;
            self.close_streams();
            self.cx.push(Command::Exit { code });
        }
    }
}
