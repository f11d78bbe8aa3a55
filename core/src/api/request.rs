//! What a client asks for: the bodies of spawn and send, and small choices.
//!
//! Owns: accepted names and values of request fields (`core/PROTOCOL.md` §9).
//! Must not know: which agents exist.
//!
//! 1. Everything here is checked: a name is valid, a directory absolute, a text not blank.
//! 2. Nothing can carry a NUL into a program's arguments or environment.

use super::body::{Fields, invalid};
use super::error::ApiError;
use super::name::{NameError, validate_agent_name, validate_channel_name};
use crate::ids::AgentName;
use crate::limits;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// An agent to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpawnRequest {
    /// Its name.
    pub name: AgentName,
    /// The program; `claude` when the client named none.
    pub cli: String,
    /// Arguments of the program.
    pub args: Vec<String>,
    /// Absolute working directory; the broker's own when `None`.
    pub cwd: Option<String>,
    /// First text to type, not blank.
    pub task: Option<String>,
    /// Model, as the client calls it.
    pub model: Option<String>,
    /// Channels without their `#`.
    pub channels: Vec<String>,
    /// More environment.
    pub env: BTreeMap<String, String>,
    /// Terminal lines.
    pub rows: u16,
    /// Terminal columns.
    pub cols: u16,
    /// The harness's own session, for the engine's record.
    pub session_ref: Option<String>,
}

impl SpawnRequest {
    /// Reads the body of `POST /api/spawn`.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let named = || -> Result<(AgentName, Fields), ApiError> {
            let mut fields = Fields::parse(body)?;
            let name = fields.required(&["name"])?;
            let name = validate_agent_name(&name).map_err(|error| bad_name("name", error))?;
            Ok((name, fields))
        };
        let (name, fields) = named().map_err(|error| error.of_spawn(None))?;
        Self::named(name.clone(), fields).map_err(|error| error.of_spawn(Some(name)))
    }

    fn named(name: AgentName, mut fields: Fields) -> Result<Self, ApiError> {
        if fields.has(&["harness_id", "harnessId"]) {
            return Err(invalid("harnessId is not supported; give cli and args, or harnessConfig".into()));
        }
        check_runtime(fields.filled(&["transport", "runtime"])?)?;
        apply_harness(&mut fields)?;
        let request = Self {
            name,
            cli: fields.filled(&["cli"])?.unwrap_or_else(|| "claude".into()),
            args: fields.texts("args")?,
            cwd: fields.filled(&["cwd"])?,
            task: fields.filled(&["task"])?,
            model: fields.filled(&["model"])?,
            channels: fields
                .texts("channels")?
                .iter()
                .map(|channel| validate_channel_name(channel).map_err(|e| bad_name("channels", e)))
                .collect::<Result<_, _>>()?,
            env: fields.map("env")?,
            rows: fields.side("rows")?.unwrap_or(limits::ROWS),
            cols: fields.side("cols")?.unwrap_or(limits::COLS),
            session_ref: fields.filled(&["sessionId", "session_id", "sessionRef", "session_ref"])?,
        };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), ApiError> {
        if let Some(cwd) = self.cwd.as_ref().filter(|cwd| !cwd.starts_with('/')) {
            return Err(invalid(format!("Field \"cwd\" must be an absolute path, not \"{cwd}\"")));
        }
        let nul = |text: &String| text.contains('\0');
        let with_nul = [
            ("cli", nul(&self.cli)),
            ("args", self.args.iter().any(nul)),
            ("cwd", self.cwd.as_ref().is_some_and(nul)),
            ("env", self.env.iter().any(|(key, value)| nul(key) || nul(value))),
        ];
        if let Some((field, _)) = with_nul.iter().find(|(_, found)| *found) {
            return Err(invalid(format!("Field \"{field}\" contains a NUL character")));
        }
        if let Some(key) = self.env.keys().find(|key| key.is_empty() || key.contains('=')) {
            return Err(invalid(format!(
                "Field \"env\" has the variable name \"{key}\"; names are not empty and have no ="
            )));
        }
        Ok(())
    }
}

