//! Calls to the broker's local API, and its event stream.
//!
//! Owns: connections, time limits, and telling apart no, no answer and no broker.
//! Must not know: what a request or an event means.
//!
//! 1. One connection per call: it is loopback, and a shared one would need care for its death.
//! 2. A call ends within its limit.

use super::discover::Target;
use super::failure::Failure;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// A question that the broker answers from memory.
pub(crate) const SHORT: Duration = Duration::from_secs(10);
/// A spawn, which the broker answers within 25 s.
pub(crate) const SPAWN: Duration = Duration::from_secs(30);
/// A publish, which the broker answers within 20 s.
pub(crate) const PUBLISH: Duration = Duration::from_secs(25);
/// Bytes of an answer that are read: thousands of agents fit.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// Pause before a closed event stream is opened again.
const REOPEN: Duration = Duration::from_millis(100);

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Path with encoded segments.
    pub(crate) path: &'a str,
    pub(crate) body: Option<Value>,
    pub(crate) limit: Duration,
    /// What is asked for, as the subject of an error message.
    pub(crate) what: &'a str,
}

impl<'a> Call<'a> {
    /// A question that changes nothing.
    pub(crate) fn get(path: &'a str, what: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, limit: SHORT, what }
    }
}

/// The local API of one broker.
pub(crate) struct Api {
    target: Target,
}

impl Api {
    pub(crate) fn new(target: Target) -> Self {
        Self { target }
    }

    /// Where the broker listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.target.authority)
    }

    /// The broker's answer; an empty one is null, `success: false` a refusal whatever the status.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Value, Failure> {
        let (what, limit) = (call.what, call.limit);
        let (status, body) = match timeout(limit, self.exchange(call)).await {
            Ok(done) => done?,
            Err(_) => {
                let message = format!("{what}: no answer from {} within {} s", self.url(), limit.as_secs());
                return Err(Failure::timed_out("no_answer", message)
                    .advise("what was asked for may still happen: look before you repeat it"));
            }
        };
        if !(200..300).contains(&status) {
            return Err(Failure::of_answer(what, status, &body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|_| {
            let message = format!("{what}: the answer of {} is not JSON", self.url());
            Failure::refused("not_a_broker", message).advise("check that a relay broker listens there")
        })?;
        if answer.get("success") == Some(&Value::Bool(false)) {
            return Err(Failure::of_answer(what, status, &body));
        }
        Ok(answer)
    }

    async fn exchange(&self, call: Call<'_>) -> Result<(u16, Bytes), Failure> {
        let lost = |error: &dyn std::fmt::Display| lost(call.what, &self.url(), error);
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| lost(&error))?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(HOST, self.target.authority.as_str())
            .header("x-api-key", self.key()?);
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = call.body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request.body(Full::new(body)).expect("the path is encoded");
        let answer = sender.send_request(request).await.map_err(|error| lost(&error))?;
        let status = answer.status().as_u16();
        let body =
            Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|error| lost(&error))?;
        Ok((status, body.to_bytes()))
    }

    async fn connect(&self) -> Result<TcpStream, Failure> {
        let authority = &self.target.authority;
        let port = authority.port_u16().unwrap_or(80);
        let address = format!("{}:{port}", authority.host());
        let stream = TcpStream::connect(&address).await.map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
                _ => error.to_string(),
            };
            Failure::no_broker(format!("cannot reach the broker at {}: {why}", self.url()))
        })?;
        Ok(stream)
    }

    fn key(&self) -> Result<HeaderValue, Failure> {
        let mut value = HeaderValue::from_str(self.target.key.expose())
            .map_err(|_| Failure::usage("the API key has characters that no key has"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn lost(what: &str, url: &str, error: &dyn std::fmt::Display) -> Failure {
    let message = format!("{what}: the connection to {url} broke before the answer: {error}");
    Failure { code: "connection_lost".to_owned(), ..Failure::no_broker(message) }
        .advise("the broker may have acted: look with `relay-broker status` and `relay-broker ls`")
}

/// The broker's events from the oldest that it still has, each once.
pub(crate) struct Events<'a> {
    api: &'a Api,
    socket: Option<WebSocketStream<TcpStream>>,
    /// The last numbered event that was returned; a new socket goes on behind it.
    seen: u64,
}

impl<'a> Events<'a> {
    /// Opens the stream; from then on no event is missed while the broker lives.
    pub(crate) async fn open(api: &'a Api) -> Result<Self, Failure> {
        let mut events = Self { api, socket: None, seen: 0 };
        events.reopen().await?;
        Ok(events)
    }

    async fn reopen(&mut self) -> Result<(), Failure> {
        let url = format!("ws://{}/ws?sinceSeq={}", self.api.target.authority, self.seen);
        let mut request = url.into_client_request().expect("an authority makes a URL");
        request.headers_mut().insert("x-api-key", self.api.key()?);
        let what = "event stream";
        let upgrade = async {
            let stream = self.api.connect().await?;
            client_async(request, stream).await.map_err(|error| match error {
                WsError::Http(answer) => {
                    let body = answer.body().as_deref().unwrap_or_default();
                    Failure::of_answer(what, answer.status().as_u16(), body)
                }
                error => lost(what, &self.api.url(), &error),
            })
        };
        let (socket, _) = timeout(SHORT, upgrade).await.map_err(|_| {
            Failure::timed_out("no_answer", format!("{what}: no answer from {}", self.api.url()))
        })??;
        self.socket = Some(socket);
        Ok(())
    }

    /// The next event. A stream that breaks is opened again; it fails only when the broker is gone.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Value, Failure> {
        loop {
            let Some(socket) = &mut self.socket else {
                sleep(REOPEN).await;
                self.reopen().await?;
                continue;
            };
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let Ok(event) = serde_json::from_str::<Value>(&text) else {
                        continue;
                    };
                    if let Some(seq) = event.get("seq").and_then(Value::as_u64) {
                        self.seen = self.seen.max(seq);
                    }
                    return Ok(event);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.socket = None,
            }
        }
    }
}

