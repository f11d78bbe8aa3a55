//! Orders: what an invocation wants, read from its action and input.
//!
//! Owns: the aliases under which callers give names, programs and tasks.
//! Must not know: whether the order can be carried out.
//!
//! 1. A value is the first non-blank text at its aliases, in order, at the top of the input and then
//!    inside `input.agent` (`core/PROTOCOL.md` §7).
//! 2. The harness of `spawn:<harness>` is the program when the input names none.

use crate::api::{self, SpawnRequest};
use crate::ids::AgentName;
use crate::limits;
use crate::wire::{Invoke, Object};
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use serde_json::value::RawValue;

/// The answer to an action that an agent is to carry out itself.
const AGENT_ACTION: &str = "agent_actions_unsupported: this node hands its agents messages, and no actions";

/// An agent to start.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SpawnOrder {
    pub(crate) name: AgentName,
    pub(crate) cli: String,
    pub(crate) args: Vec<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) task: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) channels: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) session_ref: Option<String>,
    pub(crate) rows: u16,
    pub(crate) cols: u16,
}

impl fmt::Debug for SpawnOrder {
    /// What callers put into an environment may be secret, and a task is free text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (task, env) = (self.task.as_ref().map(String::len), self.env.keys());
        write!(f, "SpawnOrder({:?}, {:?}, {:?}, {task:?}, {env:?})", self.name, self.cli, self.args)
    }
}

impl From<SpawnRequest> for SpawnOrder {
    fn from(request: SpawnRequest) -> Self {
        let SpawnRequest { name, cli, args, cwd, task, model, channels, env, rows, cols, session_ref } =
            request;
        Self { name, cli, args, cwd, task, model, channels, env, session_ref, rows, cols }
    }
}

/// What an invocation wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A new agent.
    Spawn(SpawnOrder),
    /// An agent to go.
    Release(AgentName),
    /// Something that cannot be done, with the error to answer.
    Refused(String),
}

/// The action that releases an agent: engines may ask for it once only.
pub(crate) const RELEASE: &str = "release";

/// Reads an invocation.
pub(crate) fn read_wish(invoke: &Invoke<'_>) -> Wish {
    let action = &*invoke.action;
    if action == RELEASE {
        return match name_of(invoke, "release_missing_agent_name") {
            Ok(name) => Wish::Release(AgentName(name)),
            Err(error) => Wish::Refused(error),
        };
    }
    let harness = match action.split_once(':') {
        None if action == "spawn" => None,
        Some(("spawn", harness)) => Some(harness.trim()).filter(|harness| !harness.is_empty()),
        // Of what an agent here has offered the engine must not think that the next node could do it, nor that
        // this one does nothing any more.
        _ if given(&invoke.agent_id).or_else(|| given(&invoke.agent_name)).is_some() => {
            return Wish::Refused(AGENT_ACTION.to_string());
        }
        _ => return Wish::Refused("handler_unavailable".to_string()),
    };
    match order(invoke, harness) {
        Ok(order) => Wish::Spawn(order),
        Err(error) => Wish::Refused(error),
    }
}

/// What a frame says in a field, unless that is blank.
fn given<'a>(text: &'a Option<Cow<'_, str>>) -> Option<&'a str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn name_of(invoke: &Invoke<'_>, missing: &str) -> Result<String, String> {
    let input = Input::of(invoke.input);
    let of_frame = |text| given(text).map(ToString::to_string);
    of_frame(&invoke.agent_name)
        .or_else(|| input.text(&["name", "agent_name", "agent"]))
        .or_else(|| of_frame(&invoke.agent_id))
        .ok_or_else(|| missing.to_string())
}

fn order(invoke: &Invoke<'_>, harness: Option<&str>) -> Result<SpawnOrder, String> {
    let name = name_of(invoke, "spawn_missing_agent_name")?;
    let name = api::validate_agent_name(&name).map_err(|error| format!("spawn_failed: {error}"))?;
    let input = Input::of(invoke.input);
    let config = input.object(&["harnessConfig", "harness_config"]);
    let configured = |key: &str| config.as_ref().and_then(|config| non_blank(config, key));
    let cli = configured("command")
        .or_else(|| input.text(&["cli", "command", "provider"]))
        .or_else(|| harness.filter(|_| !canary!(HarnessIgnored)).map(ToString::to_string))
        .ok_or("spawn_missing_cli")?;
    let cwd = configured("cwd").or_else(|| input.text(&["cwd"]));
    if cwd.as_ref().is_some_and(|cwd| !cwd.starts_with('/')) {
        return Err("spawn_failed: cwd must be an absolute path".to_string());
    }
    let args = config.as_ref().map(|config| strings(config, "args")).filter(|args| !args.is_empty());
    let mut channels = input.strings("channels");
    channels.extend(input.text(&["channel"]));
    Ok(SpawnOrder {
        name,
        cli,
        args: args.unwrap_or_else(|| input.strings("args")),
        cwd,
        task: input.text(&["task", "initial_task", "prompt"]),
        model: input.text(&["model"]),
        channels: channels.iter().map(|channel| channel.trim_start_matches('#').to_string()).collect(),
        env: config.as_ref().map(environment).unwrap_or_default(),
        session_ref: configured("sessionId")
            .or_else(|| input.text(&["session_ref", "sessionId", "session_id"])),
        rows: limits::ROWS,
        cols: limits::COLS,
    })
}

