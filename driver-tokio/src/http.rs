//! The local API's server.
//!
//! Owns: the listener, limits on what clients may send, the 503 before the broker is ready, the
//! upgrade to event streams. Must not know: routes and bodies; the core answers.
//!
//! 1. A request that reaches the core has passed the screen for web pages, holds one of
//!    [`limits::API_REQUESTS`] permits, and is answered once or reported as gone.
//! 2. The local API key is compared here and goes no further.

use crate::event::{Event, Inbox};
use crate::socket::{self, Orders, Out};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use relay_core::ids::{RequestId, SubscriberId};
use relay_core::{Secret, edge, limits};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// For the head of a request. An idle connection ends after it, too, so it is longer than clients keep
/// theirs: a request must not meet a connection that is being closed.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// For the body of a request.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Connections at once: a few more than requests, so that the refusal can be said.
const CONNECTIONS: usize = limits::API_REQUESTS + 64;
/// Pause after an accept that failed, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A stream without traffic is probed this often.
const STREAM_PING: Duration = Duration::from_secs(30);
/// The close handshake of a stream.
const STREAM_CLOSE: Duration = Duration::from_secs(1);
/// For the last answers, at the end of the process.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Longest head of a request, in bytes.
const HEAD: usize = 64 * 1024;

const JSON: &str = "application/json";

pub(crate) type Reply = Response<Full<Bytes>>;

/// The loop's end of the server.
#[derive(Debug)]
pub(crate) struct Api {
    shared: Arc<Shared>,
    streams: BTreeMap<SubscriberId, socket::Sender>,
    running: mpsc::Sender<Infallible>,
    /// Ends when all connections and streams have ended, each of which holds a clone of `running`.
    ends: mpsc::Receiver<Infallible>,
    /// True when the process is about to end.
    stopping: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    inbox: Inbox,
    key: Secret,
    host: String,
    port: u16,
    ready: AtomicBool,
    last_request: AtomicU64,
    requests: Semaphore,
    waiting: Mutex<BTreeMap<RequestId, oneshot::Sender<Answer>>>,
}

#[derive(Debug)]
enum Answer {
    Reply(Reply),
    Stream(Stream),
}

#[derive(Debug)]
struct Stream {
    subscriber: SubscriberId,
    orders: Orders,
    pings: mpsc::UnboundedSender<Out>,
    _running: mpsc::Sender<Infallible>,
}

impl Api {
    /// Serves on `listener`, which is bound to `host`. Until [`Api::ready`], only `/health` is answered.
    pub(crate) fn serve(listener: TcpListener, host: String, port: u16, key: Secret, inbox: Inbox) -> Self {
        let shared = Arc::new(Shared {
            inbox,
            key,
            host,
            port,
            ready: AtomicBool::new(false),
            last_request: AtomicU64::new(0),
            requests: Semaphore::new(limits::API_REQUESTS),
            waiting: Mutex::default(),
        });
        let (running, ends) = mpsc::channel(1);
        let (stopping, stop) = watch::channel(false);
        tokio::spawn(accept(listener, shared.clone(), running.clone(), stop));
        Self { shared, streams: BTreeMap::new(), running, ends, stopping }
    }

    /// From now on requests go to the core.
    pub(crate) fn ready(&self) {
        self.shared.ready.store(true, Ordering::Relaxed);
    }

    /// Answers a request.
    pub(crate) fn reply(&self, request: RequestId, status: u16, content_type: &'static str, body: String) {
        let status = StatusCode::from_u16(status).expect("the core knows its status codes");
        if let Some(waiting) = self.shared.take(request) {
            let _ = waiting.send(Answer::Reply(respond(status, content_type, body)));
        }
    }

    /// Accepts a request as event stream.
    pub(crate) fn stream(&mut self, request: RequestId, subscriber: SubscriberId) {
        let (sender, orders) = socket::orders();
        let stream = Stream { subscriber, orders, pings: sender.queue(), _running: self.running.clone() };
        self.streams.insert(subscriber, sender);
        let waiting = self.shared.take(request);
        if waiting.is_none_or(|waiting| waiting.send(Answer::Stream(stream)).is_err()) {
            self.shared.inbox.put(Event::StreamGone { subscriber });
        }
    }

    /// Queues something on a stream.
    pub(crate) fn send(&self, subscriber: SubscriberId, text: String) {
        if let Some(stream) = self.streams.get(&subscriber) {
            stream.send(Out::Text(text));
        }
    }

    /// Closes a stream; answered by `StreamGone`.
    pub(crate) fn close(&mut self, subscriber: SubscriberId, code: u16, reason: &'static str) {
        if let Some(stream) = self.streams.get_mut(&subscriber) {
            stream.close(code, reason, Instant::now() + STREAM_CLOSE);
        }
    }

    /// Does what must be done before the core sees the event: drops a stream that has ended.
    pub(crate) fn settle(&mut self, event: &Event) {
        if let Event::StreamGone { subscriber } = event {
            self.streams.remove(subscriber);
        }
    }

    /// Lets answers that were given reach their clients, for a moment.
    pub(crate) async fn finish(mut self) {
        for stream in self.streams.values_mut() {
            stream.close(1001, "the broker stops", Instant::now() + STREAM_CLOSE);
        }
        self.stopping.send_replace(true);
        drop(self.running);
        let _ = timeout(LAST_WORDS, self.ends.recv()).await;
    }
}

