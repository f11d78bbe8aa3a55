//! Classes of fault: how one of each is drawn, which are on in a case, and when none begins.
//!
//! Owns: the list of classes, their weights, and the quiet windows of a case.
//! Must not know: what a fault does.
//!
//! 1. Each class is on or off per seed; how many are on differs from seed to seed, so that some cases
//!    have few faults of which much comes.
//! 2. In a quiet window no fault begins, and those that last end where it begins: there even a long
//!    recovery completes.

use super::{Fault, SECOND};
use crate::rng::{Rng, Stream, key};

/// What the numbers of one fault are drawn from.
#[derive(Clone, Copy)]
struct Draw {
    rng: Rng,
    number: u64,
    agents: u64,
    /// The fault is over at the latest after this.
    longest: u64,
}

impl Draw {
    fn between(self, stream: u64, low: u64, high: u64) -> u64 {
        self.rng.between(Stream::Fault, key(self.number, stream), low, high)
    }

    /// How long it lasts: mostly short, at most `most`.
    fn lasts(self, most: u64) -> u64 {
        self.rng.skewed(Stream::Fault, key(self.number, 3), SECOND / 20, most).min(self.longest)
    }

    /// Mostly few.
    fn skewed(self, low: u64, high: u64) -> u64 {
        self.rng.skewed(Stream::Fault, key(self.number, 6), low, high)
    }

    fn agent(self) -> usize {
        self.between(4, 0, self.agents - 1) as usize
    }
}

const MINUTE: u64 = 60 * SECOND;

/// One of each class.
const CLASSES: &[fn(Draw) -> Fault] = &[
    |_| Fault::Cut,
    |draw| Fault::HalfOpen { lasts: draw.between(5, SECOND, 2 * MINUTE).min(draw.longest) },
    |draw| Fault::Refuse { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Unauthorized { lasts: draw.lasts(5 * MINUTE) },
    |draw| Fault::SlowHandshake { lasts: draw.lasts(MINUTE) },
    |draw| Fault::HoldReplies { lasts: draw.lasts(MINUTE) },
    |draw| Fault::HoldDown { lasts: draw.lasts(MINUTE) },
    |_| Fault::EngineRestart,
    |draw| Fault::Reorder { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Replay { agent: draw.agent() },
    |draw| Fault::Expire { agent: draw.agent() },
    |draw| Fault::Prune { agent: draw.agent() },
    |draw| Fault::Calls { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Kill { agent: draw.agent() },
    |draw| Fault::Dribble { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Stall { agent: draw.agent(), lasts: draw.between(5, SECOND, 2 * MINUTE).min(draw.longest) },
    |draw| Fault::Orphans { lasts: draw.lasts(MINUTE) },
    |draw| Fault::SpawnFails { lasts: draw.lasts(MINUTE) },
    |draw| Fault::ShortLived { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Busy { agent: draw.agent(), lasts: draw.lasts(MINUTE) },
    |draw| Fault::TogglePaste { agent: draw.agent() },
    |draw| Fault::Echo { lasts: draw.between(5, SECOND, 2 * MINUTE).min(draw.longest) },
    |draw| Fault::Nameless { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Garble { lasts: draw.lasts(MINUTE) },
    |_| Fault::Noise,
    |draw| Fault::HalfDead { lasts: draw.between(5, SECOND, 5 * MINUTE).min(draw.longest) },
    |draw| Fault::Flood { agent: draw.agent(), count: draw.skewed(10, 1_500) as usize },
    |draw| Fault::Leaving { lasts: draw.lasts(MINUTE) },
    |draw| Fault::SlowReaders { lasts: draw.lasts(2 * MINUTE) },
    |draw| Fault::Readers { count: draw.skewed(0, 80) },
    |draw| Fault::Store { lasts: draw.lasts(MINUTE) },
    |draw| Fault::SlowDisk { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Crash { commands: draw.between(5, 0, 60) },
    |_| Fault::CrashOnStore,
    |_| Fault::Terminate,
    |draw| Fault::TerminateTwice { after: draw.skewed(1, 5 * SECOND) },
    |draw| Fault::WallStep { by: draw.between(5, 0, 20_000_000) as i64 - 10_000_000 },
    |draw| Fault::Suspend { lasts: draw.lasts(MINUTE) * 4 },
    |_| Fault::Rotate,
    |draw| Fault::TakeOver {
        agent: draw.agent(),
        lasts: draw.between(5, SECOND, 4 * MINUTE).min(draw.longest),
    },
    |draw| Fault::Double { lasts: draw.lasts(MINUTE) },
    |_| Fault::Resend,
    |draw| Fault::SeedUnreadable { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Overload { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Delete {
        agent: draw.agent(),
        lasts: draw.between(5, SECOND, 4 * MINUTE).min(draw.longest),
    },
    |draw| Fault::Neighbour { lasts: draw.between(5, SECOND, 4 * MINUTE).min(draw.longest) },
    |draw| Fault::Lose { lasts: draw.lasts(MINUTE) },
    |draw| Fault::Unavailable { lasts: draw.lasts(5 * MINUTE) },
    |_| Fault::NameTaken,
    |draw| Fault::Retire { agent: draw.agent() },
    |draw| Fault::Lag { lasts: draw.lasts(MINUTE), behind: draw.skewed(SECOND / 100, 10 * SECOND) },
    |draw| Fault::SlowReplay { lasts: draw.between(5, SECOND, 2 * MINUTE).min(draw.longest) },
];

/// The classes of a case.
pub(super) struct Classes {
    rng: Rng,
    weights: Vec<u64>,
    quiet: Vec<(u64, u64)>,
    until: u64,
}

impl Classes {
    /// Those of a seed whose faults end at `until`.
    pub(super) fn new(rng: Rng, until: u64) -> Self {
        let one_in = [2, 2, 4, 8][rng.between(Stream::Shape, 30, 0, 3) as usize];
        let weight = |class| {
            let word = rng.word(Stream::Shape, 1_000 + class as u64);
            if word.is_multiple_of(one_in) { 1 + (word >> 8) % 10 } else { 0 }
        };
        let weights = (0..CLASSES.len()).map(weight).collect();
        let quiet = (0..rng.between(Stream::Shape, 31, 0, 2)).map(|number| {
            let from = rng.between(Stream::Shape, key(32, number), 0, until);
            (from, from + rng.between(Stream::Shape, key(33, number), 0, until / 2))
        });
        Self { rng, weights, quiet: quiet.collect(), until }
    }

    /// The fault of this number that begins at `at`, if one does.
    pub(super) fn draw(&self, number: u64, agents: u64, at: u64) -> Option<Fault> {
        let total: u64 = self.weights.iter().sum();
        if total == 0 || self.quiet.iter().any(|(from, to)| (*from..*to).contains(&at)) {
            return None;
        }
        let next = self.quiet.iter().map(|(from, _)| *from).filter(|from| *from > at).min();
        let longest = next.unwrap_or(self.until).saturating_sub(at);
        let draw = Draw { rng: self.rng, number, agents, longest };
        let mut left = draw.between(2, 0, total - 1);
        let class = self.weights.iter().position(|weight| {
            let found = left < *weight;
            left = left.saturating_sub(*weight);
            found
        })?;
        Some(CLASSES[class](draw))
    }

    /// How many classes there are.
    #[cfg(test)]
    pub(super) const fn count() -> usize {
        CLASSES.len()
    }
}
