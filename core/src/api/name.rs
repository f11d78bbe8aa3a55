//! Names of agents and channels.
//!
//! Owns: which names may be used. Must not know: which are in use.
//!
//! 1. A name that passed can be a file name's part, a URL segment, a terminal line and a mention.

use crate::ids::AgentName;
use crate::limits;
use alloc::string::{String, ToString};

/// Why a name cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    /// Nothing, or only white space.
    #[error("the name is empty; use 1 to {max} bytes", max = limits::NAME)]
    Empty,
    /// More than [`limits::NAME`] bytes; the length.
    #[error("the name has {0} bytes; use at most {max}", max = limits::NAME)]
    TooLong(usize),
    /// One of the characters that names cannot contain.
    #[error("the name contains {0:?}; names have no / \\ # and no control characters")]
    Character(char),
    /// Would mean a directory where names become paths.
    #[error("the name contains \"..\" or is \".\"; names must not look like a path")]
    PathLike,
    /// White space at either end.
    #[error("the name begins or ends with white space; remove it")]
    Padded,
}

/// Checks the name of an agent.
pub(crate) fn validate_agent_name(text: &str) -> Result<AgentName, NameError> {
    check(text).map(|()| AgentName(text.to_string()))
}

/// Checks the name of a channel, given with or without its `#`; returns it without.
pub(crate) fn validate_channel_name(text: &str) -> Result<String, NameError> {
    let name = text.strip_prefix('#').unwrap_or(text);
    check(name).map(|()| name.to_string())
}

fn check(text: &str) -> Result<(), NameError> {
    if text.trim().is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > limits::NAME {
        return Err(NameError::TooLong(text.len()));
    }
    if let Some(bad) = text.chars().find(|c| matches!(c, '/' | '\\' | '#') || c.is_control()) {
        return Err(NameError::Character(bad));
    }
    if text == "." || text.contains("..") {
        return Err(NameError::PathLike);
    }
    if text.trim() != text {
        return Err(NameError::Padded);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn ordinary_names_pass_unchanged() {
        let long = "n".repeat(limits::NAME);
        for name in ["a", "worker-1", "Ada Lovelace", "münchen", "@bob", "a.b", "🦀", &long] {
            assert_eq!(validate_agent_name(name).unwrap().0, name);
        }
    }

    #[test]
    fn a_refused_name_says_what_is_wrong_with_it() {
        let cases = [
            ("", NameError::Empty),
            (" \t", NameError::Empty),
            ("a/b", NameError::Character('/')),
            ("a\\b", NameError::Character('\\')),
            ("#general", NameError::Character('#')),
            ("a\0", NameError::Character('\0')),
            ("a\nb", NameError::Character('\n')),
            ("a\u{9b}", NameError::Character('\u{9b}')),
            ("..", NameError::PathLike),
            ("a..b", NameError::PathLike),
            (".", NameError::PathLike),
            (" a", NameError::Padded),
            ("a\u{a0}", NameError::Padded),
        ];
        for (name, why) in cases {
            assert_eq!(validate_agent_name(name), Err(why), "{name:?}");
        }
        let long = "ä".repeat(65);
        assert_eq!(validate_agent_name(&long), Err(NameError::TooLong(130)));
        assert_eq!(format!("{}", NameError::TooLong(130)), "the name has 130 bytes; use at most 128");
    }

    #[test]
    fn a_channel_is_named_with_or_without_its_sign() {
        assert_eq!(validate_channel_name("#general").unwrap(), "general");
        assert_eq!(validate_channel_name("general").unwrap(), "general");
        assert_eq!(validate_channel_name("#"), Err(NameError::Empty));
        assert_eq!(
            validate_channel_name("##x"),
            Err(NameError::Character('#')),
            "only one sign belongs to it"
        );
    }
}
