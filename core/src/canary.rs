//! Canaries: bugs that brokers have had, let loose to prove that the simulator finds them.
//!
//! Owns: their list, which of them is loose, and the macro that asks.
//! Must not know: where in the code they sit, and who finds them.
//!
//! 1. They exist only with `--cfg canary`; without it [`canary!`] is the constant `false`, and no build
//!    that is handed to anybody has any of them.
//! 2. At most one is loose, and none until a program says so.
//! 3. Each is named after what it was, and its words say what went wrong.

/// Whether this bug is loose.
#[cfg(not(canary))]
macro_rules! canary {
    ($name:ident) => {
        false
    };
}

/// Whether this bug is loose.
#[cfg(canary)]
macro_rules! canary {
    ($name:ident) => {
        $crate::canary::is_loose($crate::canary::Canary::$name)
    };
}

#[cfg(canary)]
pub use list::*;

#[cfg(canary)]
mod list {
    use core::sync::atomic::{AtomicUsize, Ordering};

    macro_rules! canaries {
        ($($name:ident $text:literal $what:literal,)*) => {
            /// One bug.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Canary { $(#[doc = $what] $name),* }

            impl Canary {
                /// All of them.
                pub const ALL: &'static [Self] = &[$(Self::$name),*];

                /// Its name.
                pub const fn name(self) -> &'static str {
                    match self { $(Self::$name => $text),* }
                }

                /// What it was.
                pub const fn what(self) -> &'static str {
                    match self { $(Self::$name => $what),* }
                }
            }
        };
    }

    canaries! {
        AckOnReceipt "ack-on-receipt"
            "a row was acked as soon as it was handed over, before its agent had read it",
        AckInOne "ack-in-one"
            "one ack covered all that was read while the link was down, more rows than an engine may end at once",
        AckPastGap "ack-past-gap"
            "a row that was taken was acked although one below it was missing",
        AckBeforeRead "ack-before-read"
            "a message counted as read when the kernel had echoed it, and its program had not read it",
        AckBeforeRecord "ack-before-record"
            "a dead letter was acked before its record was on disk",
        SilenceIsTaken "silence-taken-for-read"
            "a message counted as read when its program had not read it for five seconds",
        ResentIsNew "resent-row-typed-again"
            "a row that the engine sent again while it was under way was typed a second time",
        ForgottenOnceAcked "row-forgotten-once-acked"
            "a row whose ack was lost came again, was taken for a new one and typed a second time",
        BusyIsTypedAgain "busy-agent-typed-again"
            "a message that a busy program had not read for a while was typed again behind itself",
        NeverGivenUp "never-given-up"
            "a message that an agent never read was waited for without end, and never became a dead letter",
        LetterBlocks "dead-letter-blocks-cursor"
            "a message that was given up was never acked, and neither was anything behind it",
        CursorZero "cursor-zero-after-restart"
            "after a restart every identity began at cursor 0, and what followed was a gap for ever",
        NotDeregistered "released-not-deregistered"
            "a released agent stayed registered, and its name was taken",
        LeaveLost "leave-lost-on-reconnect"
            "that an agent had left went down with a link and was not told on the next, and its mail went to nobody",
        NoGoodbye "no-goodbye"
            "a broker that was asked to stop left without a word, as one that has died",
        ResultLost "result-lost-on-reconnect"
            "the result of an action went down with the socket that it was written to",
        InventoryOmitsApi "inventory-omits-api-spawns"
            "agents spawned through the local API stood in no inventory",
        InventoryOmitsInvoked "inventory-omits-invoked-spawns"
            "an agent spawned by an invocation stood in no inventory",
        EmptyNotSent "empty-inventory-not-sent"
            "with no agents here no inventory was sent, and the engine kept those of before",
        InventoryMidSpawn "inventory-in-mid-spawn"
            "an inventory sent in the middle of a spawn made the engine give it to another node as well",
        InventoryAtOnce "inventory-before-what-was-queued"
            "the first inventory of a link did not wait for what the engine had queued, and gave it away",
        AllLeftOut "all-left-out-for-one"
            "because the engine had refused one agent, the inventories listed nobody for a minute",
        LeftOutForGood "left-out-for-good"
            "an agent that the engine had refused once stood in no inventory any more",
        UnknownFieldDrops "unknown-field-drops-delivery"
            "a delivery with one more top-level key than expected was thrown away",
        UnknownModeDrops "unknown-mode-drops-delivery"
            "a delivery of a mode that was not known was thrown away",
        MissingWorker "ack-withheld-for-missing-worker"
            "the engine was not told of an agent that had died, and its rows stayed unacked for ever",
        OneDedupSet "one-dedup-set"
            "an event outside of the sequence made the row with the same id a duplicate",
        SeqZeroDropped "seq-zero-dropped"
            "what came outside of the sequence, such as the result of an action, was thrown away",
        EventIsPosition "event-taken-for-position"
            "an event outside of the sequence set the position in it, and the next row was a gap",
        GapDiscarded "gap-discarded"
            "a row that came before a lower one was thrown away, and every gap cost another round",
        GapNeverClosed "gap-never-closed"
            "a row that the engine had no more was waited for without end, and nothing behind it was ever acked",
        RoutedByName "routed-by-name"
            "what was for an agent that had left was given to another one of the same name",
        UnboundedMemory "duplicates-remembered-without-bound"
            "the ids of all deliveries of an agent were remembered for as long as it lived",
        SteerWaits "steer-overtaken"
            "a steering message waited behind ordinary ones",
        OutOfOrder "injected-out-of-order"
            "a row was typed before a lower one that was on its way",
        WholeEnvelope "whole-envelope-typed"
            "an agent was shown the envelope of a structured result instead of the result",
        TypedBeforeReady "typed-before-ready"
            "a message was typed as soon as its program had been started, and lost when that took its terminal over",
        TypedIntoDialog "typed-into-dialog"
            "a message was typed while a program asked its operator something, and was taken for the answer",
        PartIsWhole "part-taken-for-whole"
            "of a text that its terminal had taken in part the rest was never written",
        SwallowedIsTaken "swallowed-taken-for-read"
            "what a program had thrown away when it took its terminal over counted as read",
        MintResetsBudget "mint-resets-401-budget"
            "each successful mint forgave the 401s before it, and minting went on in a tight loop",
        BudgetNeverReset "401-budget-never-reset"
            "a good connection did not forgive the 401s before it, and delivery went off for good",
        TokenHammered "refused-token-hammered"
            "past its budget of mints a broker kept connecting with the token that was refused",
        BackoffNeverReset "backoff-never-reset"
            "after a few losses every reconnect took the longest delay",
        MintTriedOnce "mint-tried-once"
            "when the first mint of a node token failed, delivery was off for good",
        TroubleIsRefusal "trouble-taken-for-refusal"
            "an engine in trouble was taken for one that refuses, and was not asked again soon, or never",
        ConnectUnlimited "connect-without-limit"
            "an attempt to connect had no end, and a handshake that hung was waited for",
        CacheUnscoped "token-cache-not-scoped"
            "a cached token was used for another workspace or engine than it was made for",
        KeyInherited "workspace-key-inherited"
            "every agent inherited the key of the whole workspace",
        PongsAreLife "liveness-by-pongs"
            "pongs alone kept a link alive whose engine answered nothing",
        SilenceIsLife "silence-taken-for-life"
            "a link on which nothing came any more was kept for hours",
        ConnectedIsHealthy "connected-taken-for-healthy"
            "health was ok as soon as a socket was open, with agents that got no messages",
        StaleCompletion "stale-completion-accepted"
            "the late end of a link was taken for the end of the one that followed it",
        SecretLogged "secret-in-log"
            "a refused token was logged",
        WrongRegistration "reply-to-wrong-registration"
            "a late reply was given to the next registration of the same name",
        BindingIgnored "failed-binding-ignored"
            "an agent whose binding to the node had failed was reported as running",
        FailedSpawnRegistered "failed-spawn-left-registered"
            "an agent stayed registered although its process had not started",
        ReleasedTooSoon "left-before-release-answered"
            "the engine was told that an agent has left before its release was answered, and took that for failed",
        AnsweredTooSoon "release-answered-before-exit"
            "a release was answered as done while the program still ran",
        FailureIsSuccess "failed-spawn-answered-as-done"
            "a spawn that had failed was answered as done, and its caller waited for nobody",
        StartIsProof "start-taken-for-proof"
            "a spawn was answered as done when its process had started, and that ended at once",
        RepeatIsNew "repeat-answered-with-name-in-use"
            "a spawn that came again after it had succeeded was answered as failed: its name was in use",
        StartNotRecorded "start-not-recorded"
            "a spawn was not written down before it was begun, and done again by the next life",
        RefusedIsSent "refused-message-answered-as-sent"
            "a message that the engine had refused was answered as sent",
        PublishUnlimited "publish-without-limit"
            "who sent a message through the local API waited for as long as the engine did not answer",
        LeftWaiting "left-waiting-at-the-end"
            "whoever waited for an answer of the local API when the broker was stopped never got one",
        GapUntold "lost-events-untold"
            "a slow reader of events missed some and was not told",
        ReleaseNotKept "release-not-kept"
            "a release was not written down, and nobody answered it when the broker ended before the engine had the result",
        StaleRelease "stale-release-state"
            "the state of a first release made the second one count as told",
        SpeakerRegistered "publish-registers-speaker"
            "a message sent for an agent registered it anew over HTTP, which ended its token",
        SeedRotated "seed-rotated-by-read-error"
            "a machine's seed that could not be read was replaced, and with it the identity of its node",
        WorldReadable "world-readable-files"
            "the files with tokens could be read by everybody on the machine",
        HarnessIgnored "harness-suffix-ignored"
            "spawn:<harness> was refused unless the input named the program again",
    }

    static LOOSE: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// Lets one loose, or none.
    pub fn let_loose(canary: Option<Canary>) {
        LOOSE.store(canary.map_or(usize::MAX, |canary| canary as usize), Ordering::SeqCst);
    }

    /// Whether this one is loose.
    pub(crate) fn is_loose(canary: Canary) -> bool {
        LOOSE.load(Ordering::Relaxed) == canary as usize
    }
}
