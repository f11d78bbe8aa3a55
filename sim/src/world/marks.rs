//! Marks of faults: proof that a fault really struck.
//!
//! Owns: the list of what faults can do to a broker, and how often each was done.
//! Must not know: plans; a fault that was planned and met nothing leaves no mark.
//!
//! 1. A mark stands where the broker is made to feel the fault, once per occurrence.

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Something that a fault did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultMark { $($(#[$doc])* $name),* }

        impl FaultMark {
            /// All marks.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name of the mark.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => concat!("fault.", $text)),* }
            }
        }
    };
}

marks! {
    /// A crash lost changes of files that were under way.
    LostTail = "lost_tail",
    /// A crash, or a full disk, left the beginning of what was appended.
    TornTail = "torn_tail",
    /// A crash kept a change of a file that the broker was never told of.
    UntoldChange = "untold_change",
    /// A change of a file failed.
    NoSpace = "no_space",
    /// A change of a file came after the broker had given it up.
    SlowDisk = "slow_disk",
    /// Output came byte by byte.
    ByteWise = "byte_wise",
    /// A write was over before the terminal had taken all of it.
    PartialWrite = "partial_write",
    /// A write was over before the terminal had taken any of it.
    StalledWrite = "stalled_write",
    /// A process ended and its terminal did not.
    KeptTerminal = "kept_terminal",
    /// A process could not be started.
    SpawnFailed = "spawn_failed",
    /// A process ended before it had proven itself.
    ShortLived = "short_lived",
    /// A busy program let a message wait.
    Busy = "busy",
    /// A program switched bracketed paste at run time.
    PasteSwitched = "paste_switched",
    /// The local API had too many requests.
    TooManyRequests = "too_many_requests",
    /// The local API had too many readers of events.
    TooManyStreams = "too_many_streams",
    /// A client did not wait for its answer.
    ClientLeft = "client_left",
    /// A request was not as the API wants it.
    OddRequest = "odd_request",
    /// A reader of events was slow.
    SlowReader = "slow_reader",
    /// A reader of events was so slow that its stream was full.
    StreamFull = "stream_full",
    /// A reader of events was told that it missed some.
    EventGap = "event_gap",
    /// A reader of events left.
    ReaderLeft = "reader_left",
    /// An event outside of the sequence came twice.
    EventRepeated = "event_repeated",
    /// A reply did not say to what.
    ReplyNameless = "reply_nameless",
    /// A frame was spelled oddly, behind one without sense.
    FrameOdd = "frame_odd",
    /// A binary message and a giant one came.
    Noise = "noise",
    /// A frame went to an engine that answered nothing but pings.
    HalfDead = "half_dead",
    /// The machine's seed could not be read at a start.
    SeedUnreadable = "seed_unreadable",
    /// What the engine sent came late.
    HeldDown = "held_down",
    /// The engine refused a request although nothing was wrong with it.
    Overloaded = "overloaded",
    /// A live frame left before a replay that was due.
    ReplayOvertaken = "replay_overtaken",
    /// A row of a replay left, and others behind it were left for later.
    ReplayInPieces = "replay_in_pieces",
    /// An inventory was answered in the middle of a replay.
    AnsweredInReplay = "answered_in_replay",
    /// The engine was started again while a link was open.
    EngineRestarted = "engine_restarted",
    /// An agent that ran was bound to another node.
    TakenOver = "taken_over",
    /// The identity of an agent that ran was deleted.
    IdentityDeleted = "identity_deleted",
    /// An agent that ran is not wanted any more.
    Retired = "retired",
    /// An agent that was ordered lives on another node.
    PlacedElsewhere = "placed_elsewhere",
    /// Another instance served the broker's node.
    Doubled = "doubled",
    /// An open link broke.
    LinkCut = "link_cut",
    /// A frame went into a link through which nothing passed.
    FrameSwallowed = "frame_swallowed",
    /// A connection was refused.
    ConnectionRefused = "connection_refused",
    /// An upgrade was answered with 401 although nothing was wrong with the token.
    UpgradeUnauthorized = "upgrade_unauthorized",
    /// An upgrade was answered with 429, or with a failure of the engine.
    UpgradeUnavailable = "upgrade_unavailable",
    /// An upgrade took seconds.
    HandshakeSlow = "handshake_slow",
    /// A frame reached the engine late.
    HeldUp = "held_up",
    /// Everything open of an agent was sent again.
    Replayed = "replayed",
    /// A row expired that was not acked.
    RowExpired = "row_expired",
    /// The engine forgot rows that were over.
    RowsPruned = "rows_pruned",
    /// A call to the engine failed.
    CallFailed = "call_failed",
    /// A process that ran was killed.
    Killed = "killed",
    /// The broker was asked to stop.
    Terminated = "terminated",
    /// The wall clock of a machine with a broker stepped.
    WallStepped = "wall_stepped",
    /// A machine with a broker slept.
    Slept = "slept",
    /// Somebody replaced the token of the broker's node.
    TokenReplaced = "token_replaced",
    /// An invocation was sent again for no reason.
    InvocationResent = "invocation_resent",
    /// Another node had the name that the broker's node was enrolled under.
    NameTaken = "name_taken",
    /// A token was refused because it was made a moment ago.
    TokenUnseen = "token_unseen",
    /// A node or an agent was not found because it was made a moment ago.
    NameUnseen = "name_unseen",
    /// The engine failed to send a row on a link that lived on, and knew of it.
    RowNotSent = "row_not_sent",
    /// A row was lost on a link that lived on, and the engine believed that it was sent.
    RowLost = "row_lost",
    /// An event outside of the sequence was lost on a link that lived on.
    EventLost = "event_lost",
    /// An invocation was lost on a link that lived on.
    InvocationLost = "invocation_lost",
    /// The broker died between two commands.
    Crash = "crash",
    /// The broker died when it wanted a file changed.
    CrashOnStore = "crash_on_store",
    /// The broker was asked again to stop.
    TerminatedTwice = "terminated_twice",
}

/// How often each mark was left.
#[derive(Clone, Debug)]
pub(super) struct FaultMarks([u64; FaultMark::ALL.len()]);

impl Default for FaultMarks {
    fn default() -> Self {
        Self([0; FaultMark::ALL.len()])
    }
}

impl FaultMarks {
    /// Counts one occurrence.
    pub(super) const fn hit(&mut self, mark: FaultMark) {
        self.0[mark as usize] += 1;
    }

    /// All marks with their counts.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FaultMark::ALL.iter().map(|mark| (mark.name(), self.0[*mark as usize]))
    }
}
