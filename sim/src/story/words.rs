//! Words: texts that may be shown.
//!
//! Owns: masking and length of every text of a story, and what its numbered things are called.
//! Must not know: what the texts say.
//!
//! 1. Masked first, cut afterwards: a cut in the middle of a credential would hide it from the mask.

use relay_core::ids::{CallId, ProcessId, RequestId, SubscriberId};
use relay_core::{ExitStatus, mask};

/// Characters of a moment's line: one row of a wide terminal.
const SHORT: usize = 160;
/// Characters of a moment's detail: a page; longer ones are the filler of large messages.
const DETAIL: usize = 4_000;

/// A line: control characters are shown as escapes, and what is too long is cut.
pub(super) fn short(text: &str) -> String {
    escaped(&cut(&mask(text), SHORT))
}

/// A detail: as it is, but not endless.
pub(super) fn capped(text: &str) -> String {
    cut(&mask(text), DETAIL)
}

/// Terminal bytes in one line, so that it is seen what a program would see.
pub(super) fn typed(bytes: &[u8]) -> String {
    escaped(&String::from_utf8_lossy(bytes))
}

pub(super) fn call(call: CallId) -> String {
    format!("call {}", call.0)
}

pub(super) fn process(process: ProcessId) -> String {
    format!("process {}", process.0)
}

pub(super) fn request(request: RequestId) -> String {
    format!("request {}", request.0)
}

pub(super) fn subscriber(subscriber: SubscriberId) -> String {
    format!("subscriber {}", subscriber.0)
}

/// How a process ended.
pub(super) fn ended(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("with code {code}"),
        ExitStatus::Signal(signal) => format!("by signal {signal}"),
        ExitStatus::Unknown => "in a way that the system does not tell".into(),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}… ({} bytes in all)", &text[..at], text.len()),
    }
}

/// Control characters as programmers write them.
fn escaped(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => told.push_str("\\n"),
            '\r' => told.push_str("\\r"),
            '\t' => told.push_str("\\t"),
            '\x1b' => told.push_str("\\e"),
            other if other.is_control() => told.push_str(&format!("\\x{:02x}", u32::from(other))),
            other => told.push(other),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_masked_even_where_the_text_is_cut() {
        for before in SHORT - 20..SHORT + 5 {
            let text = format!("{}at_live_0123456789abcdef0123456789abcdef", "x".repeat(before));
            assert!(!short(&text).contains("0123"), "{before}");
        }
        assert!(!capped("nt_live_0123456789abcdef").contains("0123"));
    }

    #[test]
    fn a_line_is_one_line_and_not_endless() {
        let line = short(&"a\nb\x1b[0m\u{7}".repeat(100));
        assert!(line.starts_with("a\\nb\\e[0m\\x07a") && !line.contains(char::is_control));
        assert!(line.ends_with("bytes in all)") && line.len() < 3 * SHORT);
    }
}