impl Shared {
    fn take(&self, request: RequestId) -> Option<oneshot::Sender<Answer>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&request)
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    running: mpsc::Sender<Infallible>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Err(_) => sleep(ACCEPT_PAUSE).await,
            Ok((tcp, _)) => {
                let (connection, running) = (connection(tcp, shared.clone(), stop.clone()), running.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop((place, running));
                });
            }
        }
    }
}

/// Serves one connection; at the end of the process only until the answer in work is written.
async fn connection(tcp: TcpStream, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let _ = tcp.set_nodelay(true);
    let service = service_fn(|request| async { Ok::<_, Infallible>(serve(&shared, request).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(tcp), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that breaks its connection is no news.
        _ = &mut connection => return,
        _ = stop.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Everything about one request but its answer.
async fn serve(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Reply {
    let headers = request.headers();
    // An origin that cannot be read is not the absence of one.
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let host = text(headers, header::HOST);
    if let Err(rejection) = edge::screen(host, origin, &shared.host, shared.port) {
        let status = StatusCode::from_u16(rejection.status).unwrap_or(StatusCode::FORBIDDEN);
        return respond(status, JSON, rejection.body);
    }
    if !shared.ready.load(Ordering::Relaxed) {
        return starting(request.uri().path());
    }
    let Ok(_permit) = shared.requests.try_acquire() else {
        let message = format!("{} requests are in work already; try again", limits::API_REQUESTS);
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too_many_requests", &message);
    };
    let key = text(headers, HeaderName::from_static("x-api-key"));
    let auth = edge::authorize(key, text(headers, header::AUTHORIZATION), &shared.key);
    let upgrade = websocket_key(headers).map(derive_accept_key);
    let on_upgrade = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };

    let id = RequestId(shared.last_request.fetch_add(1, Ordering::Relaxed) + 1);
    let (answer, answered) = oneshot::channel();
    shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
    let mut waiting = Waiting { shared, id, answered: false };
    shared.inbox.put(Event::Api {
        request: id,
        auth,
        method: head.method.as_str().to_owned(),
        target: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        upgrade: upgrade.is_some(),
        body,
    });
    let answer = answered.await;
    waiting.answered = true;
    match (answer, upgrade, on_upgrade) {
        (Ok(Answer::Reply(reply)), ..) => reply,
        (Ok(Answer::Stream(stream)), Some(accept), Some(on_upgrade)) => {
            tokio::spawn(run_stream(shared.inbox.clone(), stream, on_upgrade));
            switch(&accept)
        }
        (Ok(Answer::Stream(stream)), ..) => {
            shared.inbox.put(Event::StreamGone { subscriber: stream.subscriber });
            refuse(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this is a WebSocket")
        }
        (Err(_), ..) => refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the broker is stopping"),
    }
}

/// Reports a client that went away: hyper then drops the future that holds this.
struct Waiting<'a> {
    shared: &'a Shared,
    id: RequestId,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered && self.shared.take(self.id).is_some() {
            self.shared.inbox.put(Event::ApiGone { request: self.id });
        }
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, Reply> {
    match timeout(BODY_TIME, Limited::new(body, limits::API_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("a request body may have {} bytes", limits::API_BODY);
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message))
        }
        Ok(Err(_)) => Err(refuse(StatusCode::BAD_REQUEST, "invalid_request", "the body is broken")),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time")),
    }
}

/// Moves events to one subscriber until either side ends the stream.
async fn run_stream(inbox: Inbox, stream: Stream, on_upgrade: hyper::upgrade::OnUpgrade) {
    let Stream { subscriber, orders, pings, _running } = stream;
    if let Ok(upgraded) = on_upgrade.await {
        let config = Some(socket::config());
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, config).await;
        let (sink, mut messages) = socket.split();
        let drained = |bytes| inbox.put(Event::StreamDrained { subscriber, bytes });
        let pinging = async {
            loop {
                sleep(STREAM_PING).await;
                let _ = pings.send(Out::Ping);
            }
        };
        tokio::select! {
            // What subscribers say is read, so that their leaving is noticed, and means nothing.
            () = async { while socket::receive(&mut messages).await.is_ok() {} } => {}
            _ = socket::send_all(sink, orders.queue, drained) => {}
            () = socket::doomsday(orders.doom) => {}
            () = pinging => {}
        }
    }
    inbox.put(Event::StreamGone { subscriber });
}

/// A header as text.
pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The key of a WebSocket upgrade request, if it is one.
fn websocket_key(headers: &HeaderMap) -> Option<&[u8]> {
    let upgrade = text(headers, header::UPGRADE)?.eq_ignore_ascii_case("websocket");
    let version = text(headers, header::SEC_WEBSOCKET_VERSION)? == "13";
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    (upgrade && version).then_some(key.as_bytes())
}

/// The answer to a WebSocket upgrade.
pub(crate) fn switch(accept: &str) -> Reply {
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Full::default())
        .expect("base64 fits into a header")
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Reply {
    respond(status, JSON, serde_json::json!({ "code": code, "message": message }).to_string())
}

/// The answers before the broker is ready (`core/PROTOCOL.md` §9): clients wait while they see a 503
/// whose body is not JSON.
fn starting(path: &str) -> Reply {
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

#[cfg(test)]
mod tests;
