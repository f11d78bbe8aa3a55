//! A rig: one broker with virtual time, an engine, terminals and a disk that follow a script.
//!
//! Owns: the loop between a broker's commands and its inputs.
//! Must not know: any rule that a test is about; what is scripted stands in [`engine`] and [`terminal`].
//!
//! 1. Completions are fed back in the order of their commands, one at a time, with the output drained.
//! 2. Time moves only in [`Rig::advance`], which ticks at every promised wake.

mod engine;
mod terminal;
mod verbs;

pub(crate) use engine::{Agents, Engine, Mints, Registers, Upgrade};
pub(crate) use terminal::Program;
pub(crate) use verbs::{
    Spawned, deliver, fan_out, invoke, just_started, with_agent, with_agent_of_older_engine,
};

use engine::Call;
use relay_core::ids::{LinkId, ProcessId, StoreId};
use relay_core::time::{Mono, Now, Span, Wall};
use relay_core::{
    Access, Boot, Broker, CallReply, Child, Command, Config, ExitStatus, Fault, FaultKind, Input, Level,
    PtySignal, Refusal, Secret, Step, StoreAction, StoreFile, TtyState,
};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

pub(crate) const KEY: &str = "rk_live_0123456789abcdef";
pub(crate) const BASE: &str = "http://engine.test";

/// What lasts between two lives of a broker.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) identity: Option<String>,
    pub(crate) tokens: BTreeMap<String, String>,
    pub(crate) journal: String,
}

/// An input that owns its data.
pub(crate) enum Event {
    Up(LinkId),
    Refused(LinkId, u16),
    Text(LinkId, String),
    Pong(LinkId),
    Drained(LinkId, usize),
    Down(LinkId),
    Answered(relay_core::ids::CallId, Result<(u16, String), FaultKind>),
    Stored(StoreId, Result<(), FaultKind>),
    Spawned(ProcessId, Result<u32, FaultKind>),
    Output(ProcessId, Vec<u8>),
    Written(ProcessId, relay_core::ids::OpId, usize, Option<FaultKind>),
    State(ProcessId, relay_core::ids::OpId, TtyState),
    Eof(ProcessId),
    Exited(ProcessId, ExitStatus),
}

/// One opened, or attempted, link.
pub(crate) struct Opened {
    pub(crate) link: LinkId,
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) at: Mono,
}

pub(crate) struct Rig {
    broker: Broker,
    pub(crate) config: Config,
    pub(crate) now: Now,
    /// When the broker wants to be woken.
    pub(crate) wake: Option<Mono>,
    /// Completions that follow from commands, in their order.
    pub(crate) due: VecDeque<Event>,
    pub(crate) engine: Engine,
    pub(crate) disk: Disk,
    /// Every store operation fails like this.
    pub(crate) disk_fault: Option<FaultKind>,
    pub(crate) programs: BTreeMap<ProcessId, Program>,
    /// What a new child does.
    pub(crate) next_program: Program,
    /// New children are not reported as started.
    pub(crate) hold_spawns: bool,
    /// Links that the broker closes do not end.
    pub(crate) hold_downs: bool,
    /// The start of new children fails like this.
    pub(crate) spawn_fault: Option<FaultKind>,
    /// The socket takes nothing: frames stay in the driver's queue.
    pub(crate) hold_drains: bool,
    pub(crate) opens: Vec<Opened>,
    /// Frames, since they were last forgotten.
    pub(crate) sent: Vec<Value>,
    pub(crate) pings: usize,
    pub(crate) closes: Vec<(LinkId, u16)>,
    pub(crate) calls: Vec<Call>,
    pub(crate) children: Vec<(ProcessId, Child)>,
    pub(crate) signals: Vec<(ProcessId, PtySignal)>,
    pub(crate) resizes: Vec<(ProcessId, u16, u16)>,
    pub(crate) forgotten: Vec<ProcessId>,
    pub(crate) replies: BTreeMap<u64, Vec<(u16, String)>>,
    pub(crate) streams: Vec<(u64, relay_core::ids::SubscriberId)>,
    pub(crate) stream_texts: Vec<Value>,
    pub(crate) stream_closes: usize,
    pub(crate) logs: Vec<(Level, String)>,
    pub(crate) exit: Option<u8>,
    /// The kinds of all commands in their order, for tests about order.
    pub(crate) order: Vec<String>,
    next_request: u64,
    next_pid: u32,
}

