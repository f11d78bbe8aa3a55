//! The local API's server.
//!
//! Owns: the listener, connections, requests in work, event streams.
//! Must not know: routes and bodies; the core answers.
//!
//! 1. A request that reaches the core has passed the screen for web pages, holds one of
//!    [`limits::API_REQUESTS`] permits, and is answered once or reported as gone.
//! 2. The local API key is compared here and goes no further.

use crate::credit::Credit;
use crate::flag::Flag;
use crate::inbox::{Event, Inbox};
use crate::socket::{self, Orders, Sender};
use crate::task::{spawn, within};
use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::derive_accept_key;
use async_tungstenite::tungstenite::protocol::Role;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use relay_core::ids::{RequestId, SubscriberId};
use relay_core::{Secret, limits};
use relay_driver::answer::{self, Reply};
use relay_driver::socket::{Out, config};
use smol::Timer;
use smol::channel;
use smol::future::or;
use smol::net::{TcpListener, TcpStream};
use smol_hyper::rt::{FuturesIo, SmolTimer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The loop's end of the server.
#[derive(Debug)]
pub(crate) struct Api {
    shared: Arc<Shared>,
    streams: BTreeMap<SubscriberId, Sender>,
    running: channel::Sender<Infallible>,
    /// Ends when all connections and streams have ended, each of which holds a clone of `running`.
    ends: channel::Receiver<Infallible>,
    /// Raised when the process is about to end.
    stopping: Arc<Flag>,
}

#[derive(Debug)]
struct Shared {
    inbox: Inbox,
    key: Secret,
    host: String,
    port: u16,
    ready: AtomicBool,
    last_request: AtomicU64,
    requests: AtomicUsize,
    waiting: Mutex<BTreeMap<RequestId, channel::Sender<Answer>>>,
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
    pings: channel::Sender<Out>,
    _running: channel::Sender<Infallible>,
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
            requests: AtomicUsize::new(0),
            waiting: Mutex::default(),
        });
        let (running, ends) = channel::bounded(1);
        let stopping = Arc::new(Flag::default());
        spawn(accept(listener, shared.clone(), running.clone(), stopping.clone())).detach();
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
            let _ = waiting.try_send(Answer::Reply(answer::respond(status, content_type, body)));
        }
    }

    /// Accepts a request as event stream.
    pub(crate) fn stream(&mut self, request: RequestId, subscriber: SubscriberId) {
        let (sender, orders) = socket::orders();
        let stream = Stream { subscriber, orders, pings: sender.queue(), _running: self.running.clone() };
        self.streams.insert(subscriber, sender);
        let waiting = self.shared.take(request);
        if waiting.is_none_or(|waiting| waiting.try_send(Answer::Stream(stream)).is_err()) {
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
    pub(crate) fn close(&self, subscriber: SubscriberId, code: u16, reason: &'static str) {
        if let Some(stream) = self.streams.get(&subscriber) {
            stream.close(code, reason, Instant::now() + answer::STREAM_CLOSE);
        }
    }

    /// Does what must be done before the core sees the event: drops a stream that has ended.
    pub(crate) fn settle(&mut self, event: &Event) {
        if let Event::StreamGone { subscriber } = event {
            self.streams.remove(subscriber);
        }
    }

    /// Lets answers that were given reach their clients, for a moment.
    pub(crate) async fn finish(self) {
        for stream in self.streams.values() {
            stream.close(1001, "the broker stops", Instant::now() + answer::STREAM_CLOSE);
        }
        self.stopping.set(true);
        drop(self.running);
        within(answer::LAST_WORDS, self.ends.recv()).await;
    }
}

impl Shared {
    fn take(&self, request: RequestId) -> Option<channel::Sender<Answer>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&request)
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    running: channel::Sender<Infallible>,
    stopping: Arc<Flag>,
) {
    let places = Credit::new(answer::CONNECTIONS as u32);
    loop {
        let place = places.take(1).await;
        let stopped = async {
            stopping.until(true).await;
            None
        };
        match or(stopped, async { Some(listener.accept().await) }).await {
            None => return,
            Some(Err(_)) => drop(Timer::after(answer::ACCEPT_PAUSE).await),
            Some(Ok((tcp, _))) => {
                let connection = connection(tcp, shared.clone(), stopping.clone());
                let running = running.clone();
                let serving = async move {
                    connection.await;
                    drop((place, running));
                };
                spawn(serving).detach();
            }
        }
    }
}

