//! S12: nobody is shown a secret who must not see it.
//!
//! Would catch: an engine's error logged with the token that it names; the workspace key in the
//! arguments of a child, where every user of the machine can read it; a token in an event.
//!
//! 1. No log line, event, argument, address or debug form holds a token.
//! 2. The environment of a child holds no credential but its own agent's token, and what the broker may
//!    have inherited is taken out of it.
//! 3. Of the local API only `/api/session` shows one: the workspace key.

use relay_core::{Child, Command};
use std::fmt::{Debug, Display};

/// How the engine's secrets begin, before `_live_`.
const KINDS: [&str; 4] = ["rk", "at", "nt", "ot"];

/// How the workspace key begins.
const WORKSPACE: &str = "rk_live_";

/// How a key of the local API begins, before `_`, and the fewest digits behind that.
const LOCAL: (&str, usize) = ("br", 16);
/// The variable in which a child finds its own token.
const OWN: &str = "RELAY_AGENT_TOKEN";
/// Variables with credentials of the broker or of whoever started it.
const INHERITED: [&str; 4] =
    ["RELAY_API_KEY", "RELAY_WORKSPACE_KEY", "RELAY_BROKER_API_KEY", "RELAY_NODE_TOKEN"];

/// Judges a command. `target` is what an answer of the local API is for.
pub(super) fn command(command: &Command, target: Option<&str>) -> Result<(), String> {
    match command {
        Command::Log(line) => clean("a log line", &line.message),
        Command::StreamSend { text, .. } => clean("an event", text),
        Command::ApiReply { body, .. } if target == Some("GET /api/session") => {
            clean("the session", &body.replace(WORKSPACE, ""))
        }
        Command::ApiReply { body, .. } => clean("an answer of the local API", body),
        Command::LinkClose { reason, .. } | Command::StreamClose { reason, .. } => {
            clean("a close reason", reason)
        }
        Command::Spawn { child, .. } => {
            let mut arguments = child.argv.iter();
            arguments.try_for_each(|argument| clean("an argument", argument))?;
            environment(child)?;
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

fn environment(child: &Child) -> Result<(), String> {
    for (name, value) in &child.env {
        let own = name == OWN && value.expose().starts_with("at_live_");
        if !own {
            clean(format_args!("the variable {name} of a child"), value.expose())?;
        }
    }
    let kept = |name: &&&str| !child.env_remove.iter().any(|removed| removed == **name);
    match INHERITED.iter().find(kept) {
        Some(name) => Err(format!("a child may inherit {name}")),
        None => Ok(()),
    }
}

fn debug(shown: &impl Debug) -> Result<(), String> {
    clean("a debug form", &format!("{shown:?}"))
}

fn clean(what: impl Display, text: &str) -> Result<(), String> {
    // Every mark has an underscore: one search for a single byte finds them all.
    for at in memchr::memchr_iter(b'_', text.as_bytes()) {
        let (before, behind) = (&text[..at], &text[at + 1..]);
        // A masked one goes on with a star.
        let is_shown = |rest: &str| rest.starts_with(|first: char| first.is_ascii_alphanumeric());
        if behind.strip_prefix("live_").is_some_and(is_shown)
            && KINDS.iter().any(|kind| before.ends_with(kind))
        {
            return Err(format!("{what} shows a secret"));
        }
        let is_long = || behind.bytes().take_while(u8::is_ascii_hexdigit).count() >= LOCAL.1;
        if before.ends_with(LOCAL.0) && is_long() {
            return Err(format!("{what} shows a key of the local API"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::ids::{ProcessId, RequestId};
    use relay_core::time::Mono;
    use relay_core::{Level, LogLine, Secret, Text};

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
    fn a_child_gets_its_own_token_and_no_other_credential() {
        let spawn = |name: &str, value: &str, removed: &[&str]| {
            let env = vec![(name.to_owned(), Text::Secret(Secret::new(value).expect("not empty")))];
            let env_remove = removed.iter().map(|name| (*name).to_owned()).collect();
            let child = Child { argv: vec![], env, env_remove, cwd: None, rows: 1, cols: 1 };
            command(&Command::Spawn { process: ProcessId(1), child, deadline: Mono(1) }, None)
        };
        assert_eq!(spawn(OWN, "at_live_01", &INHERITED), Ok(()));
        assert!(spawn(OWN, "nt_live_01", &INHERITED).is_err());
        assert!(spawn("KEY", "br_00112233445566778899aabbccddeeff", &INHERITED).is_err());
        assert_eq!(spawn("KEY", "br_anch", &INHERITED), Ok(()));
        assert!(spawn(OWN, "at_live_01", &INHERITED[1..]).is_err());
    }

    #[test]
    fn the_workspace_key_is_shown_by_the_session_and_nowhere_else() {
        let shows = |target, key: &str| {
            let (request, content_type) = (RequestId(1), "application/json");
            let body = format!("{{\"workspace_key\":\"{key}\"}}");
            command(&Command::ApiReply { request, status: 200, content_type, body }, Some(target))
        };
        assert_eq!(shows("GET /api/session", "rk_live_1"), Ok(()));
        assert!(shows("GET /api/session", "nt_live_1").is_err());
        assert!(shows("GET /api/status", "rk_live_1").is_err());
    }
}