/// Agents run on a terminal here; a client that wants another runtime must learn that it will not get
/// it.
fn check_runtime(runtime: Option<String>) -> Result<(), ApiError> {
    match runtime.as_deref() {
        None | Some("pty") => Ok(()),
        Some(other) => Err(ApiError::new(
            400,
            "unsupported_runtime",
            format!("Runtime \"{other}\" is not supported; this broker runs agents on a terminal (\"pty\")"),
        )),
    }
}

/// A harness configuration says the same as the plain fields, and wins over them.
fn apply_harness(fields: &mut Fields) -> Result<(), ApiError> {
    let names = ["harnessConfig", "harness_config", "harnessPlan", "harness_plan"];
    let Some(mut harness) = fields.object(&names)? else {
        return Ok(());
    };
    check_runtime(harness.filled(&["runtime"])?)?;
    for (plain, configured) in
        [("cli", "command"), ("args", "args"), ("cwd", "cwd"), ("env", "env"), ("sessionId", "sessionId")]
    {
        fields.replace(plain, &mut harness, configured);
    }
    Ok(())
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SendRequest {
    /// To whom.
    pub to: Target,
    /// What; not blank.
    pub text: String,
    /// Who speaks, as the client says; may be none of our agents.
    pub from: Option<String>,
    /// The message or thread that this answers.
    pub thread_id: Option<String>,
    /// When the receiver may be disturbed.
    pub mode: SendMode,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One agent.
    Agent(AgentName),
    /// A channel, without its `#`.
    Channel(String),
}

/// When a message is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum SendMode {
    /// When the agent is ready.
    #[default]
    Wait,
    /// At once, interrupting it.
    Steer,
}

impl SendMode {
    /// Its name on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Steer => "steer",
        }
    }
}

impl SendRequest {
    /// Reads the body of `POST /api/send`.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        Ok(Self {
            to: target(&fields.required(&["to"])?)?,
            text: fields.required(&["text", "message", "body", "content"])?,
            from: fields.filled(&["from"])?,
            thread_id: fields.filled(&["threadId", "thread_id", "thread"])?,
            mode: mode(fields.filled(&["mode", "injectionMode", "injection_mode"])?)?,
        })
    }
}

fn target(to: &str) -> Result<Target, ApiError> {
    if to.starts_with('#') {
        let channel = validate_channel_name(to).map_err(|error| bad_name("to", error))?;
        return Ok(Target::Channel(channel));
    }
    let name = to.strip_prefix('@').unwrap_or(to);
    let name = validate_agent_name(name).map_err(|error| bad_name("to", error))?;
    Ok(Target::Agent(name))
}

fn mode(mode: Option<String>) -> Result<SendMode, ApiError> {
    match mode.as_deref() {
        None | Some("wait") => Ok(SendMode::Wait),
        Some("steer") => Ok(SendMode::Steer),
        Some(other) => Err(ApiError::new(
            400,
            "invalid_mode",
            format!("Mode \"{other}\" is not known; use \"wait\" or \"steer\""),
        )),
    }
}

fn bad_name(field: &str, error: NameError) -> ApiError {
    ApiError::new(400, "invalid_name", format!("Field \"{field}\": {error}"))
}

/// How a screen is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotFormat {
    /// Lines of text.
    Plain,
    /// The bytes that would draw it.
    Ansi,
}

impl SnapshotFormat {
    /// The format of this name; plain when the client named none.
    pub(super) fn parse(format: Option<&str>) -> Result<Self, ApiError> {
        match format {
            None | Some("plain" | "text") => Ok(Self::Plain),
            Some("ansi") => Ok(Self::Ansi),
            Some(other) => Err(ApiError::new(
                400,
                "invalid_format",
                format!("Format \"{other}\" is not known; use \"plain\" or \"ansi\""),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