/// Serves one connection; at the end of the process only until the answer in work is written.
async fn connection(tcp: TcpStream, shared: Arc<Shared>, stopping: Arc<Flag>) {
    let _ = tcp.set_nodelay(true);
    let service = service_fn(|request| async { Ok::<_, Infallible>(serve(&shared, request).await) });
    let connection = http1::Builder::new()
        .timer(SmolTimer::new())
        .header_read_timeout(answer::HEAD_TIME)
        .max_buf_size(answer::HEAD)
        .serve_connection(FuturesIo::new(tcp), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let stopped = async {
        stopping.until(true).await;
        false
    };
    let served = async {
        // A client that breaks its connection is no news.
        let _ = connection.as_mut().await;
        true
    };
    if !or(served, stopped).await {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Everything about one request but its answer.
async fn serve(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Reply {
    let headers = request.headers();
    if let Some(refusal) = answer::screen(headers, &shared.host, shared.port) {
        return refusal;
    }
    if !shared.ready.load(Ordering::Relaxed) {
        return answer::starting(request.uri().path());
    }
    let Some(_place) = Place::take(&shared.requests) else {
        return answer::too_many();
    };
    let auth = answer::authorize(headers, &shared.key);
    let upgrade = answer::websocket_key(headers).map(derive_accept_key);
    let on_upgrade = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };

    let id = RequestId(shared.last_request.fetch_add(1, Ordering::Relaxed) + 1);
    let (given, answered) = channel::bounded(1);
    shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, given);
    let mut waiting = Waiting { shared, id, answered: false };
    shared.inbox.put(Event::Api {
        request: id,
        auth,
        method: head.method.as_str().to_owned(),
        target: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        upgrade: upgrade.is_some(),
        body,
    });
    let given = answered.recv().await;
    waiting.answered = true;
    match (given, upgrade, on_upgrade) {
        (Ok(Answer::Reply(reply)), ..) => reply,
        (Ok(Answer::Stream(stream)), Some(accept), Some(on_upgrade)) => {
            spawn(run_stream(shared.inbox.clone(), stream, on_upgrade)).detach();
            answer::switch(&accept)
        }
        (Ok(Answer::Stream(stream)), ..) => {
            shared.inbox.put(Event::StreamGone { subscriber: stream.subscriber });
            answer::not_upgraded()
        }
        (Err(_), ..) => answer::stopping(),
    }
}

/// A place among the requests in work.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize) -> Option<Self> {
        let place = Self(taken);
        // Dropped at once when there was none left.
        (taken.fetch_add(1, Ordering::Relaxed) < limits::API_REQUESTS).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
    match within(answer::BODY_TIME, Limited::new(body, limits::API_BODY).collect()).await {
        Some(Ok(body)) => Ok(body.to_bytes()),
        Some(Err(error)) if error.is::<LengthLimitError>() => Err(answer::too_large()),
        Some(Err(_)) => Err(answer::broken()),
        None => Err(answer::too_slow()),
    }
}

/// Moves events to one subscriber until either side ends the stream.
async fn run_stream(inbox: Inbox, stream: Stream, on_upgrade: hyper::upgrade::OnUpgrade) {
    let Stream { subscriber, orders, pings, _running } = stream;
    if let Some(socket) = upgraded(on_upgrade).await {
        let (sender, mut receiver) = socket.split();
        let drained = |bytes| inbox.put(Event::StreamDrained { subscriber, bytes });
        let pinging = async {
            loop {
                Timer::after(answer::STREAM_PING).await;
                let _ = pings.try_send(Out::Ping);
            }
        };
        // What subscribers say is read, so that their leaving is noticed, and means nothing.
        let listening = async { while socket::receive(&mut receiver).await.is_ok() {} };
        let sending = async { drop(socket::send_all(sender, orders.queue, drained).await) };
        or(or(listening, sending), or(socket::doomsday(&orders.doom), pinging)).await;
    }
    inbox.put(Event::StreamGone { subscriber });
}

/// The WebSocket that a connection has become, if it did.
async fn upgraded(on_upgrade: hyper::upgrade::OnUpgrade) -> Option<WebSocketStream<TcpStream>> {
    let parts = on_upgrade.await.ok()?.downcast::<FuturesIo<TcpStream>>().ok()?;
    let (tcp, early) = (parts.io.into_inner(), parts.read_buf.to_vec());
    Some(WebSocketStream::from_partially_read(tcp, early, Role::Server, Some(config())).await)
}
