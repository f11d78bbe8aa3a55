//! Routes: which method and path mean what.
//!
//! Owns: the table of routes and the step from a request to an [`ApiCall`].
//! Must not know: what a call does.
//!
//! 1. The key is judged before the path, so that a stranger learns nothing about routes.
//! 2. A path has one method.

use super::body::{Fields, invalid, missing};
use super::error::ApiError;
use super::request::{SendRequest, SnapshotFormat, SpawnRequest};
use crate::edge::percent_decode;
use crate::ids::AgentName;
use crate::input::Auth;
use crate::limits;
use alloc::format;
use alloc::string::{String, ToString};

/// What a client wants. Names in paths are looked up, not validated: an odd one is simply not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiCall {
    /// How the broker is. Needs no key.
    Health,
    /// Who the broker is.
    Session,
    /// The owner is alive.
    RenewLease,
    /// Agents, held deliveries and workspace.
    Status,
    /// Start an agent.
    Spawn(SpawnRequest),
    /// List agents.
    Agents,
    /// Stop an agent.
    Release {
        /// Which.
        name: AgentName,
        /// Why, for the record.
        reason: Option<String>,
    },
    /// Show an agent's screen.
    Snapshot {
        /// Which.
        name: AgentName,
        /// How.
        format: SnapshotFormat,
    },
    /// Type into an agent's terminal.
    Input {
        /// Which.
        name: AgentName,
        /// What, verbatim; not empty.
        data: String,
    },
    /// Change the size of an agent's terminal.
    Resize {
        /// Which.
        name: AgentName,
        /// Lines, 1 to [`limits::TERMINAL_SIDE`].
        rows: u16,
        /// Columns, 1 to [`limits::TERMINAL_SIDE`].
        cols: u16,
    },
    /// Publish a message.
    Send(SendRequest),
    /// List dead letters.
    DeadLetters,
    /// Stop the broker.
    Shutdown,
    /// Follow events.
    Events {
        /// The last sequence that the client has; 0 for none.
        since: u64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Health,
    Session,
    RenewLease,
    Status,
    Spawn,
    Agents,
    Release,
    Snapshot,
    Input,
    Resize,
    Send,
    DeadLetters,
    Shutdown,
    Events,
}

const ROUTES: [(&str, &str, Route); 14] = [
    ("GET", "/health", Route::Health),
    ("GET", "/api/session", Route::Session),
    ("POST", "/api/session/renew", Route::RenewLease),
    ("GET", "/api/status", Route::Status),
    ("POST", "/api/spawn", Route::Spawn),
    ("GET", "/api/spawned", Route::Agents),
    ("DELETE", "/api/spawned/{name}", Route::Release),
    ("GET", "/api/spawned/{name}/snapshot", Route::Snapshot),
    ("POST", "/api/input/{name}", Route::Input),
    ("POST", "/api/resize/{name}", Route::Resize),
    ("POST", "/api/send", Route::Send),
    ("GET", "/api/dead-letters", Route::DeadLetters),
    ("POST", "/api/shutdown", Route::Shutdown),
    ("GET", "/ws", Route::Events),
];

/// Turns a request into a call. `target` is path and query as they came, `upgrade` whether the client
/// wants a WebSocket.
pub(crate) fn route(
    method: &str,
    target: &str,
    upgrade: bool,
    auth: Auth,
    body: &[u8],
) -> Result<ApiCall, ApiError> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let found =
        ROUTES.iter().find_map(|(method, pattern, route)| Some((*method, *route, matched(pattern, path)?)));
    let open = matches!(found, Some((_, Route::Health, _)));
    if auth != Auth::Ok && !open {
        return Err(ApiError::unauthorized());
    }
    let Some((allowed, route, name)) = found else {
        return Err(ApiError::new(
            404,
            "not_found",
            format!("There is no \"{path}\" in this API; paths are /health, /ws and below /api"),
        ));
    };
    if method != allowed {
        return Err(ApiError::new(
            405,
            "method_not_allowed",
            format!("{path} does not take {method}; Allow: {allowed}"),
        ));
    }
    if body.len() > limits::API_BODY {
        return Err(ApiError::new(
            413,
            "body_too_large",
            format!("The body has {} bytes; at most {} are read", body.len(), limits::API_BODY),
        ));
    }
    let name = percent_decode(name).map(AgentName).ok_or_else(|| {
        ApiError::new(400, "invalid_path", format!("The name in {path} is not percent-encoded UTF-8"))
    })?;
    call(route, name, query, upgrade, body)
}

fn call(route: Route, name: AgentName, query: &str, upgrade: bool, body: &[u8]) -> Result<ApiCall, ApiError> {
    Ok(match route {
        Route::Health => ApiCall::Health,
        Route::Session => ApiCall::Session,
        Route::RenewLease => ApiCall::RenewLease,
        Route::Status => ApiCall::Status,
        Route::Spawn => ApiCall::Spawn(SpawnRequest::parse(body)?),
        Route::Agents => ApiCall::Agents,
        Route::Release => {
            let reason = Fields::parse_optional(body)
                .and_then(|mut fields| fields.filled(&["reason"]))
                .map_err(|error| error.of_spawn(Some(name.clone())))?;
            ApiCall::Release { name, reason }
        }
        Route::Snapshot => ApiCall::Snapshot {
            name,
            format: SnapshotFormat::parse(parameter(query, &["format"]).as_deref())?,
        },
        Route::Input => {
            let data = Fields::parse(body)?.text(&["data"])?;
            let data = data.filter(|data| !data.is_empty());
            ApiCall::Input { name, data: data.ok_or_else(|| missing("data"))? }
        }
        Route::Resize => {
            let mut fields = Fields::parse(body)?;
            ApiCall::Resize { name, rows: fields.required_side("rows")?, cols: fields.required_side("cols")? }
        }
        Route::Send => ApiCall::Send(SendRequest::parse(body)?),
        Route::DeadLetters => ApiCall::DeadLetters,
        Route::Shutdown => ApiCall::Shutdown,
        Route::Events if upgrade => ApiCall::Events { since: since(query)? },
        Route::Events => {
            return Err(ApiError::new(
                426,
                "upgrade_required",
                "The event stream is a WebSocket; connect with ws:// instead of http://",
            ));
        }
    })
}

/// The text in the place of `{name}` if `path` has the form of `pattern`; empty if it has no such place.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some(place) = pattern.find('{') else {
        return (pattern == path).then_some("");
    };
    let (before, after) = (&pattern[..place], &pattern[place + "{name}".len()..]);
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

fn since(query: &str) -> Result<u64, ApiError> {
    match parameter(query, &["sinceSeq", "since_seq"]) {
        None => Ok(0),
        Some(text) => text
            .parse()
            .map_err(|_| invalid(format!("Parameter \"sinceSeq\" must be a whole number, not \"{text}\""))),
    }
}

/// The first value of a query parameter. What cannot be decoded is taken as it stands.
fn parameter(query: &str, names: &[&str]) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = || percent_decode(value).unwrap_or_else(|| value.to_string());
        names.contains(&key).then(value)
    })
}

#[cfg(test)]
mod tests;
