//! The link: from nothing to a confirmed registration, and back again after every loss.
//!
//! Owns: own identity, node token, dialect, backoff, and the one connection.
//! Must not know: deliveries, agents, what the frames of other areas say.
//!
//! 1. At most one connection is wanted at a time; inputs for any other link id change nothing here. One
//!    that was given up is known until it ends or another is confirmed: it may still bring what the engine
//!    sends only once.
//! 2. Nothing is sent on a connection before `node.register`, and nothing else before its reply.
//! 3. Every wait has a deadline or a timer: there is no state in which nothing will happen any more,
//!    except after [`Link::stop`].
//! 4. The 401 budget and the backoff come back only with good connections, never with mere attempts.
//!
//! The rules are those of `core/PROTOCOL.md` §2 and §4.

pub(crate) mod answer;
mod backoff;
mod credentials;
pub(crate) mod identity;
mod registering;
mod session;
mod token;

use crate::command::{Command, Level};
use crate::config::{Boot, Config};
use crate::cx::Cx;
use crate::edge;
use crate::ids::{FrameId, LinkId, NodeId, ProcessId, WorkspaceId};
use crate::input::Refusal;
use crate::limits;
use crate::marks::Mark;
use crate::secret::{Secret, mask};
use crate::time::Mono;
use crate::timers::Timer;
use crate::wire::{self, Dialect};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use answer::Refused;
use backoff::Backoff;
use identity::{Identity, Membership};
pub(crate) use session::{Answered, Request, Sent, Session};
use token::Tokens;

/// The provider name under which agents are routed to this broker.
const PROVIDER: &str = "broker";
/// How long a link that is given up may take to say goodbye.
const GOODBYE: crate::time::Span = crate::time::Span::secs(1);

#[derive(Debug)]
enum Phase {
    /// A timer, or nothing, is awaited.
    Idle,
    /// A call about identity or token is under way.
    Calling,
    /// The socket is being opened.
    Opening(LinkId),
    /// The socket is open and `node.register` is not confirmed.
    Registering(Session),
    /// Registered.
    Up(Session),
    /// The goodbye is under way.
    Closing(LinkId),
    /// Nothing more will be tried.
    Stopped,
}

#[derive(Debug)]
pub(crate) struct Link {
    config: Config,
    cache: Vec<Secret>,
    machine_seed: String,
    cwd: String,
    identity: Identity,
    tokens: Option<Tokens>,
    dialect: Dialect,
    backoff: Backoff,
    phase: Phase,
    /// Given up, and not ended yet. From the next confirmation on agents may be others under old names.
    given_up: BTreeSet<LinkId>,
    /// Why there is no registration, for people; empty while all goes well.
    reason: String,
    disabled: bool,
    confirmed_once: bool,
    active_agents: u32,
}

/// What an input to the link means for others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// Nothing.
    Nothing,
    /// Registration is confirmed: the opening sequence may follow.
    Confirmed,
    /// The registered connection is gone.
    Lost,
    /// The goodbye is over.
    Closed,
    /// The operator has to act; the process is of no use.
    Fatal(String),
}

/// Which request an answer belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// None that is known.
    Nobody,
    /// The link's own registration; the event says the rest.
    Link(LinkEvent),
    /// A request of another area.
    Request(Request, Answered),
}

impl Link {
    /// A link that begins at once.
    pub(crate) fn new(cx: &mut Cx, config: &Config, boot: &Boot) -> Self {
        let mut link = Self {
            identity: Identity::new(cx, config, boot.identity.as_deref()),
            config: config.clone(),
            cache: boot.tokens.iter().filter_map(|text| Secret::new(text)).collect(),
            machine_seed: boot.machine_seed.clone(),
            cwd: boot.cwd.clone(),
            tokens: None,
            dialect: Dialect::Provider,
            backoff: Backoff::new(),
            phase: Phase::Idle,
            given_up: BTreeSet::new(),
            reason: "starting".to_string(),
            disabled: false,
            confirmed_once: false,
            active_agents: 0,
        };
        link.advance(cx);
        link
    }