pub(crate) fn config() -> Config {
    Config {
        instance: "relay".into(),
        node_name: Some("node-one".into()),
        base_url: BASE.into(),
        access: Access::Key(Secret::new(KEY).unwrap()),
        node_id: None,
        node_token: None,
        agent_type: "human".into(),
        harnesses: vec!["claude".into(), "codex".into()],
        max_agents: 0,
        channels: Vec::new(),
        version: "1.2.3".into(),
        persist: true,
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::start(config(), Disk::default(), Engine::default())
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config, &mut Engine)) -> Self {
        let (mut config, mut engine) = (config(), Engine::default());
        change(&mut config, &mut engine);
        Self::start(config, Disk::default(), engine)
    }

    /// A broker that is registered and whose opening sequence is over.
    pub(crate) fn online() -> Self {
        Self::new().ready()
    }

    /// Waits for the registration and the first inventory, and forgets what led to them.
    pub(crate) fn ready(mut self) -> Self {
        self.advance(Span::millis(250));
        assert_eq!(self.health()["relaycastConnected"], true, "{:?}", self.logs);
        self.sent.clear();
        self.calls.clear();
        self
    }

    /// Another life of this broker with what the disk holds.
    pub(crate) fn restarted(self) -> Self {
        Self::start(self.config, self.disk, self.engine)
    }

    pub(crate) fn start(config: Config, disk: Disk, engine: Engine) -> Self {
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_760_000_000_000) };
        let boot = Boot {
            now,
            seed: [7; 32],
            machine_seed: "seed".into(),
            cwd: "/project".into(),
            pid: 42,
            identity: disk.identity.clone(),
            tokens: disk.tokens.values().cloned().collect(),
            journal: disk.journal.clone(),
        };
        let mut rig = Self {
            broker: Broker::new(config.clone(), boot),
            config,
            now,
            wake: None,
            due: VecDeque::new(),
            engine,
            disk,
            disk_fault: None,
            programs: BTreeMap::new(),
            next_program: Program::cat(),
            hold_spawns: false,
            hold_downs: false,
            spawn_fault: None,
            hold_drains: false,
            opens: Vec::new(),
            sent: Vec::new(),
            pings: 0,
            closes: Vec::new(),
            calls: Vec::new(),
            children: Vec::new(),
            signals: Vec::new(),
            resizes: Vec::new(),
            forgotten: Vec::new(),
            replies: BTreeMap::new(),
            streams: Vec::new(),
            stream_texts: Vec::new(),
            stream_closes: 0,
            logs: Vec::new(),
            exit: None,
            order: Vec::new(),
            next_request: 1,
            next_pid: 1000,
        };
        rig.drain();
        rig.settle();
        rig
    }

    pub(crate) fn stats(&self) -> relay_core::Stats {
        *self.broker.stats()
    }

    pub(crate) fn next_request(&mut self) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        request
    }

    /// Lets time pass: ticks at every wake on the way.
    pub(crate) fn advance(&mut self, span: Span) {
        let end = self.now.mono.after(span);
        self.settle();
        for _ in 0..200_000 {
            if self.exit.is_some() {
                return;
            }
            let Some(wake) = self.wake.filter(|wake| *wake <= end) else {
                self.move_to(end);
                return;
            };
            self.move_to(wake.max(self.now.mono));
            self.handle(Input::Tick);
            self.settle();
        }
        panic!("the broker wakes without end");
    }

    fn move_to(&mut self, at: Mono) {
        let millis = i64::try_from(at.since(self.now.mono).as_millis()).unwrap();
        self.now.wall = Wall(self.now.wall.0 + millis);
        self.now.mono = at;
    }

    /// The clock jumps, as after a suspend: no tick on the way.
    pub(crate) fn jump(&mut self, span: Span) {
        self.move_to(self.now.mono.after(span));
    }

    pub(crate) fn tick(&mut self) {
        self.handle(Input::Tick);
        self.settle();
    }

    /// One input with its direct output, and everything that follows by itself.
    pub(crate) fn feed(&mut self, event: Event) {
        self.apply(event);
        self.settle();
    }

    /// Feeds back all completions that are due.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if self.exit.is_some() {
                return;
            }
            match self.due.pop_front() {
                Some(event) => self.apply(event),
                None => return,
            }
        }
        panic!("commands and completions go round without end");
    }

    pub(crate) fn handle(&mut self, input: Input<'_>) {
        self.broker.handle(self.now, input);
        self.drain();
    }

    fn apply(&mut self, event: Event) {
        let fault = |kind| Fault { kind, detail: "scripted fault" };
        match event {
            Event::Up(link) => self.handle(Input::LinkUp { link }),
            Event::Refused(link, status) => {
                let why = Refusal::Status(status);
                self.handle(Input::LinkRefused { link, why });
            }
            Event::Text(link, text) => self.handle(Input::LinkText { link, text: &text }),
            Event::Pong(link) => self.handle(Input::LinkPong { link }),
            Event::Drained(link, bytes) => self.handle(Input::LinkDrained { link, bytes }),
            Event::Down(link) => self.handle(Input::LinkDown { link, why: "scripted end" }),
            Event::Answered(call, Ok((status, body))) => {
                let reply = CallReply { status, body: body.as_bytes() };
                self.handle(Input::CallDone { call, result: Ok(reply) });
            }
            Event::Answered(call, Err(kind)) => {
                self.handle(Input::CallDone { call, result: Err(fault(kind)) });
            }
            Event::Stored(store, result) => {
                self.handle(Input::Stored { store, result: result.map_err(fault) });
            }
            Event::Spawned(process, result) => {
                self.handle(Input::Spawned { process, result: result.map_err(fault) });
            }
            Event::Output(process, bytes) => self.handle(Input::PtyOutput { process, bytes: &bytes }),
            Event::Written(process, op, written, kind) => {
                let fault = kind.map(fault);
                self.handle(Input::PtyWritten { process, op, written, fault });
            }
            Event::State(process, op, state) => {
                self.handle(Input::PtyState { process, op, state: Some(state) });
            }
            Event::Eof(process) => self.handle(Input::PtyEof { process }),
            Event::Exited(process, status) => self.handle(Input::PtyExited { process, status }),
        }
    }

    fn drain(&mut self) {
        loop {
            match self.broker.poll() {
                Step::Do(command) => self.run(command),
                Step::Wait(wake) => {
                    self.wake = wake.at;
                    return;
                }
            }
        }
    }

    fn run(&mut self, command: Command) {
        assert!(self.exit.is_none(), "nothing follows an exit, but {command:?} did");
        match command {
            Command::LinkOpen { link, url, token, .. } => {
                self.order.push("open".into());
                let token = token.expose().to_string();
                self.opens.push(Opened { link, url, token, at: self.now.mono });
                self.on_open(link);
            }
            Command::LinkSend { link, text } => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                self.order.push(frame["type"].as_str().unwrap().into());
                if !self.hold_drains {
                    self.due.push_back(Event::Drained(link, text.len()));
                }
                self.sent.push(frame.clone());
                self.on_frame(link, &frame);
            }
            Command::LinkPing { link } => {
                self.pings += 1;
                if self.engine.pongs {
                    self.due.push_back(Event::Pong(link));
                }
            }
            Command::LinkClose { link, code, .. } => {
                self.order.push("close".into());
                self.closes.push((link, code));
                if !self.hold_downs {
                    self.due.push_back(Event::Down(link));
                }
            }
            Command::LinkPause { .. } => {}
            // What does not run yet, or any more, has no terminal.
            Command::PtyResize { process, rows, cols } => {
                if self.programs.contains_key(&process) {
                    self.resizes.push((process, rows, cols));
                }
            }
            Command::Call { call, request, .. } => self.on_call(call, request),
            Command::Spawn { process, child, .. } => self.on_spawn(process, child),
            Command::PtyWrite { process, op, bytes, .. } => self.on_write(process, op, bytes),
            Command::PtyCheck { process, op } => self.on_check(process, op),
            Command::PtySignal { process, signal } => {
                self.order.push(format!("{signal:?}"));
                self.signals.push((process, signal));
                self.on_signal(process, signal);
            }
            Command::PtyForget { process } => self.forgotten.push(process),
            Command::Store { store, action, .. } => {
                let result = self.disk_fault.map_or(Ok(()), Err);
                if result.is_ok() {
                    self.write(action);
                }
                self.due.push_back(Event::Stored(store, result));
            }
            Command::ApiReply { request, status, body, .. } => {
                self.order.push(format!("reply {status}"));
                self.replies.entry(request.0).or_default().push((status, body));
            }
            Command::ApiStream { request, subscriber } => self.streams.push((request.0, subscriber)),
            Command::StreamSend { text, .. } => {
                assert_eq!(self.stream_closes, 0, "nothing follows the close of a stream");
                self.stream_texts.push(serde_json::from_str(&text).unwrap());
            }
            Command::StreamClose { .. } => self.stream_closes += 1,
            Command::Log(line) => self.logs.push((line.level, line.message)),
            Command::Exit { code } => {
                assert_eq!(self.stream_closes, self.streams.len(), "no stream is left open");
                self.exit = Some(code);
            }
        }
    }

    fn write(&mut self, action: StoreAction) {
        match action {
            StoreAction::Append { lines } => {
                // As drivers do: a torn or trimmed end must not spoil what follows.
                if !self.disk.journal.is_empty() && !self.disk.journal.ends_with('\n') {
                    self.disk.journal.push('\n');
                }
                self.disk.journal.push_str(&lines);
            }
            StoreAction::Remove { .. } => {}
            StoreAction::Replace { file, content } => {
                let content = content.expose().to_string();
                match file {
                    StoreFile::Identity => self.disk.identity = Some(content),
                    StoreFile::Journal => self.disk.journal = content,
                    StoreFile::NodeToken { stem } => {
                        self.disk.tokens.insert(stem, content);
                    }
                }
            }
        }
    }

    fn on_spawn(&mut self, process: ProcessId, child: Child) {
        self.order.push("spawn".into());
        self.children.push((process, child));
        if self.hold_spawns {
            return;
        }
        if let Some(kind) = self.spawn_fault {
            self.due.push_back(Event::Spawned(process, Err(kind)));
            return;
        }
        self.started(process);
    }

    /// The child of `process` runs.
    pub(crate) fn started(&mut self, process: ProcessId) {
        self.next_pid += 1;
        self.due.push_back(Event::Spawned(process, Ok(self.next_pid)));
        let program = self.next_program.clone();
        if !program.banner.is_empty() {
            self.due.push_back(Event::Output(process, program.banner.clone()));
        }
        self.programs.insert(process, program);
    }
}
