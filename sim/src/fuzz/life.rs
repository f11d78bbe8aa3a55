//! One broker, and what its driver owes it.
//!
//! Owns: the loop between commands and inputs, the completions that are due, the disk, and the rules that
//! every command has to keep.
//! Must not know: which inputs come when ([`steps`](super::steps)).
//!
//! 1. What was handed over drains at most once; a link, a stream or a process that is gone drains nothing.
//! 2. Every id of a command is new; every request is answered at most once; frames leave on links that are up.
//! 3. Nothing is under way beyond its credit or without a deadline; no log shows a credential.
//! 4. A tick does what is due: the broker does not want another one for the same moment, for ever.

use crate::oracles::At;
use crate::oracles::bounds::{Bounds, deadline};
use relay_core::ids::{CallId, LinkId, OpId, ProcessId, RequestId, StoreId, SubscriberId};
use relay_core::time::{Mono, Now, Wall};
use relay_core::{
    Access, Boot, Broker, CallRequest, Command, Config, Digest, Input, Secret, Step, StoreAction, StoreFile,
    mask,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Commands of one input. The largest answer to one input is a few for each agent and each waiting message.
const COMMANDS: usize = 20_000;
/// Ticks at one moment.
const TICKS: usize = 100;
/// Completions that [`Life::answer_all`] gives: a broker that always wants more is not quiet.
const ANSWERS: usize = 20_000;
/// The whole shutdown, in µs, with room.
const SHUTDOWN: u64 = 10_000_000;
/// Bytes of the longest text that a step may add to.
const JOURNAL: usize = 1 << 20;

/// What a command waits for.
#[derive(Debug)]
pub(super) enum Owed {
    Up(LinkId),
    Reply(LinkId, Value),
    Drained(LinkId, usize),
    Pong(LinkId),
    Down(LinkId),
    Called(CallId, CallRequest),
    Started(ProcessId),
    Written(ProcessId, OpId, usize),
    State(ProcessId, OpId),
    Exited(ProcessId),
    Stored(StoreId),
    Streamed(SubscriberId, usize),
    StreamGone(SubscriberId),
}

#[derive(Debug)]
pub(super) struct Life {
    broker: Broker,
    pub(super) now: Now,
    /// The greatest reading that the broker has seen.
    seen: Mono,
    wake: Option<Mono>,
    pub(super) owed: Vec<Owed>,
    bounds: Bounds,
    ids: BTreeSet<u64>,
    pub(super) links: BTreeSet<LinkId>,
    pub(super) link: LinkId,
    pub(super) processes: Vec<ProcessId>,
    /// What was typed and not shown yet, and into which terminal.
    pub(super) typed: Vec<(ProcessId, Vec<u8>)>,
    /// What terminals say is unread.
    pub(super) unread: u32,
    requests: BTreeSet<RequestId>,
    last_request: u64,
    pub(super) streams: Vec<SubscriberId>,
    journal: String,
    identity: Option<String>,
    tokens: BTreeMap<String, String>,
    exit: bool,
}

fn config() -> Config {
    Config {
        instance: "fuzz".into(),
        node_name: None,
        base_url: "http://engine.test".into(),
        access: Access::Key(
            Secret::new("rk_live_00112233445566778899aabbccddeeff").expect("it is not blank"),
        ),
        node_id: None,
        node_token: None,
        agent_type: "human".into(),
        harnesses: vec!["claude".into(), "codex".into()],
        max_agents: 3,
        channels: vec!["general".into()],
        version: "0.0.0-fuzz".into(),
        persist: true,
    }
}

fn broker(now: Now, identity: Option<String>, tokens: Vec<String>, journal: String) -> Broker {
    let boot = Boot {
        now,
        seed: [7; 32],
        machine_seed: "seed".into(),
        cwd: "/fuzz".into(),
        pid: 1,
        identity,
        tokens,
        journal,
    };
    Broker::new(config(), boot)
}

impl Life {
    pub(super) fn new() -> Self {
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_790_000_000_000) };
        let mut life = Self {
            broker: broker(now, None, Vec::new(), String::new()),
            now,
            seen: now.mono,
            wake: None,
            owed: Vec::new(),
            bounds: Bounds::default(),
            ids: BTreeSet::new(),
            links: BTreeSet::new(),
            link: LinkId(0),
            processes: Vec::new(),
            typed: Vec::new(),
            unread: 0,
            requests: BTreeSet::new(),
            last_request: 0,
            streams: Vec::new(),
            journal: String::new(),
            identity: None,
            tokens: BTreeMap::new(),
            exit: false,
        };
        life.drain();
        life
    }

    /// The process dies at once, and another one finds what is on disk, with this behind the journal.
    pub(super) fn crash(&mut self, torn: &str) {
        if self.journal.len() < JOURNAL {
            self.journal += torn;
        }
        let tokens = self.tokens.values().cloned().collect();
        let broker = broker(self.now, self.identity.clone(), tokens, self.journal.clone());
        let (journal, identity) = (std::mem::take(&mut self.journal), self.identity.take());
        let tokens = std::mem::take(&mut self.tokens);
        *self = Self { broker, now: self.now, seen: self.now.mono, journal, identity, tokens, ..Self::new() };
        self.owed.clear();
        self.ids.clear();
        self.drain();
    }

    pub(super) const fn is_over(&self) -> bool {
        self.exit
    }

    pub(super) fn digest(&self) -> Digest {
        self.broker.digest()
    }

    pub(super) fn request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    pub(super) fn feed(&mut self, input: Input<'_>) {
        if self.exit {
            return;
        }
        self.learn(&input);
        self.bounds.input(&input);
        self.seen = self.seen.max(self.now.mono);
        self.broker.handle(self.now, input);
        self.drain();
    }

    /// What an input says about what is still there (invariant 1).
    fn learn(&mut self, input: &Input<'_>) {
        match input {
            Input::LinkUp { link } => {
                self.links.insert(*link);
                self.link = *link;
            }
            // A link that is up cannot be refused any more.
            Input::LinkRefused { link, .. } if self.links.contains(link) => {}
            Input::LinkDown { link, .. } | Input::LinkRefused { link, .. } => {
                self.links.remove(link);
                self.owed.retain(|owed| match owed {
                    Owed::Up(of)
                    | Owed::Reply(of, _)
                    | Owed::Drained(of, _)
                    | Owed::Pong(of)
                    | Owed::Down(of) => of != link,
                    _ => true,
                });
            }
            Input::StreamGone { subscriber } => {
                self.streams.retain(|of| of != subscriber);
                self.owed.retain(|owed| match owed {
                    Owed::Streamed(of, _) | Owed::StreamGone(of) => of != subscriber,
                    _ => true,
                });
            }
            Input::Api { request, .. } => {
                self.requests.insert(*request);
            }
            Input::ApiGone { request } => {
                self.requests.remove(request);
            }
            _ => {}
        }
    }

    /// A text on the link that came up last.
    pub(super) fn text(&mut self, text: &str) {
        self.feed(Input::LinkText { link: self.link, text });
    }

    pub(super) fn tick(&mut self) {
        for _ in 0..TICKS {
            self.feed(Input::Tick);
            if self.exit || self.wake.is_none_or(|wake| wake > self.now.mono) {
                return;
            }
        }
        panic!("the broker wants tick after tick at {:?}", self.now.mono);
    }

    /// Time passes until the broker wants to be woken.
    pub(super) fn wait(&mut self) {
        if let Some(wake) = self.wake {
            self.pass(wake.since(self.now.mono).0);
        }
        self.tick();
    }

    /// Both clocks go on by so many µs.
    pub(super) fn pass(&mut self, micros: u64) {
        self.now.mono = Mono(self.now.mono.0.saturating_add(micros));
        self.now.wall = Wall(self.now.wall.0.saturating_add_unsigned(micros / 1_000));
    }

    /// Until a link is up.
    pub(super) fn connect(&mut self) {
        for _ in 0..ANSWERS {
            if !self.links.is_empty() {
                return;
            }
            if self.owed.is_empty() { self.wait() } else { self.answer(0) }
        }
        panic!("the broker never connects");
    }

    pub(super) fn answer_all(&mut self) {
        for _ in 0..ANSWERS {
            if self.owed.is_empty() || self.exit {
                return;
            }
            self.answer(0);
        }
        panic!("the broker is never quiet: {:?}", self.owed);
    }

    /// So many rounds of an ordinary life: all is done that is owed, terminals show what was typed, time passes.
    pub(super) fn go_on(&mut self, rounds: u8) {
        for _ in 0..rounds {
            self.answer_all();
            self.echo();
            self.wait();
        }
    }

    pub(super) fn echo(&mut self) {
        for (process, bytes) in std::mem::take(&mut self.typed) {
            self.feed(Input::PtyOutput { process, bytes: &bytes });
        }
    }

    /// Whatever is still owed: a broker that is asked to stop stops in time.
    pub(super) fn stop(&mut self) {
        self.feed(Input::Terminate);
        let end = self.seen.0.saturating_add(SHUTDOWN);
        while !self.exit {
            assert!(
                self.wake.is_some_and(|wake| wake.0 <= end),
                "it was asked to stop, and waits for {:?}",
                self.wake
            );
            self.wait();
        }
    }

    fn drain(&mut self) {
        for _ in 0..COMMANDS {
            match self.broker.poll() {
                Step::Do(command) => self.run(command),
                Step::Wait(wake) => {
                    self.wake = wake.at;
                    return;
                }
            }
        }
        panic!("one input has caused more than {COMMANDS} commands");
    }

    fn fresh(&mut self, id: u64) {
        assert!(self.ids.insert(id), "the id {id} is not new");
    }

    fn run(&mut self, command: Command) {
        assert!(!self.exit, "behind the exit came {command:?}");
        let at = At { life: 1, mono: self.seen.0, now: self.seen.0 };
        let kept = self.bounds.command(&command).and_then(|()| deadline(at, &command));
        assert_eq!(kept, Ok(()), "{command:?}");
        match command {
            Command::LinkOpen { link, .. } => {
                self.fresh(link.0);
                self.owed.push(Owed::Up(link));
            }
            Command::LinkSend { link, text } => {
                assert!(self.links.contains(&link), "{link:?} is not up for {text}");
                let frame: Value = serde_json::from_str(&text).expect("a frame is JSON");
                assert!(frame["v"] == 1 && frame["type"].is_string(), "{text}");
                self.owed.push(Owed::Drained(link, text.len()));
                if frame["id"].is_string() {
                    self.owed.push(Owed::Reply(link, frame));
                }
            }
            Command::LinkPing { link } => self.owed.push(Owed::Pong(link)),
            Command::LinkClose { link, .. } => self.owed.push(Owed::Down(link)),
            Command::Call { call, request, .. } => {
                self.fresh(call.0);
                self.owed.push(Owed::Called(call, request));
            }
            Command::Spawn { process, .. } => {
                self.fresh(process.0);
                self.processes.push(process);
                self.owed.push(Owed::Started(process));
            }
            Command::PtyWrite { process, op, bytes, .. } => {
                self.fresh(op.0);
                assert!(self.processes.contains(&process), "{process:?} was never spawned");
                self.owed.push(Owed::Written(process, op, bytes.len()));
                self.typed.push((process, bytes));
            }
            Command::PtyCheck { process, op } => {
                self.fresh(op.0);
                self.owed.push(Owed::State(process, op));
            }
            Command::PtyResize { rows, cols, .. } => assert!(rows > 0 && cols > 0),
            Command::PtySignal { process, .. } => self.owed.push(Owed::Exited(process)),
            Command::Store { store, action, .. } => {
                self.fresh(store.0);
                self.write(action);
                self.owed.push(Owed::Stored(store));
            }
            Command::ApiReply { request, .. } => {
                assert!(self.requests.remove(&request), "{request:?} was answered, and nobody asked");
            }
            Command::ApiStream { request, subscriber } => {
                self.fresh(subscriber.0);
                assert!(self.requests.remove(&request), "{request:?} became a stream, and nobody asked");
                self.streams.push(subscriber);
            }
            Command::StreamSend { subscriber, text } => {
                assert!(self.streams.contains(&subscriber), "{subscriber:?} is not there for {text}");
                self.owed.push(Owed::Streamed(subscriber, text.len()));
            }
            Command::StreamClose { subscriber, .. } => self.owed.push(Owed::StreamGone(subscriber)),
            Command::Log(line) => assert_eq!(mask(&line.message), line.message),
            Command::Exit { .. } => self.exit = true,
            Command::LinkPause { .. } | Command::PtyForget { .. } => {}
        }
    }

    fn write(&mut self, action: StoreAction) {
        match action {
            StoreAction::Append { lines } => self.journal += &lines,
            StoreAction::Replace { file: StoreFile::Journal, content } => {
                self.journal = content.expose().to_owned();
            }
            StoreAction::Replace { file: StoreFile::Identity, content } => {
                self.identity = Some(content.expose().to_owned());
            }
            StoreAction::Replace { file: StoreFile::NodeToken { stem }, content } => {
                self.tokens.insert(stem, content.expose().to_owned());
            }
            StoreAction::Remove { file: StoreFile::Identity } => self.identity = None,
            StoreAction::Remove { file: StoreFile::NodeToken { stem } } => {
                self.tokens.remove(&stem);
            }
            StoreAction::Remove { file: StoreFile::Journal } => self.journal.clear(),
        }
    }
}
