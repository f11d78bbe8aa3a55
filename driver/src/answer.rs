//! Answers of the local API's server that the core does not give, and what it allows its clients.
//!
//! Owns: limits and times of connections, refusals before a request reaches the core, the answers
//! while it does not exist yet, the upgrade.
//! Must not know: routes and bodies; the core answers. Who moves the bytes.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use relay_core::{Auth, Secret, edge, limits};
use std::time::Duration;

/// For the head of a request. An idle connection ends after it, too, so it is longer than clients keep
/// theirs: a request must not meet a connection that is being closed.
pub const HEAD_TIME: Duration = Duration::from_secs(75);
/// For the body of a request.
pub const BODY_TIME: Duration = Duration::from_secs(10);
/// Connections at once: a few more than requests, so that the refusal can be said.
pub const CONNECTIONS: usize = limits::API_REQUESTS + 64;
/// Pause after an accept that failed, for instance for want of descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A stream without traffic is probed this often.
pub const STREAM_PING: Duration = Duration::from_secs(30);
/// The close handshake of a stream.
pub const STREAM_CLOSE: Duration = Duration::from_secs(1);
/// For the last answers, at the end of the process.
pub const LAST_WORDS: Duration = Duration::from_millis(500);

/// Longest head of a request, in bytes.
pub const HEAD: usize = 64 * 1024;

const JSON: &str = "application/json";

/// A whole answer.
pub type Reply = Response<Full<Bytes>>;

/// The answer to a request that a web page may have made (`core/PROTOCOL.md` §9); `None` lets it through.
pub fn screen(headers: &HeaderMap, host: &str, port: u16) -> Option<Reply> {
    // An origin that cannot be read is not the absence of one.
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let rejection = edge::screen(text(headers, header::HOST), origin, host, port).err()?;
    let status = StatusCode::from_u16(rejection.status).unwrap_or(StatusCode::FORBIDDEN);
    Some(respond(status, JSON, rejection.body))
}

/// What the key of a request is worth.
pub fn authorize(headers: &HeaderMap, key: &Secret) -> Auth {
    let given = text(headers, HeaderName::from_static("x-api-key"));
    edge::authorize(given, text(headers, header::AUTHORIZATION), key)
}

/// The answer when [`limits::API_REQUESTS`] requests are in work.
pub fn too_many() -> Reply {
    let message = format!("{} requests are in work already; try again", limits::API_REQUESTS);
    refuse(StatusCode::SERVICE_UNAVAILABLE, "too_many_requests", &message)
}

/// The answer to a body longer than [`limits::API_BODY`].
pub fn too_large() -> Reply {
    let message = format!("a request body may have {} bytes", limits::API_BODY);
    refuse(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message)
}

/// The answer to a body that broke off.
pub fn broken() -> Reply {
    refuse(StatusCode::BAD_REQUEST, "invalid_request", "the body is broken")
}

/// The answer to a body that did not come in [`BODY_TIME`].
pub fn too_slow() -> Reply {
    refuse(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time")
}

/// The answer to a plain request for an event stream.
pub fn not_upgraded() -> Reply {
    refuse(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this is a WebSocket")
}

/// The answer when the broker ends before it has given one.
pub fn stopping() -> Reply {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the broker is stopping")
}

/// A header as text.
pub fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The key of a WebSocket upgrade request, if it is one.
pub fn websocket_key(headers: &HeaderMap) -> Option<&[u8]> {
    let upgrade = text(headers, header::UPGRADE)?.eq_ignore_ascii_case("websocket");
    let version = text(headers, header::SEC_WEBSOCKET_VERSION)? == "13";
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    (upgrade && version).then_some(key.as_bytes())
}

/// The answer to a WebSocket upgrade.
pub fn switch(accept: &str) -> Reply {
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Full::default())
        .expect("base64 fits into a header")
}

/// An answer.
pub fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A refusal with a stable code, and a sentence for people.
pub fn refuse(status: StatusCode, code: &str, message: &str) -> Reply {
    respond(status, JSON, serde_json::json!({ "code": code, "message": message }).to_string())
}

/// The answers before the broker is ready (`core/PROTOCOL.md` §9): clients wait while they see a 503
/// whose body is not JSON.
pub fn starting(path: &str) -> Reply {
    let mut reply = if path == "/health" {
        let health = serde_json::json!({
            "status": "ok",
            "service": "agent-relay-listen",
            "version": env!("CARGO_PKG_VERSION"),
            "uptimeMs": 0,
            "workspaceId": "ws_unknown",
            "defaultWorkspaceId": null,
            "memberships": [],
            "agentCount": 0,
            "pendingDeliveryCount": 0,
            "wsConnections": 0,
            "memoryMb": 0,
            "relaycastConnected": false,
        });
        respond(StatusCode::OK, JSON, health.to_string())
    } else {
        respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "Broker is starting, please retry")
    };
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}
