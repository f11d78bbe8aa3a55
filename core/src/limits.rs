//! Limits: every bound of the core, with unit and reason.
//!
//! Owns: the constants. Must not know: anything.
//!
//! 1. Everything that a peer, a client or an agent can make grow is bounded by a constant from here.
//! 2. Public is what a driver has to keep or a judge of brokers has to know; the rest may change unseen.
//! 3. Bounds that depend on each other are checked at compile time at the end of this file.

use crate::time::Span;

/// Heartbeat period. The engine calls a node dead after 45 s without one (`core/PROTOCOL.md` §2).
pub(crate) const HEARTBEAT: Span = Span::secs(12);
/// How long the engine keeps a silent node alive.
pub(crate) const NODE_TTL: Span = Span::secs(45);
/// TCP, TLS and upgrade together.
pub(crate) const CONNECT: Span = Span::secs(10);
/// From `node.register` to its reply.
pub(crate) const REGISTER_REPLY: Span = Span::secs(10);
/// Without any frame or pong for this long the link is dead.
pub(crate) const LINK_SILENCE: Span = Span::secs(48);
/// Without a correlated answer for this long the engine behind the link is dead; pongs do not count.
pub const ANSWER_SILENCE: Span = Span::secs(130);
/// Inventory refresh, which is also the liveness probe.
pub const INVENTORY_REFRESH: Span = Span::secs(60);
/// The first inventory of a link waits so long for invocations that the engine has queued, which it would
/// reschedule: they follow the reply to `node.register` on the same socket, behind one query of the engine.
pub(crate) const INVENTORY_OPENING: Span = Span::millis(200);
/// The longest that an inventory waits for one open invocation, which it would reschedule.
pub const INVENTORY_PATIENCE: Span = Span::secs(25);
/// The longest that the first inventory of a link, or a refresh, waits for invocations that overlap: a
/// refresh is sent well within [`ANSWER_SILENCE`].
pub const INVENTORY_DELAY: Span = Span(2 * INVENTORY_PATIENCE.0);
/// So long at most a row of an engine that states no cursor waits until it comes again, and so far apart it is
/// asked for: the next refresh, put off by whatever is under way, is answered by then.
pub(crate) const REPEAT_WAIT: Span = Span(INVENTORY_REFRESH.0 + INVENTORY_DELAY.0);
/// First reconnect or mint delay; jitter takes it down to anything above zero.
pub const BACKOFF_FIRST: Span = Span::secs(1);
/// Longest reconnect or mint delay.
pub const BACKOFF_MAX: Span = Span::secs(30);
/// A registration confirmed for this long makes delays start small again.
pub const LINK_SETTLED: Span = Span::secs(60);
/// Re-mints per outage, the first mint not counted.
pub const REMINTS: u32 = 5;
/// A token this young gets one more try after a 401: replicas lag.
pub(crate) const TOKEN_YOUNG: Span = Span::secs(10);
/// Past the budget: one connection attempt per this period.
pub const DISABLED_PROBE: Span = Span::secs(60);
/// Past the budget: one extra mint per this period.
pub const DISABLED_MINT: Span = Span::secs(600);
/// A clock jump beyond this re-arms the liveness deadlines once, with a probe, and is not counted as
/// patience with programs, clients and rows.
pub const CLOCK_JUMP: Span = Span::secs(5);

/// An engine call for identity or token.
pub const CALL: Span = Span::secs(10);
/// Bytes of an engine's HTTP answer that are read.
pub const CALL_BODY: usize = 256 * 1024;
/// Text handed to a link and not yet drained, in bytes.
pub const LINK_CREDIT: usize = 1024 * 1024;
/// Text handed to an event stream and not yet drained, in bytes.
pub const STREAM_CREDIT: usize = 1024 * 1024;
/// Bytes handed to one terminal and not yet written.
pub const PTY_CREDIT: usize = 64 * 1024;
/// Bytes of one write to a terminal: as much as it takes at once, so that evidence comes early.
pub const PTY_WRITE: usize = 4 * 1024;

/// Rows by which one ack goes on at most. Engines end the rows of an ack in one statement with a parameter for each,
/// and some databases take 100 of them: so few that three acks may be handled in the wrong order.
pub(crate) const ACK_STEP: usize = 25;

/// Rows above the cursor that are held per identity. The engine's mailbox depth is 1 000 unless it is
/// raised; what does not fit is asked for again, so this only has to be rare. Memory is bounded in bytes.
pub(crate) const WINDOW_ROWS: usize = 16_384;
/// Payload bytes held per identity. What never comes again, events and what is at or below the cursor, may take twice
/// as much.
pub(crate) const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// Payload bytes held in all; beyond it the socket is not read.
pub(crate) const WINDOWS_BYTES: usize = 128 * 1024 * 1024;
/// Delivery ids remembered per identity.
pub const REMEMBERED: usize = 1_024;
/// Identities that left during one link whose windows are known if they come back: 40 KiB each at most, twice that where
/// much was unread, and four times where an engine gives numbers to more than one message.
pub(crate) const LEFT: usize = 64;
/// How long rows behind a gap, or above a provisional base, wait for the missing ones.
pub const GAP_WAIT: Span = Span::secs(2);
/// … in all, where answers, behind each of which they may come, begin that anew: the rows of a full mailbox come in less.
pub(crate) const HELD_MAX: Span = Span::secs(10);
/// At most one request for a replay per this period, doubling …
pub(crate) const REPLAY_FIRST: Span = Span::secs(60);
/// … to this.
pub(crate) const REPLAY_MAX: Span = Span::secs(600);
/// Proofs of absence that make a missing sequence a hole.
pub(crate) const HOLE_PROOFS: u8 = 2;
/// So long what comes again proves nothing of a row that came, and is not here: engines may send replays side by side,
/// and each that brought the row goes on. They take seconds.
pub(crate) const REPLAY_REST: Span = Span::secs(30);
/// Typed attempts before a row is a dead letter.
pub const ATTEMPTS: u8 = 3;
/// An agent that lives but does not take a message for this long gets it as dead letter.
pub const UNVERIFIED: Span = Span::secs(30 * 60);
/// Dead letters kept; the oldest goes first.
pub(crate) const DEAD_LETTERS: usize = 500;
/// Frames held for an agent whose registration is pending, per agent name.
pub(crate) const EARLY_FRAMES: usize = 64;

