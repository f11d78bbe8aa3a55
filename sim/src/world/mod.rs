//! The world: one broker, one engine, agents, clients and faults, in virtual time.
//!
//! Owns: time, the order of events, the lives of the broker.
//! Must not know: what is right; that is the oracles' business.
//!
//! 1. One thread, one heap; time moves only from event to event. Links keep their order.
//! 2. Every command is carried out, and completed exactly once, with a delay that is drawn; only the
//!    death of the broker takes completions away.
//! 3. Ready inputs go before a due tick, as drivers do it.
//! 4. From [`Plan::calm_at`] on nothing fails, and the world must come to rest.

mod calls;
mod clients;
mod commands;
mod disk;
mod event;
mod faults;
mod marks;
mod neighbour;
mod network;
mod requests;
mod rest;
mod rivals;
mod stale;
mod subscribers;
mod tampering;
mod tape;
mod terminals;
mod trace;

pub(crate) use clients::SENDERS;
pub use event::Of;
pub use marks::FaultMark;
pub use tape::TapeSink;
pub use trace::Sink;

use crate::agents::Kind;
use crate::engine::{Engine, Options};
use crate::oracles::{At, Class, Failure, Oracles};
use crate::plan::{Plan, SECOND};
use crate::rng::{Rng, Stream};
use crate::story::Fact;
use clients::Clients;
use disk::Disk;
use event::{Completion, Event, Heap};
use faults::Faults;
use marks::FaultMarks;
use network::Network;
use relay_core::time::{Mono, Now, Wall};
use relay_core::{Access, Boot, Broker, Config, Mark, Secret, Step};
use requests::Requests;
use rivals::Rivals;
use stale::Stale;
use std::collections::BTreeMap;
use subscribers::Subscribers;
use tape::Tape;
use terminals::Terminals;
use trace::Trace;

/// The wall clock at the beginning, in Unix milliseconds.
const EPOCH_MS: i64 = 1_790_000_000_000;
/// The engine's address. Nobody resolves it.
const BASE_URL: &str = "http://engine.test";
/// The broker's instance name, with which the names of its own agent begin.
pub const INSTANCE: &str = "sim";
/// Ticks at one instant that are no coincidence any more.
const TICKS: u32 = 200;
/// Commands that one input may cause.
const COMMANDS: u32 = 20_000;
/// Events of one case, and how many more for each of its steps.
const EVENTS: u64 = 3_000_000;
const EVENTS_PER_STEP: u64 = 100;

/// What a case came to, when nothing was broken.
#[derive(Clone, Debug)]
pub struct Report {
    /// A hash of everything that happened.
    pub digest: u64,
    /// Events.
    pub events: u64,
    /// Virtual µs.
    pub time: u64,
    /// Lives of the broker.
    pub lives: u64,
    /// Messages taken whole, and rows stored for agents.
    pub taken: u64,
    /// Rows that the engine stored.
    pub rows: u64,
    /// How often the core took each of its rare branches, over all lives, and each fault struck.
    pub marks: BTreeMap<&'static str, u64>,
}

/// One broker process.
struct Life {
    number: u64,
    broker: Broker,
    wake: Option<Mono>,
    /// Commands until it dies, where that is planned.
    fuse: Option<u64>,
}

/// One simulated case.
pub struct World<'a> {
    plan: Plan,
    rng: Rng,
    now: u64,
    heap: Heap,
    engine: Engine,
    life: Option<Life>,
    lives: u64,
    /// How far the machine's clocks are ahead of virtual time: µs, ms.
    clocks: (u64, i64),
    api_key: String,
    disk: Disk,
    network: Network,
    terminals: Terminals,
    clients: Clients,
    requests: Requests,
    rivals: Rivals,
    subscribers: Subscribers,
    faults: Faults,
    stale: Stale,
    oracles: Oracles,
    trace: Trace<'a>,
    tape: Tape<'a>,
    /// Counters that key draws.
    draws: u64,
    events: u64,
    ticks: u32,
    marks: BTreeMap<&'static str, u64>,
    fault_marks: FaultMarks,
    /// Since when nothing is open any more, at the end.
    quiet_since: u64,
    done: Option<Result<(), Failure>>,
}

