//! S4: what a program is typed says whose message it is, in the form that the program has asked for.
//!
//! Would catch: a message shown under another sender's name, or under the id of another message, so that a reply
//! goes astray; the brackets of a paste typed into a program that reads them as keys; a text of many lines typed
//! line by line into a program that has asked for pastes, and sends each line to its model as a prompt.
//!
//! 1. A text is a paste for a program that has switched pastes on, and for no other, once the broker was told.
//! 2. The first line of a text names the sender and the id of the message that follows.

use super::ledger::Ledger;
use crate::agents::reader::token_of;

/// What a paste begins with (`core/PROTOCOL.md` §6).
const PASTE: &[u8] = b"\x1b[200~";
/// What a text begins with.
const HEADER: &str = "Relay message from ";

/// Bytes are typed into a program; `pastes`: whether it wants pastes, if the broker knows.
pub(super) fn judge(ledger: &Ledger, bytes: &[u8], pastes: Option<bool>) -> Result<(), String> {
    let pasted = bytes.strip_prefix(PASTE);
    let text = String::from_utf8_lossy(pasted.unwrap_or(bytes));
    let Some(rest) = text.strip_prefix(HEADER) else {
        return Ok(());
    };
    match pastes {
        Some(true) if pasted.is_none() => {
            return Err("a text is typed by lines, and the program wants pastes".into());
        }
        Some(false) if pasted.is_some() => {
            return Err("a text is pasted, and the program knows no pastes".into());
        }
        _ => {}
    }
    let Some((header, body)) = rest.split_once("]: ") else {
        return Err(format!("no header ends in {:?}", rest.lines().next()));
    };
    let Some((names, id)) = header.rsplit_once(" [") else {
        return Err(format!("the header {header:?} names no message"));
    };
    let (Some(posted), Some(token)) = (ledger.posted_as(id), token_of(body)) else {
        return Ok(());
    };
    if posted.token != token {
        return Err(format!("message {token} is shown under the id of message {}", posted.token));
    }
    let names_sender = |sender: &String| names.strip_prefix(sender.as_str()).is_some_and(ends_name);
    match posted.sender.as_ref().filter(|sender| !names_sender(sender)) {
        Some(sender) => Err(format!("message {token} of {sender:?} is shown as one of {names:?}")),
        None => Ok(()),
    }
}

/// Whether this may stand behind the name of a sender: where the message was sent.
fn ends_name(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(" in ") || rest.starts_with(" thread ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str, pastes: bool) -> bool {
        let mut ledger = Ledger::default();
        ledger.posted("901", 5, Some("ann"));
        judge(&ledger, text.as_bytes(), Some(pastes)).is_ok()
    }

    #[test]
    fn a_text_is_a_paste_for_who_wants_pastes_and_for_nobody_else() {
        let (plain, paste) =
            ("Relay message from ann [1]: x", "\u{1b}[200~Relay message from ann [1]: x\u{1b}[201~");
        for (text, good) in [(plain, false), (paste, true), ("\r", true)] {
            assert!(judged(text, good));
        }
        assert!(!judged(plain, true) && !judged(paste, false));
    }

    #[test]
    fn a_header_names_the_sender_and_the_message() {
        for good in ["ann [901]: <m5.0!>", "ann in general thread 7 [901]: <m5.0!>", "eve [900]: <m6.0!>"] {
            assert!(judged(&format!("{HEADER}{good}"), false), "{good}");
        }
        for bad in ["eve [901]: <m5.0!>", "anna [901]: <m5.0!>", "ann [901]: <m6.0!>", "ann: <m5.0!>", "ann"]
        {
            assert!(!judged(&format!("{HEADER}{bad}"), false), "{bad}");
        }
    }
}