/// `text` as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::failure::Class;
    use super::super::test_broker::{Reply, TestBroker};
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_call_carries_key_host_and_body_and_gives_the_answer() {
        let broker = TestBroker::start(vec![Reply::json(200, &json!({"name": "a b"}))]).await;
        let api = broker.api();
        let path = format!("/api/input/{}", segment("a b/ü"));
        let call = Call {
            method: Method::POST,
            path: &path,
            body: Some(json!({"data": "x"})),
            ..Call::get("", "input")
        };
        assert_eq!(api.call(call).await.unwrap(), json!({"name": "a b"}));
        let request = broker.requests().remove(0);
        assert!(request.starts_with("POST /api/input/a%20b%2F%C3%BC HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("x-api-key: br_test\r\n"), "{request}");
        assert!(request.contains(&format!("host: {}\r\n", broker.address())), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"data\":\"x\"}"), "{request}");
    }

    #[tokio::test]
    async fn no_listener_is_no_broker() {
        let api = TestBroker::nobody().await;
        let failure = api.call(Call::get("/health", "status")).await.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (Class::NoBroker, "no_broker"));
        assert!(failure.message.contains("nothing listens there"), "{}", failure.message);
    }

    #[tokio::test]
    async fn a_broker_that_hangs_up_may_have_acted() {
        let broker = TestBroker::start(vec![Reply::HangUp]).await;
        let failure = broker.api().call(Call::get("/health", "status")).await.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (Class::NoBroker, "connection_lost"));
        assert!(failure.advice.unwrap().contains("may have acted"));
    }

    #[tokio::test]
    async fn silence_is_a_time_out() {
        let broker = TestBroker::start(vec![Reply::Silence]).await;
        let call = Call { limit: Duration::from_millis(50), ..Call::get("/api/status", "status") };
        assert_eq!(broker.api().call(call).await.unwrap_err().class, Class::TimedOut);
    }

    #[tokio::test]
    async fn success_false_is_a_refusal_even_with_status_200() {
        let broker =
            TestBroker::start(vec![Reply::json(200, &json!({"success": false, "error": "no"}))]).await;
        let failure = broker.api().call(Call::get("/api/spawned", "list")).await.unwrap_err();
        assert_eq!((failure.class, failure.message.as_str()), (Class::Refused, "list: no"));
    }

    #[tokio::test]
    async fn another_service_on_the_port_is_told_apart() {
        let broker = TestBroker::start(vec![Reply::text(200, "<html>")]).await;
        let failure = broker.api().call(Call::get("/health", "status")).await.unwrap_err();
        assert_eq!(failure.code, "not_a_broker");
    }

    #[tokio::test]
    async fn a_broken_event_stream_goes_on_behind_the_last_event() {
        let broker = TestBroker::start(vec![
            Reply::events(&[json!({"kind": "a", "seq": 7})]),
            Reply::events(&[json!({"kind": "b", "seq": 8})]),
        ])
        .await;
        let api = broker.api();
        let mut events = Events::open(&api).await.unwrap();
        assert_eq!(events.next().await.unwrap()["kind"], "a");
        assert_eq!(events.next().await.unwrap()["kind"], "b");
        let requests = broker.requests();
        assert!(requests[0].starts_with("GET /ws?sinceSeq=0 "), "{}", requests[0]);
        assert!(requests[1].starts_with("GET /ws?sinceSeq=7 "), "{}", requests[1]);
    }

    #[tokio::test]
    async fn a_refused_event_stream_gives_the_brokers_reason() {
        let refusal = json!({"error": {"code": "unauthorized", "message": "wrong key"}});
        let broker = TestBroker::start(vec![Reply::json(401, &refusal)]).await;
        let failure = Events::open(&broker.api()).await.err().unwrap();
        assert_eq!((failure.class, failure.code.as_str()), (Class::Refused, "unauthorized"));
    }
}