impl<'a> World<'a> {
    /// The world of a plan.
    pub fn new(plan: Plan, sink: Option<&'a mut Sink<'a>>) -> Self {
        let mut engine = Engine::new(Options {
            profile: plan.profile,
            seed: plan.seed,
            mailbox_depth: 1_000,
            ttl_ms: 24 * 3_600_000,
        });
        let (_, api_key) = engine.create_workspace(EPOCH_MS, "sim");
        let mut world = Self {
            rng: Rng::new(plan.seed),
            now: 0,
            heap: Heap::default(),
            engine,
            life: None,
            lives: 0,
            clocks: (0, 0),
            api_key,
            disk: Disk::default(),
            network: Network::new(&plan),
            terminals: Terminals::default(),
            clients: Clients::default(),
            requests: Requests::default(),
            rivals: Rivals::default(),
            subscribers: Subscribers::default(),
            faults: Faults::default(),
            stale: Stale::default(),
            oracles: Oracles::default(),
            trace: Trace::new(sink),
            tape: Tape::default(),
            draws: 0,
            events: 0,
            ticks: 0,
            marks: BTreeMap::new(),
            fault_marks: FaultMarks::default(),
            quiet_since: 0,
            done: None,
            plan,
        };
        world.enrol_senders();
        world.schedule_step(0);
        world.heap.put(0, Event::Restart);
        world.look_soon();
        world.heap.put(world.plan.calm_at, Event::Calm);
        world
    }

    /// The same, with the trace of every life of the broker going to `tape`.
    pub fn recorded(plan: Plan, sink: Option<&'a mut Sink<'a>>, tape: &'a mut TapeSink<'a>) -> Self {
        Self { tape: Tape::new(tape), ..Self::new(plan, sink) }
    }