/// From `agent.register`, or `agent.recover`, to its reply; with all tries while the engine is in trouble.
pub const AGENT_REGISTER: Span = Span::secs(10);
/// How long the first of these tries waits; each further one twice as long (`core/PROTOCOL.md` §4).
pub const AGENT_RETRY_FIRST: Span = Span::millis(500);
/// How long a spawn waits for a registered link before it fails.
pub(crate) const AGENT_LINK: Span = Span::secs(10);
/// Asking the engine whose an agent's name is.
pub(crate) const AGENT_LOOK_UP: Span = Span::secs(4);
/// A child that lives this long has started.
pub const AGENT_PROOF: Span = Span::millis(250);
/// Start of a process by the driver.
pub(crate) const AGENT_START: Span = Span::secs(4);
/// From SIGTERM to SIGKILL of a released child.
pub(crate) const AGENT_GRACE: Span = Span::millis(1_500);
/// The whole answer of an API spawn.
pub const SPAWN_ANSWER: Span = Span::secs(25);
/// Agents on one broker. A terminal each, and the engine lists them all in one frame.
pub const AGENTS: usize = 4_096;
/// Default terminal lines.
pub const ROWS: u16 = 24;
/// Default terminal columns.
pub const COLS: u16 = 80;
/// Most lines, or columns, of a terminal: every cell of the screen is kept in memory.
pub(crate) const TERMINAL_SIDE: u16 = 1_000;
/// Longest agent name, in bytes.
pub(crate) const NAME: usize = 128;

/// Invocations remembered.
pub(crate) const INVOCATIONS: usize = 4_096;
/// Lines appended to the journal before it is written anew with only what still counts.
pub(crate) const JOURNAL_APPENDS: usize = 16_384;
/// Agent names whose identity is remembered: not fewer than live here, [`AGENTS`].
pub(crate) const KNOWN_AGENTS: usize = 4_096;
/// How long an invocation is remembered.
pub(crate) const INVOCATION_AGE_MS: i64 = 24 * 60 * 60 * 1_000;

/// The lease of an owner on a broker without lasting state.
pub(crate) const LEASE: Span = Span::secs(120);
/// Registering an agent over HTTP, and binding it: one call each.
pub(crate) const REGISTER_OVER_HTTP: Span = Span::secs(4);
/// After its child's death a terminal may still hold output for this long; a grandchild for ever.
pub(crate) const TERMINAL_DRAIN: Span = Span::millis(250);
/// An identity, a token or a record that could not be written is written again after this.
pub const REWRITE: Span = Span::secs(30);
/// A channel that could not be made or joined is tried again after this.
pub const JOIN_RETRY: Span = Span::secs(15);
/// So often an agent asks for a channel that is not there, or shows a token that is not known: both may come.
pub const JOIN_TRIES: u8 = 4;

/// Body of a local API request, in bytes.
pub const API_BODY: usize = 1024 * 1024;
/// A publish through the local API.
pub const PUBLISH: Span = Span::secs(20);
/// Events kept for replay to late subscribers.
pub(crate) const EVENT_RING: usize = 1_000;
/// Bytes of these events: most are small, but a message's event carries its text.
pub(crate) const EVENT_RING_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of one event as JSON; beyond it only its kind and size are told.
pub(crate) const EVENT_BYTES: usize = 256 * 1024;
/// Local API requests in work at once.
pub const API_REQUESTS: usize = 1_024;
/// Event streams at once.
pub(crate) const STREAMS: usize = 64;

/// The whole shutdown.
pub(crate) const SHUTDOWN: Span = Span::secs(4);
/// Shutdown: injections whose write began may end.
pub(crate) const SHUTDOWN_INJECTIONS: Span = Span::secs(1);
/// Shutdown: the close handshake.
pub(crate) const SHUTDOWN_CLOSE: Span = Span::secs(1);
/// A store operation.
pub const STORE: Span = Span::secs(10);

const _: () = {
    assert!(HEARTBEAT.0 * 3 < NODE_TTL.0, "two lost heartbeats must not make the node offline");
    assert!(HEARTBEAT.0 * 4 <= LINK_SILENCE.0, "four pongs must be missing before a link is dead");
    assert!(INVENTORY_REFRESH.0 * 2 < ANSWER_SILENCE.0, "two probes fit before the verdict");
    assert!(AGENT_LINK.0 + AGENT_REGISTER.0 + AGENT_START.0 + AGENT_PROOF.0 < SPAWN_ANSWER.0);
    assert!(SHUTDOWN_INJECTIONS.0 + SHUTDOWN_CLOSE.0 + AGENT_GRACE.0 < SHUTDOWN.0);
    assert!(PTY_WRITE <= PTY_CREDIT);
    assert!(AGENTS <= KNOWN_AGENTS, "who lives here is remembered");
    assert!(
        EVENT_BYTES < EVENT_RING_BYTES && EVENT_BYTES < STREAM_CREDIT,
        "an event with its number fits the ring and a stream"
    );
};
