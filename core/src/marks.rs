//! Coverage marks: proof that a rare branch was really taken.
//!
//! Owns: the list of branches that some test must reach, and how often each was.
//! Must not know: tests.
//!
//! 1. A mark stands where the rare thing is decided, once per occurrence.

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A branch that exists because of something rare.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark { $($(#[$doc])* $name),* }

        impl Mark {
            /// All marks.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name of the mark.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

marks! {
    /// A completion came for something that is over.
    StaleCompletion,
    /// The register frame of the newer dialect was refused and the older one tried.
    DialectFallback,
    /// A 401 at the upgrade led to a new token.
    Reminted,
    /// A young token was tried once more after a 401.
    YoungTokenRetried,
    /// The 401 budget was used up.
    DeliveryDisabled,
    /// Another instance holds the node; registration is tried again on the same socket.
    InstanceConflict,
    /// The link was dropped because nothing arrived.
    LinkSilent,
    /// The link was dropped because no request was answered.
    AnswersSilent,
    /// The clock jumped and liveness was given a second chance.
    ClockJump,
    /// Rows were held because a lower one was missing.
    GapHeld,
    /// Rows were injected past a gap.
    GapReleased,
    /// A replay was asked for.
    ReplayAsked,
    /// A missing sequence was proven gone.
    HoleProven,
    /// The base of an identity was provisional and moved down.
    BaseMovedDown,
    /// A row at or below the cursor was injected all the same.
    LateRow,
    /// A row came twice.
    DuplicateRow,
    /// A fan-out frame came twice.
    DuplicateFanOut,
    /// A window was full and a frame was dropped.
    WindowOverflow,
    /// A frame came before the reply that names its identity.
    EarlyFrame,
    /// A frame came for an identity that is not here.
    UnknownAgent,
    /// A row became a dead letter.
    DeadLetter,
    /// The program threw unread input away and the injection started again.
    InputThrownAway,
    /// An agent did not take an injection in time.
    Unverified,
    /// A registration's reply came after the wait for it had ended.
    LateRegistration,
    /// The reply to a registration was matched by name.
    MatchedByName,
    /// The engine was asked whose a name is that it would not create.
    NameLookedUp,
    /// An inventory listed an agent that the engine does not know.
    UnknownHere,
    /// A refused inventory was repeated without an entry.
    InventoryExcluded,
    /// A finished invocation was answered again from memory.
    InvocationRepeated,
    /// A result was sent again on a new link.
    ResultResent,
    /// A deregistration was sent again on a new link.
    DeregistrationResent,
    /// An agent was registered over HTTP and bound.
    BoundOverHttp,
}

/// How often each mark was hit.
#[derive(Clone, Debug)]
pub struct Marks {
    hits: [u32; Mark::ALL.len()],
}

impl Default for Marks {
    fn default() -> Self {
        Self { hits: [0; Mark::ALL.len()] }
    }
}

impl Marks {
    /// Counts one occurrence.
    pub(crate) const fn hit(&mut self, mark: Mark) {
        let count = &mut self.hits[mark as usize];
        *count = count.saturating_add(1);
    }

    /// How often `mark` was hit.
    pub const fn hits(&self, mark: Mark) -> u32 {
        self.hits[mark as usize]
    }
}