    /// Runs the case to its end.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub fn run(&mut self) -> Result<Report, Failure> {
        while self.done.is_none() {
            self.step();
            if let Some(failure) = self.oracles.verdict() {
                self.done = Some(Err(failure.clone()));
            }
        }
        if let Some(Err(failure)) = self.done.take() {
            self.trace.tell(self.now, "FAILED", &failure.rule, &Fact::Failed(&failure));
            return Err(failure);
        }
        self.end_life();
        self.marks.extend(self.fault_marks.counts());
        let (taken, rows) = self.oracles.counts();
        Ok(Report {
            digest: self.trace.digest(),
            events: self.events,
            time: self.now,
            lives: self.lives,
            taken,
            rows,
            marks: std::mem::take(&mut self.marks),
        })
    }

    /// The case is over before its end, perhaps by a panic: what is recorded of it ends with these words.
    pub fn break_off(&mut self, why: &str) {
        self.tape.end(why);
    }

    /// A fault struck.
    fn mark(&mut self, mark: FaultMark) {
        self.fault_marks.hit(mark);
    }

    fn fail(&mut self, class: Class, rule: &'static str, message: String) {
        self.done.get_or_insert(Err(Failure { class, rule, message }));
    }

    /// The next thing that happens (invariant 3).
    fn step(&mut self) {
        self.events += 1;
        let most = EVENTS + EVENTS_PER_STEP * self.plan.steps.len() as u64;
        if self.events > most {
            let message = format!("{most} events and no end at {} s", self.now / SECOND);
            return self.fail(Class::Resource, "events", message);
        }
        let event = self.heap.next_at().unwrap_or(u64::MAX);
        let sweep = self
            .engine
            .next_deadline()
            .map_or(u64::MAX, |at| u64::try_from(at - EPOCH_MS).unwrap_or(0) * 1_000);
        let tick = self.tick_at().unwrap_or(u64::MAX);
        let at = event.min(sweep).min(tick).max(self.now);
        if at > self.now {
            self.ticks = 0;
        }
        self.now = at;
        if event <= at {
            if let Some(event) = self.heap.pop() {
                self.happen(event);
            }
        } else if sweep <= at {
            self.engine.tick(self.now_ms());
            self.pump_engine();
        } else {
            self.tick();
        }
    }

    fn tick_at(&self) -> Option<u64> {
        let wake = self.life.as_ref()?.wake?;
        Some(wake.0.saturating_sub(self.clocks.0))
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks > TICKS {
            let message = format!("{TICKS} ticks at one instant: timers that are due at once again");
            return self.fail(Class::Resource, "hot loop", message);
        }
        let now = self.reading();
        if let Some(life) = &mut self.life {
            self.tape.input(now, &relay_core::Input::Tick);
            let at = At { life: life.number, mono: now.mono.0, now: self.now };
            self.oracles.input(at, &relay_core::Input::Tick);
            life.broker.handle(now, relay_core::Input::Tick);
        }
        self.drain();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(life, completion) => self.feed(life, &completion),
            Event::Down(link, completion) => self.arrive(link, completion),
            Event::Ended(link, why) => self.on_ended(link, why),
            Event::Upgrade(link, path, token) => self.on_upgrade(link, &path, &token),
            Event::Up(connection, text) => {
                self.engine.text(self.now_ms(), connection, &text);
                self.pump_engine();
            }
            Event::UpClosed(connection) => {
                self.engine.closed(self.now_ms(), connection);
                self.pump_engine();
            }
            Event::Call(life, call, out) => self.on_call(life, call, &out),
            Event::Start(process) => self.on_start(process),
            Event::Cue(process, cue) => self.on_cue(process, cue),
            Event::Eof(process) => self.on_eof(process),
            Event::Unstall(process) => self.on_unstall(process),
            Event::WriteDeadline(process, op) => self.on_write_deadline(process, op),
            Event::Store(life) => self.on_store(life),
            Event::ApiDeadline(request) => self.oracles.overdue(request),
            Event::ApiLeave(request) => self.on_leave(request),
            Event::Drain => self.drain_streams(),
            Event::Step(number) => {
                self.schedule_step(number + 1);
                self.on_step(number);
            }
            Event::Supervise => self.supervise(),
            Event::Restart => self.begin_life(),
            Event::TerminateAgain(life) => self.terminate_again(life),
            Event::GiveToken => self.give_token(),
            Event::Rival(who) => self.act(who),
            Event::Elsewhere(connection, text) => self.on_elsewhere(connection, &text),
            Event::Release => {
                self.engine.release_held_back(self.now_ms());
                self.pump_engine();
            }
            Event::Calm => self.calm_down(),
            Event::Review => self.review(),
        }
    }

    /// Steps are in order: each waits for the one before it.
    fn schedule_step(&mut self, number: usize) {
        if let Some((at, _)) = self.plan.steps.get(number) {
            self.heap.put(*at, Event::Step(number));
        }
    }

    fn now_ms(&self) -> i64 {
        EPOCH_MS + (self.now / 1_000) as i64
    }

    /// What the machine's clocks show.
    fn reading(&self) -> Now {
        Now { mono: Mono(self.now + self.clocks.0), wall: Wall(self.now_ms() + self.clocks.1) }
    }

    /// What oracles are told of the time, in this life.
    fn at(&self, life: u64) -> At {
        At { life, mono: self.reading().mono.0, now: self.now }
    }

    /// When the machine's clock shows this.
    fn virtual_time(&self, at: Mono) -> u64 {
        at.0.saturating_sub(self.clocks.0).max(self.now)
    }

    /// The next key for a draw.
    fn key(&mut self) -> u64 {
        self.draws += 1;
        self.draws
    }

    /// A delay of the operating system.
    fn system_delay(&mut self) -> u64 {
        let key = self.key();
        self.rng.skewed(Stream::System, key, 1, self.plan.system)
    }

    // The broker.

    fn begin_life(&mut self) {
        let Some(machine_seed) = self.machine_seed() else {
            return self.heap.put(self.now + SECOND, Event::Restart);
        };
        self.lives += 1;
        let number = self.lives;
        self.trace.tell(self.now, "broker", &number, &Fact::Begins(number));
        let seed = std::array::from_fn(|at| self.rng.word(Stream::Boot, number * 100 + at as u64) as u8);
        let boot = Boot {
            now: self.reading(),
            seed,
            machine_seed,
            cwd: "/home/sim".into(),
            pid: 100 + number as u32,
            identity: self.disk.identity.clone(),
            tokens: self.cached_tokens(),
            journal: self.disk.journal(),
        };
        let config = self.config();
        self.tape.begin(number, &config, &boot);
        let broker = Broker::new(config, boot);
        self.life = Some(Life { number, broker, wake: None, fuse: None });
        self.drain();
        self.subscribe(0);
    }

    fn config(&self) -> Config {
        let placeable = Kind::ALL.into_iter().filter(|kind| kind.is_placeable());
        Config {
            instance: INSTANCE.into(),
            node_name: None,
            base_url: BASE_URL.into(),
            access: Access::Key(Secret::new(&self.api_key).expect("the engine made a key")),
            node_id: self.faults.given.as_ref().map(|(node, _)| node.clone()),
            node_token: self.faults.given.as_ref().and_then(|(_, token)| Secret::new(token)),
            agent_type: "human".into(),
            harnesses: placeable.map(|kind| kind.command().to_owned()).collect(),
            max_agents: 0,
            channels: vec!["general".into()],
            version: "0.0.0-sim".into(),
            persist: true,
        }
    }

    /// The broker is gone: died, or left. Its children lose their terminal.
    fn end_life(&mut self) {
        let Some(life) = self.life.take() else { return };
        self.tape.end("the end of this life");
        self.trace.tell(self.now, "broker", &life.number, &Fact::Ends(life.number));
        for mark in Mark::ALL {
            *self.marks.entry(mark.name()).or_default() += u64::from(life.broker.marks().hits(*mark));
        }
        let at = self.at(life.number);
        self.oracles.died(at);
        self.clients.died();
        self.subscribers.died();
        self.drop_links(life.number);
        self.hang_up(life.number);
        self.look_soon();
    }

    fn end_and_restart(&mut self) {
        self.end_life();
        let key = self.key();
        let after = self.rng.skewed(Stream::Fault, key, SECOND / 100, 20 * SECOND);
        self.heap.put(self.now + after, Event::Restart);
    }

    /// Hands an input to the broker, if that life is still there, and carries out what it wants.
    fn feed(&mut self, life: u64, completion: &Completion) {
        let now = self.reading();
        let Some(current) = self.life.as_mut().filter(|current| current.number == life) else {
            return;
        };
        let input = completion.input();
        self.trace.tell(self.now, ">", completion, &Fact::Input(&input));
        self.tape.input(now, &input);
        self.oracles.input(At { life, mono: now.mono.0, now: self.now }, &input);
        current.broker.handle(now, input);
        self.drain();
        if let Some(Life { broker, .. }) = &self.life {
            self.oracles.remembers(broker.stats().remembered);
            self.oracles.holds(&broker.held(), self.plan.agents.len());
        }
        self.repeat_a_completion(completion);
    }

    fn drain(&mut self) {
        let mut commands = 0;
        while let Some(life) = &mut self.life {
            match life.broker.poll() {
                Step::Do(command) => {
                    commands += 1;
                    self.tape.command(&command);
                    self.execute(command);
                }
                Step::Wait(wake) => {
                    life.wake = wake.at;
                    self.tape.settled(&life.broker);
                    break;
                }
            }
            if commands > COMMANDS {
                let message = format!("one input caused more than {COMMANDS} commands");
                return self.fail(Class::Resource, "commands", message);
            }
            if self.burn_fuse() {
                self.trace.event(self.now, "FAULT", &"the broker dies");
                self.mark(FaultMark::Crash);
                self.crash_disk();
                self.end_and_restart();
            }
        }
    }

    /// Whether the broker dies after this command.
    fn burn_fuse(&mut self) -> bool {
        let fuse = self.life.as_mut().and_then(|life| life.fuse.as_mut());
        fuse.is_some_and(|left| {
            let over = *left == 0;
            *left = left.saturating_sub(1);
            over
        })
    }
}