    // What others may ask.

    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// Whether a socket is open, registered or not.
    pub(crate) const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Registering(_) | Phase::Up(_))
    }

    pub(crate) const fn was_up(&self) -> bool {
        self.confirmed_once
    }

    pub(crate) const fn is_disabled(&self) -> bool {
        self.disabled
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) const fn membership(&self) -> Option<&Membership> {
        self.identity.membership()
    }

    pub(crate) const fn key(&self) -> Option<&Secret> {
        self.identity.key()
    }

    pub(crate) fn node_id(&self) -> Option<&NodeId> {
        self.tokens.as_ref().map(Tokens::node_id)
    }

    pub(crate) fn node_name(&self) -> Option<&str> {
        self.tokens.as_ref().map(Tokens::name)
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.config.base_url
    }

    pub(crate) fn workspace(&self) -> Option<&WorkspaceId> {
        self.membership().map(|membership| &membership.workspace)
    }

    /// The current connection, registered or not.
    const fn session(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Registering(session) | Phase::Up(session) => Some(session),
            _ => None,
        }
    }

    /// The registered connection.
    pub(crate) const fn up(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Up(session) => Some(session),
            _ => None,
        }
    }

    pub(crate) fn has_credit(&self) -> bool {
        matches!(&self.phase, Phase::Up(session) if session.has_credit())
    }

    /// The engine answered within the limit.
    pub(crate) fn is_answering(&self, now: Mono) -> bool {
        matches!(&self.phase, Phase::Up(session) if session.dead_at() > now)
    }

    pub(crate) fn is_current(&mut self, link: LinkId) -> bool {
        match &self.phase {
            Phase::Opening(current) | Phase::Closing(current) => *current == link,
            _ => self.session().is_some_and(|session| session.link == link),
        }
    }

    /// Whether a link was given up, and neither has ended nor another one been confirmed.
    pub(crate) fn is_given_up(&self, link: LinkId) -> bool {
        self.given_up.contains(&link)
    }

    // What others may do.

    /// Sends a frame on the registered connection, if there is one.
    pub(crate) fn send(&mut self, cx: &mut Cx, text: String) -> Option<Sent> {
        self.up().map(|session| session.send(cx, text))
    }

    /// Sends a request; `build` gets the id to put into it.
    pub(crate) fn request(
        &mut self,
        cx: &mut Cx,
        request: Request,
        build: impl FnOnce(&FrameId) -> String,
    ) -> Option<Sent> {
        let session = self.up()?;
        let id = session.request(cx, request);
        Some(session.send(cx, build(&id)))
    }

    /// Takes the pending registration of `process`, for a reply that does not carry our id.
    pub(crate) fn take_agent_request(&mut self, process: ProcessId) -> bool {
        self.up().is_some_and(|session| session.take_agent(process))
    }

    /// How many agents run here; a change is told to the engine soon.
    pub(crate) fn set_active_agents(&mut self, cx: &mut Cx, active: u32) {
        if self.active_agents != active {
            self.active_agents = active;
            if self.is_up() {
                cx.timers.set_earlier(Timer::Heartbeat, cx.now.mono.after(crate::time::Span::secs(1)));
            }
        }
    }

    /// Sends a heartbeat and a ping, and arms the next.
    pub(crate) fn heartbeat(&mut self, cx: &mut Cx) {
        let node = self.node();
        let (active, dialect) = (self.active_agents, self.dialect);
        let Some(session) = self.up() else { return };
        session.send(cx, node.heartbeat(active, true, dialect));
        cx.push(Command::LinkPing { link: session.link });
        cx.wake_in(Timer::Heartbeat, limits::HEARTBEAT);
    }

    /// Gives the connection up and opens a new one soon.
    pub(crate) fn reconnect(&mut self, cx: &mut Cx, why: &'static str) -> LinkEvent {
        let Some(session) = self.session() else {
            return LinkEvent::Nothing;
        };
        let link = session.link;
        let deadline = cx.now.mono.after(GOODBYE);
        cx.push(Command::LinkClose { link, code: 1000, reason: why, deadline });
        self.given_up.insert(link);
        cx.log(Level::Warn, "link", &format!("giving the connection up: {why}"));
        self.lose(cx, why)
    }

    /// Says goodbye: the frames given, then a close. [`LinkEvent::Closed`] follows unless there is no link.
    pub(crate) fn stop(&mut self, cx: &mut Cx) -> LinkEvent {
        let timers = [
            Timer::LinkRetry,
            Timer::LinkDeadline,
            Timer::Heartbeat,
            Timer::Liveness,
            Timer::LinkSettled,
            Timer::DisabledProbe,
        ];
        for timer in &timers {
            cx.timers.clear(timer);
        }
        let goodbye = (self.is_up() && !canary!(NoGoodbye)).then(|| self.node().deregister(self.dialect));
        let link = match &mut self.phase {
            Phase::Opening(link) => *link,
            Phase::Registering(session) | Phase::Up(session) => {
                if let Some(goodbye) = goodbye {
                    session.send(cx, goodbye);
                }
                session.link
            }
            _ => {
                self.phase = Phase::Stopped;
                return LinkEvent::Closed;
            }
        };
        let deadline = cx.now.mono.after(limits::SHUTDOWN_CLOSE);
        cx.push(Command::LinkClose { link, code: 1000, reason: "shutting down", deadline });
        self.phase = Phase::Closing(link);
        LinkEvent::Nothing
    }

    // Inputs.

    /// Takes the next step towards a registration.
    fn advance(&mut self, cx: &mut Cx) {
        if !matches!(self.phase, Phase::Idle) {
            return;
        }
        if self.identity.membership().is_none() {
            self.identity.call(cx);
            self.phase = Phase::Calling;
            return;
        }
        let tokens = self.tokens();
        let Some(token) = tokens.current().cloned() else {
            if tokens.can_mint() {
                tokens.mint(cx);
                self.phase = Phase::Calling;
            } else {
                self.disable(cx, "the node token was refused and there is no workspace key to mint another");
            }
            return;
        };
        let link = LinkId(cx.counters.next());
        let limit = if canary!(ConnectUnlimited) { crate::time::Span::secs(86_400) } else { limits::CONNECT };
        let deadline = cx.now.mono.after(limit);
        let url = edge::node_ws_url(&self.config.base_url);
        cx.push(Command::LinkOpen { link, url, token, deadline });
        self.phase = Phase::Opening(link);
    }

    fn later(&mut self, cx: &mut Cx, what: &str, refused: &Refused) {
        if self.disabled {
            cx.wake_in(Timer::DisabledProbe, limits::DISABLED_PROBE);
            return;
        }
        let wait = self.backoff.next(&cx.rng);
        self.reason = format!("{what} failed: {refused}");
        cx.log(Level::Warn, "link", &format!("{}; again in {} ms", self.reason, wait.as_millis()));
        cx.wake_in(Timer::LinkRetry, wait);
    }

    /// Gives up for now: one attempt per [`limits::DISABLED_PROBE`].
    fn disable(&mut self, cx: &mut Cx, why: &str) {
        if !self.disabled || self.reason != why {
            cx.log(Level::Error, "link", &format!("delivery_disabled: {why}"));
        }
        self.disabled = true;
        self.reason = why.to_string();
        self.phase = Phase::Idle;
        cx.wake_in(Timer::DisabledProbe, limits::DISABLED_PROBE);
    }

    /// [`Timer::LinkRetry`] or [`Timer::DisabledProbe`].
    pub(crate) fn on_retry(&mut self, cx: &mut Cx) {
        match self.phase {
            Phase::Registering(_) => self.register(cx),
            _ => self.advance(cx),
        }
    }

    pub(crate) fn on_up(&mut self, cx: &mut Cx, link: LinkId) {
        let Phase::Opening(current) = self.phase else {
            return;
        };
        if current != link {
            return;
        }
        self.phase = Phase::Registering(Session::new(cx, link, self.dialect));
        self.register(cx);
    }

    pub(crate) fn on_refused(&mut self, cx: &mut Cx, link: LinkId, why: Refusal<'_>) -> LinkEvent {
        match self.phase {
            Phase::Opening(current) if current == link => self.phase = Phase::Idle,
            Phase::Closing(current) if current == link => {
                self.phase = Phase::Stopped;
                return LinkEvent::Closed;
            }
            _ => return LinkEvent::Nothing,
        }
        match why {
            Refusal::Status(401) => self.on_unauthorized(cx, "the engine answers 401 to the node token"),
            Refusal::Status(status) => {
                let message = "the upgrade was refused".to_string();
                let refused = Refused { status: Some(status), code: format!("http_{status}"), message };
                self.later(cx, "connecting to the engine", &refused);
            }
            Refusal::Fault(fault) => self.later(cx, "connecting to the engine", &Refused::by_fault(&fault)),
        }
        LinkEvent::Nothing
    }

    /// Something arrived; what it says is handled by others.
    pub(crate) fn on_frame(&mut self, cx: &Cx) {
        if let Some(session) = self.session() {
            session.last_frame = cx.now.mono;
        }
    }

    pub(crate) fn on_drained(&mut self, link: LinkId, bytes: usize) {
        if let Some(session) = self.session().filter(|session| session.link == link) {
            session.drained(bytes);
        }
    }

    /// The connection ended by itself.
    pub(crate) fn on_down(&mut self, cx: &mut Cx, link: LinkId, why: &str) -> LinkEvent {
        self.given_up.remove(&link);
        if let Phase::Closing(current) = self.phase
            && current == link
        {
            self.phase = Phase::Stopped;
            return LinkEvent::Closed;
        }
        if self.session().is_none_or(|session| session.link != link && !canary!(StaleCompletion)) {
            return LinkEvent::Nothing;
        }
        let why = mask(why);
        cx.log(Level::Warn, "link", &format!("the connection to the engine ended: {why}"));
        self.lose(cx, &why)
    }

    fn lose(&mut self, cx: &mut Cx, why: &str) -> LinkEvent {
        let was_up = self.is_up();
        self.phase = Phase::Idle;
        self.reason = format!("the connection ended: {why}");
        for timer in [Timer::LinkDeadline, Timer::Heartbeat, Timer::Liveness, Timer::LinkSettled] {
            cx.timers.clear(&timer);
        }
        let wait = self.backoff.next(&cx.rng);
        cx.wake_in(Timer::LinkRetry, wait);
        if was_up { LinkEvent::Lost } else { LinkEvent::Nothing }
    }

    /// [`Timer::LinkDeadline`]: no reply to the registration.
    pub(crate) fn on_deadline(&mut self, cx: &mut Cx) -> LinkEvent {
        self.reconnect(cx, "no reply to node.register")
    }

    /// [`Timer::Liveness`]. A link that we do not read from cannot prove that it lives.
    pub(crate) fn on_liveness(&mut self, cx: &mut Cx, paused: bool) -> LinkEvent {
        let now = cx.now.mono;
        if let Some(session) = self.up().filter(|_| paused) {
            (session.last_frame, session.last_answer) = (now, now);
        }
        let Some(session) = self.up() else {
            return LinkEvent::Nothing;
        };
        let dead_at = session.dead_at();
        if now < dead_at {
            cx.timers.set(Timer::Liveness, dead_at);
            return LinkEvent::Nothing;
        }
        if now >= session.last_frame.after(limits::LINK_SILENCE) {
            cx.marks.hit(Mark::LinkSilent);
            return self.reconnect(cx, "nothing arrived for too long");
        }
        cx.marks.hit(Mark::AnswersSilent);
        self.reconnect(cx, "the engine answers no request any more")
    }

    /// The clock jumped: what was sent before may still be answered.
    pub(crate) fn on_jump(&mut self, cx: &mut Cx) {
        let now = cx.now.mono;
        let Some(session) = self.up() else { return };
        (session.last_frame, session.last_answer) = (now, now);
        cx.marks.hit(Mark::ClockJump);
        self.heartbeat(cx);
    }

    /// [`Timer::LinkSettled`].
    pub(crate) fn on_settled(&mut self) {
        if !canary!(BackoffNeverReset) {
            self.backoff.reset();
        }
    }

    /// The frame that acks everything of an agent up to `seq`.
    pub(crate) fn ack(&mut self, cx: &mut Cx, agent: &crate::ids::AgentName, seq: u64) -> Option<Sent> {
        cx.stats.acks += 1;
        self.send(cx, wire::delivery_ack(agent, seq))
    }
}
