//! The story of a run: what happened, between whom, in words for people.
//!
//! Owns: the form of a moment, and the turning of inputs, commands and facts of a world into moments.
//! Must not know: where the facts come from, or how a story is shown.
//!
//! 1. A moment shows no credential and is of bounded size: every text goes through one function.
//! 2. A narrator only listens: what it is told cannot change a run.
//! 3. The same facts in the same order make the same story, whether a world or a trace tells them.

mod commands;
mod facts;
mod frames;
mod inputs;
mod line;
mod words;

pub use line::{Colour, Columns};

use crate::engine::Event;
use crate::oracles::{Class, Failure};
use crate::world::Of;
use relay_core::ids::ProcessId;
use relay_core::{Command, ExitStatus, Input};
use std::collections::BTreeMap;
use std::fmt::{Arguments, Debug};

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The engine.
    Engine,
    /// The WebSocket between engine and broker, as something that comes and goes.
    Link,
    /// The broker.
    Core,
    /// The terminal of the agent with this name.
    Agent(String),
    /// The broker's files.
    Store,
    /// Clients of the local API.
    Api,
    /// What goes wrong.
    Fault,
    /// The judges.
    Oracle,
}

impl Lane {
    /// What people call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Engine => "engine",
            Self::Link => "link",
            Self::Core => "core",
            Self::Agent(name) => name,
            Self::Store => "store",
            Self::Api => "api",
            Self::Fault => "FAULT",
            Self::Oracle => "ORACLE",
        }
    }
}

/// What sort of thing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A frame on the link.
    Frame,
    /// The link itself: opened, lost, pings.
    Link,
    /// An HTTP call to the engine.
    Call,
    /// Text typed into a terminal, or read by a program.
    Injection,
    /// Output of a terminal.
    Output,
    /// A child starts or ends.
    Process,
    /// A file changes.
    Store,
    /// A request to the local API, or its answer.
    Api,
    /// Something told to the subscribers of the local API.
    Event,
    /// Credit and looks at terminals: how much has left, how much is read.
    Flow,
    /// What the broker tells the operator.
    Log,
    /// What the engine does by itself.
    Engine,
    /// A life of the broker begins or ends.
    Life,
    /// Something goes wrong, on purpose.
    Fault,
    /// A rule is broken.
    Verdict,
}

impl Kind {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 15] = [
        Self::Frame,
        Self::Link,
        Self::Call,
        Self::Injection,
        Self::Output,
        Self::Process,
        Self::Store,
        Self::Api,
        Self::Event,
        Self::Flow,
        Self::Log,
        Self::Engine,
        Self::Life,
        Self::Fault,
        Self::Verdict,
    ];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Link => "link",
            Self::Call => "call",
            Self::Injection => "injection",
            Self::Output => "output",
            Self::Process => "process",
            Self::Store => "store",
            Self::Api => "api",
            Self::Event => "event",
            Self::Flow => "flow",
            Self::Log => "log",
            Self::Engine => "engine",
            Self::Life => "life",
            Self::Fault => "fault",
            Self::Verdict => "verdict",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Virtual µs.
    pub at: u64,
    /// Who did it.
    pub from: Lane,
    /// To whom; the same lane when it concerns nobody else.
    pub to: Lane,
    /// What sort of thing.
    pub kind: Kind,
    /// The number of the link, where there is one.
    pub link: Option<u64>,
    /// The agent that it is about, where there is one.
    pub agent: Option<String>,
    /// In one short line.
    pub text: String,
    /// The whole of it: JSON where it is JSON; empty when the text says it all.
    pub detail: String,
}

impl Moment {
    fn new(from: Lane, to: Lane, kind: Kind, text: impl AsRef<str>) -> Self {
        let text = words::short(text.as_ref());
        Self { at: 0, from, to, kind, link: None, agent: None, text, detail: String::new() }
    }

    /// The moment in which a rule was broken.
    pub fn verdict(at: u64, failure: &Failure) -> Self {
        let text = match failure.class {
            Class::Panic => format!("the core panicked: {}", failure.message),
            class => format!("{class:?} {} is broken: {}", failure.rule, failure.message),
        };
        let verdict = Self::new(Lane::Oracle, Lane::Oracle, Kind::Verdict, text);
        Self { at, ..verdict.detail(&failure.message) }
    }

    fn on(mut self, link: u64) -> Self {
        self.link = Some(link);
        self
    }

    fn about(mut self, agent: Option<String>) -> Self {
        self.agent = agent;
        self
    }

    fn detail(mut self, detail: impl AsRef<str>) -> Self {
        self.detail = words::capped(detail.as_ref());
        self
    }
}

/// Something to be told.
#[derive(Debug)]
pub enum Fact<'f> {
    /// This life of the broker begins.
    Begins(u64),
    /// It is over.
    Ends(u64),
    /// The broker is told.
    Input(&'f Input<'f>),
    /// The broker wants.
    Command(&'f Command),
    /// The engine has done.
    Engine(&'f Event),
    /// A process of this agent was started, running this program.
    Started(Of<ProcessId>, &'f str, &'f dyn Debug),
    /// It has ended.
    Exited(Of<ProcessId>, ExitStatus),
    /// It has read the whole of this message.
    Took(Of<ProcessId>, u64),
    /// A rule was broken.
    Failed(&'f Failure),
    /// Somebody says something: `FAULT`, `http` …
    Said(&'f str, Arguments<'f>),
}

/// Tells a story: turns facts into moments.
#[derive(Debug, Default)]
pub struct Narrator {
    /// Names of the processes of the present life.
    processes: BTreeMap<u64, String>,
    /// What calls and requests were, until they are answered.
    calls: BTreeMap<u64, String>,
    requests: BTreeMap<u64, String>,
    /// What files were changed, until that is done.
    stores: BTreeMap<u64, &'static str>,
    /// Names of the engine's agents, by id.
    names: BTreeMap<String, String>,
}

impl Narrator {
    /// A narrator that has heard nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The moment of a fact at this virtual time in µs; none for what nobody wants to see.
    pub fn tell(&mut self, at: u64, fact: &Fact<'_>) -> Option<Moment> {
        let moment = match fact {
            Fact::Input(input) => self.input(input)?,
            Fact::Command(command) => self.command(command),
            other => self.fact(other)?,
        };
        Some(Moment { at, ..moment })
    }

    /// The name of a process of the present life.
    fn name(&self, process: ProcessId) -> String {
        self.processes.get(&process.0).cloned().unwrap_or_else(|| words::process(process))
    }

    fn terminal(&self, process: ProcessId) -> Lane {
        Lane::Agent(self.name(process))
    }
}