/// The input of an invocation, and the object `agent` inside it.
struct Input<'a> {
    places: Vec<Object<'a>>,
}

impl<'a> Input<'a> {
    fn of(input: &'a RawValue) -> Self {
        let top = Object::parse(input.get());
        let nested = top.as_ref().and_then(|top| top.object("agent"));
        Self { places: top.into_iter().chain(nested).collect() }
    }

    /// Invariant 1.
    fn text(&self, keys: &[&str]) -> Option<String> {
        self.places.iter().find_map(|place| keys.iter().find_map(|key| non_blank(place, key)))
    }

    fn strings(&self, key: &str) -> Vec<String> {
        self.places.iter().map(|place| strings(place, key)).find(|list| !list.is_empty()).unwrap_or_default()
    }

    fn object(&self, keys: &[&str]) -> Option<Object<'a>> {
        // What the agent itself says is more specific.
        self.places.iter().rev().find_map(|place| keys.iter().find_map(|key| place.object(key)))
    }
}

fn non_blank(place: &Object<'_>, key: &str) -> Option<String> {
    place.text(key).map(|text| text.trim().to_string()).filter(|text| !text.is_empty())
}

fn strings(place: &Object<'_>, key: &str) -> Vec<String> {
    place.get(key).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

fn environment(config: &Object<'_>) -> BTreeMap<String, String> {
    config.get("env").and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Inbound, decode};

    fn wish(action: &str, input: &str, agent_name: &str) -> Wish {
        let name =
            if agent_name.is_empty() { String::new() } else { format!(r#","agent_name":"{agent_name}""#) };
        let frame = format!(
            r#"{{"v":1,"type":"action.invoke","invocation_id":"i","action":"{action}","input":{input}{name}}}"#
        );
        match decode(&frame) {
            Ok(Inbound::Invoke(invoke)) => read_wish(&invoke),
            other => panic!("{other:?}"),
        }
    }

    fn spawned(wish: Wish) -> SpawnOrder {
        match wish {
            Wish::Spawn(order) => order,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_harness_of_the_action_is_the_program_when_the_input_names_none() {
        let order = spawned(wish("spawn:codex", r#"{"agent":"builder","args":["-x"],"model":"m"}"#, ""));
        assert_eq!((order.name.0.as_str(), order.cli.as_str()), ("builder", "codex"));
        assert_eq!((order.args, order.model), (alloc::vec!["-x".to_string()], Some("m".to_string())));
        let order = spawned(wish("spawn:codex", r#"{"name":"b","cli":"claude"}"#, ""));
        assert_eq!(order.cli, "claude");
    }

    #[test]
    fn names_and_programs_are_found_under_all_their_aliases() {
        for (input, frame_name, expected) in [
            (r#"{"name":" a "}"#, "", "a"),
            (r#"{"agent_name":"a"}"#, "", "a"),
            (r#"{"agent":"a"}"#, "", "a"),
            (r#"{"agent":{"name":"a"}}"#, "", "a"),
            (r#"{"name":"other"}"#, "a", "a"),
            (r#"{"name":"  ","agent":{"agent_name":"a"}}"#, "", "a"),
        ] {
            assert_eq!(spawned(wish("spawn:cat", input, frame_name)).name.0, expected, "{input}");
        }
        for input in
            [r#"{"cli":"x"}"#, r#"{"command":"x"}"#, r#"{"provider":"x"}"#, r#"{"agent":{"cli":"x"}}"#]
        {
            assert_eq!(spawned(wish("spawn", input, "n")).cli, "x", "{input}");
        }
        for input in [r#"{"task":"t"}"#, r#"{"initial_task":"t"}"#, r#"{"prompt":"t"}"#] {
            assert_eq!(spawned(wish("spawn:x", input, "n")).task.as_deref(), Some("t"), "{input}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_reason() {
        assert_eq!(wish("spawn:x", "{}", ""), Wish::Refused("spawn_missing_agent_name".to_string()));
        assert_eq!(wish("spawn", r#"{"name":"a"}"#, ""), Wish::Refused("spawn_missing_cli".to_string()));
        assert_eq!(wish("release", "null", ""), Wish::Refused("release_missing_agent_name".to_string()));
        assert_eq!(wish("deploy", "{}", ""), Wish::Refused("handler_unavailable".to_string()));
        assert_eq!(wish("deploy", "{}", "a"), Wish::Refused(AGENT_ACTION.to_string()));
        assert!(
            matches!(wish("spawn:x", r#"{"name":"../up"}"#, ""), Wish::Refused(error) if error.starts_with("spawn_failed: "))
        );
        assert_eq!(wish("release", r#"{"name":"a"}"#, ""), Wish::Release("a".into()));
    }
}
