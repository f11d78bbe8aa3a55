//! Names of things: ids, tokens, times, and the keys of the model's own tables.
//!
//! Owns: making ids and credentials from the seed, and the text form of a time.
//! Must not know: what they are given to.
//!
//! 1. The same seed and the same calls give the same ids and tokens.
//! 2. Numeric ids never decrease and never repeat.

use sha2::{Digest, Sha256};

macro_rules! table_key {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) struct $name(pub(super) usize);
    )*};
}

table_key! {
    /// Index of a workspace.
    WorkspaceKey,
    /// Index of an agent.
    AgentKey,
    /// Index of a node.
    NodeKey,
    /// Index of a room: a channel, a direct conversation or a group.
    RoomKey,
    /// Index of an invocation.
    InvocationKey,
}

/// The beginning of the engine's id clock, 2024-01-01, in Unix milliseconds.
const ID_EPOCH_MS: i64 = 1_704_067_200_000;

/// Bits of an id below the millisecond.
const ID_SUB_BITS: u32 = 22;

/// Kinds of credential, by prefix and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// `rk_live_` and 32 hex digits.
    Workspace,
    /// `at_live_` and 32 hex digits.
    Agent,
    /// `nt_live_` and 48 hex digits.
    Node,
}

/// The source of all ids and tokens.
pub(super) struct Ids {
    seed: u64,
    tokens: u64,
    last: u64,
}

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, tokens: 0, last: 0 }
    }

    /// A new numeric id, greater than all before.
    pub(super) fn next(&mut self, now_ms: i64) -> u64 {
        let since = now_ms.saturating_sub(ID_EPOCH_MS).max(0).unsigned_abs();
        self.last = (self.last + 1).max(since << ID_SUB_BITS);
        self.last
    }

    /// A new credential.
    pub(super) fn token(&mut self, kind: TokenKind) -> String {
        let (prefix, length) = match kind {
            TokenKind::Workspace => ("rk_live_", 32),
            TokenKind::Agent => ("at_live_", 32),
            TokenKind::Node => ("nt_live_", 48),
        };
        self.tokens += 1;
        let digest = Sha256::new()
            .chain_update(self.seed.to_le_bytes())
            .chain_update(self.tokens.to_le_bytes())
            .finalize();
        format!("{prefix}{}", hex(&digest, length))
    }
}

/// The id of the conversation of two agents, without its prefix.
pub(super) fn conversation_digest(workspace: &str, one: &str, other: &str) -> String {
    let key = |id: &str| id.parse::<u64>().unwrap_or(0);
    let (low, high) = if key(one) <= key(other) { (one, other) } else { (other, one) };
    hex(&Sha256::digest(format!("{workspace}:{low}:{high}")), 24)
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.filter_map(|half| char::from_digit(half.into(), 16)).take(digits).collect()
}

/// `2026-07-01T00:00:00.000Z` of a Unix time in milliseconds.
pub(super) fn iso(ms: i64) -> String {
    let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The proleptic Gregorian date of a day number counted from 1970-01-01. Years are counted from
/// March, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_iso_8601() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(1_782_864_000_123), "2026-07-01T00:00:00.123Z");
        assert_eq!(iso(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn ids_grow_even_when_the_clock_steps_back() {
        let mut ids = Ids::new(1);
        let first = ids.next(1_800_000_000_000);
        assert!(ids.next(1_700_000_000_000) > first);
    }

    #[test]
    fn tokens_follow_from_the_seed_and_have_the_exact_form() {
        let (mut one, mut same, mut other) = (Ids::new(7), Ids::new(7), Ids::new(8));
        let token = one.token(TokenKind::Node);
        assert_eq!(token, same.token(TokenKind::Node));
        assert_ne!(token, other.token(TokenKind::Node));
        assert!(token.starts_with("nt_live_") && token.len() == 8 + 48);
        assert_eq!(one.token(TokenKind::Agent).len(), 8 + 32);
    }

    #[test]
    fn a_conversation_has_one_id_for_both_sides() {
        assert_eq!(conversation_digest("1", "76", "77"), conversation_digest("1", "77", "76"));
        assert_eq!(conversation_digest("1", "9", "10"), conversation_digest("1", "10", "9"));
    }
}
