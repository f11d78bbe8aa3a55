//! Answers, and what an error looks like on each route.
//!
//! Owns: [`Reply`], [`ApiError`], the shapes of error bodies (`core/PROTOCOL.md` §9).
//! Must not know: which route failed why.
//!
//! 1. Every error has a stable `code` for programs and a sentence for people.
//! 2. Messages may quote peers: every body is masked before it leaves.

use crate::ids::AgentName;
use crate::secret::mask;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use serde::Serialize;

/// An answer to a request, ready for `Command::ApiReply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `application/json` or `text/plain`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Reply {
    /// A 200 with this view as JSON.
    pub(crate) fn ok(view: &impl Serialize) -> Self {
        Self::json(200, view)
    }

    fn json(status: u16, view: &impl Serialize) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: serde_json::to_string(view).expect("views have string keys and finite numbers"),
        }
    }
}

/// A request that cannot be answered as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// Stable identifier for programs; ours, or the engine's when it refused.
    pub code: Cow<'static, str>,
    /// A sentence for people: what failed, on what, what to do.
    pub message: String,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// `{code, message}`.
    Plain,
    /// `{success: false, name?, error, code}`.
    Spawn(Option<AgentName>),
    /// `{error: {code, message, retryable, statusCode}}`.
    Nested,
}

impl ApiError {
    /// An error of an ordinary route.
    pub(crate) fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), shape: Shape::Plain }
    }

    /// The same in the shape of the spawn and release routes, with the agent's name if it is known.
    #[must_use]
    pub(crate) fn of_spawn(self, name: Option<AgentName>) -> Self {
        Self { shape: Shape::Spawn(name), ..self }
    }

    /// The key is missing or wrong.
    pub(crate) fn unauthorized() -> Self {
        Self { shape: Shape::Nested, ..Self::new(401, "unauthorized", "Missing or invalid API key") }
    }

    /// There is no such agent.
    pub(crate) fn agent_not_found(name: &str) -> Self {
        Self::new(
            404,
            "agent_not_found",
            format!("Agent \"{name}\" not found; GET /api/spawned lists the agents of this broker"),
        )
    }

    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        let message = mask(&self.message);
        match &self.shape {
            Shape::Plain => Reply::json(self.status, &PlainBody { code: &self.code, message: &message }),
            Shape::Spawn(name) => Reply::json(
                self.status,
                &SpawnBody {
                    success: false,
                    name: name.as_ref().map(|name| mask(&name.0)),
                    error: &message,
                    code: &self.code,
                },
            ),
            Shape::Nested => Reply::json(
                self.status,
                &NestedBody {
                    error: NestedError {
                        code: &self.code,
                        message: &message,
                        retryable: false,
                        status_code: self.status,
                    },
                },
            ),
        }
    }
}

#[derive(Serialize)]
struct PlainBody<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct SpawnBody<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    error: &'a str,
    code: &'a str,
}

#[derive(Serialize)]
struct NestedBody<'a> {
    error: NestedError<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NestedError<'a> {
    code: &'a str,
    message: &'a str,
    retryable: bool,
    status_code: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_its_exact_body() {
        let error = ApiError::new(409, "taken", "try \"b\"");
        let cases = [
            (error.clone(), 409, r#"{"code":"taken","message":"try \"b\""}"#),
            (error.clone().of_spawn(None), 409, r#"{"success":false,"error":"try \"b\"","code":"taken"}"#),
            (
                error.of_spawn(Some("a".into())),
                409,
                r#"{"success":false,"name":"a","error":"try \"b\"","code":"taken"}"#,
            ),
            (
                ApiError::unauthorized(),
                401,
                r#"{"error":{"code":"unauthorized","message":"Missing or invalid API key","retryable":false,"statusCode":401}}"#,
            ),
        ];
        for (error, status, body) in cases {
            let reply = error.reply();
            assert_eq!(
                (reply.status, reply.content_type, reply.body.as_str()),
                (status, "application/json", body)
            );
        }
    }

    #[test]
    fn a_quoted_credential_never_leaves() {
        let reply = ApiError::new(502, "bad", "the engine said: rk_live_0123456789 is wrong").reply();
        assert!(reply.body.contains("rk_live_*** is wrong"), "{}", reply.body);
    }

    #[test]
    fn an_unknown_agent_is_named_in_the_words_clients_look_for() {
        let reply = ApiError::agent_not_found("x").reply();
        assert_eq!(reply.status, 404);
        assert!(ApiError::agent_not_found("x").message.starts_with("Agent \"x\" not found"));
    }
}
