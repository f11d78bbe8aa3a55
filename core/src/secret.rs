//! Secrets: values that may be used but never shown.
//!
//! Owns: the one type that carries keys and tokens, and the masking of text that may contain one.
//! Must not know: what a secret is for.
//!
//! 1. `Debug`, `Hash` and every digest of a [`Secret`] are constant.
//! 2. The only way out is [`Secret::expose`], which is easy to search for.
//! 3. [`mask`] leaves no run that looks like one of the fabric's credentials.

use alloc::string::{String, ToString};
use core::fmt;
use core::hash::{Hash, Hasher};

/// A key or token. Compare and print it only through the functions of `edge`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`, trimmed; `None` when nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_string()))
    }

    /// The value itself, for a header, a child's environment or a 0600 file.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        "***".hash(state);
    }
}

/// The prefixes of the fabric's credentials (`core/PROTOCOL.md` §1.1), and of this broker's local key.
const PREFIXES: [&str; 5] = ["rk_live_", "at_live_", "nt_live_", "ot_live_", "br_"];

/// `text` with every credential replaced by its prefix and `***`.
///
/// Used on everything that quotes a peer: error bodies, log fields, close reasons.
pub fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, prefix)) = first_prefix(rest) {
        let (before, from) = rest.split_at(at);
        let body = &from[prefix.len()..];
        let len = body.bytes().take_while(u8::is_ascii_alphanumeric).count();
        out.push_str(before);
        out.push_str(prefix);
        if len >= MASK_MIN {
            out.push_str("***");
            // The run may hold the beginning of the next prefix.
            let end = first_prefix(body).map_or(len, |(at, _)| len.min(at));
            rest = &body[end..];
        } else {
            rest = body;
        }
    }
    out.push_str(rest);
    out
}

/// Shorter runs behind a prefix are words (`br_anch`), not credentials.
const MASK_MIN: usize = 8;

fn first_prefix(text: &str) -> Option<(usize, &'static str)> {
    // Most texts have none, which one pass shows.
    if !text.contains('_') {
        return None;
    }
    PREFIXES.iter().filter_map(|p| text.find(p).map(|at| (at, *p))).min_by_key(|(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// What stands behind a prefix in the texts below.
    const BODY: &str = "5ec2e7005ec2e700";

    fn text() -> impl Strategy<Value = String> {
        let credential = prop::sample::select(&PREFIXES[..]).prop_map(|prefix| format!("{prefix}{BODY}"));
        let piece = prop_oneof![2 => credential, 1 => "[ -~]{0,9}", 1 => "[abknort_live]{0,6}"];
        prop::collection::vec(piece, 0..8).prop_map(|pieces: Vec<String>| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..<_>::default() })]

        #[test]
        fn no_credential_survives_masking_wherever_it_stands(text in text()) {
            let masked = mask(&text);
            prop_assert!(!masked.contains(BODY), "{} became {}", text, masked);
            prop_assert!(masked.len() <= text.len());
            prop_assert_eq!(mask(&masked), masked);
        }
    }

    #[test]
    fn a_credential_directly_behind_another_is_masked() {
        assert_eq!(mask("rk_live_0123456789at_live_0123456789 x"), "rk_live_***at_live_*** x");
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new(" rk_live_0123456789abcdef \n").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_eq!(secret.expose(), "rk_live_0123456789abcdef");
        assert!(Secret::new("  ").is_none());
    }

    #[test]
    fn credentials_are_masked_wherever_they_stand() {
        let text = "bad rk_live_0123456789abcdef and [at_live_ffffffffffff], nt_live_x, br_0123456789";
        assert_eq!(mask(text), "bad rk_live_*** and [at_live_***], nt_live_x, br_***");
    }
}
