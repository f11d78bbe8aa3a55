//! S12: nobody is shown a secret who must not see it.
//!
//! Would catch: an engine's error logged with the token that it names; the workspace key in the
//! arguments of a child, where every user of the machine can read it; a token in an event.
//!
//! 1. No log line, event, argument, address or debug form holds a token.
//! 2. Of the local API only `/api/session` shows one: the workspace key.

use relay_core::Command;
use std::fmt::Debug;

/// How the engine's secrets begin.
const MARKS: [&str; 4] = ["rk_live_", "at_live_", "nt_live_", "ot_live_"];

/// Judges a command. `target` is what an answer of the local API is for.
pub(super) fn command(command: &Command, target: Option<&str>) -> Result<(), String> {
    match command {
        Command::Log(line) => clean("a log line", &line.message),
        Command::StreamSend { text, .. } => clean("an event", text),
        Command::ApiReply { body, .. } if target != Some("GET /api/session") => {
            clean("an answer of the local API", body)
        }
        Command::LinkClose { reason, .. } | Command::StreamClose { reason, .. } => {
            clean("a close reason", reason)
        }
        Command::Spawn { child, .. } => {
            let mut arguments = child.argv.iter();
            arguments.try_for_each(|argument| clean("an argument", argument))?;
            debug(command)
        }
        Command::Call { request, .. } => {
            clean("an address", &request.url)?;
            debug(command)
        }
        Command::LinkOpen { url, .. } => {
            clean("an address", url)?;
            debug(command)
        }
        Command::Store { .. } => debug(command),
        _ => Ok(()),
    }
}

fn debug(shown: &impl Debug) -> Result<(), String> {
    clean("a debug form", &format!("{shown:?}"))
}

fn clean(what: &str, text: &str) -> Result<(), String> {
    // One search for most texts: every mark has the same middle.
    let shown = |mark: &str| {
        let mut rests = text.split(mark).skip(1);
        // A masked one goes on with a star.
        rests.any(|rest| rest.starts_with(|first: char| first.is_ascii_alphanumeric()))
    };
    if text.contains("_live_") && MARKS.iter().any(|mark| shown(mark)) {
        return Err(format!("{what} shows a secret"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::ids::RequestId;
    use relay_core::{Level, LogLine};

    #[test]
    fn a_token_in_a_log_line_is_seen_and_a_masked_one_is_not() {
        let log = |message: &str| {
            let line = LogLine { level: Level::Warn, area: "link", message: message.into() };
            command(&Command::Log(line), None)
        };
        assert_eq!(log("refused nt_live_***, it is not live"), Ok(()));
        assert!(log("refused nt_live_0123").is_err());
    }

    #[test]
    fn the_workspace_key_is_shown_by_the_session_and_nowhere_else() {
        let body = r#"{"workspace_key":"rk_live_1"}"#.to_owned();
        let reply =
            Command::ApiReply { request: RequestId(1), status: 200, content_type: "application/json", body };
        assert_eq!(command(&reply, Some("GET /api/session")), Ok(()));
        assert!(command(&reply, Some("GET /api/status")).is_err());
    }
}
