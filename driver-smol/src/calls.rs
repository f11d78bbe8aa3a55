//! Calls: HTTP requests to the engine, as the core has built them.
//!
//! Owns: connections, and those kept for the next call. Must not know: routes, envelopes, retries.
//!
//! 1. One attempt per command. A kept connection is used only if it is still open; one that breaks
//!    under a request breaks the call.

use crate::inbox::{Event, Inbox};
use crate::stream::Stream;
use crate::task::{before, instant, spawn};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use relay_core::ids::CallId;
use relay_core::time::Mono;
use relay_core::{CallRequest, FaultKind};
use relay_driver::event::Failure;
use relay_driver::request::{answer, failure, message};
use smol_hyper::rt::FuturesIo;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A connection that nobody used for this long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections kept.
const POOL: usize = 4;

type Sender = SendRequest<Full<Bytes>>;

/// Connections without a request: since when, and where they lead.
type Pool = Arc<Mutex<Vec<(Instant, Target, Sender)>>>;

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    secure: bool,
}

/// The HTTP client.
#[derive(Debug)]
pub(crate) struct Calls {
    inbox: Inbox,
    pool: Pool,
}

impl Calls {
    /// No connections yet.
    pub(crate) fn new(inbox: Inbox) -> Self {
        Self { inbox, pool: Pool::default() }
    }

    /// Makes a call; answered by `CallDone`.
    pub(crate) fn call(&self, call: CallId, request: CallRequest, deadline: Mono) {
        let (inbox, pool) = (self.inbox.clone(), self.pool.clone());
        let deadline = instant(deadline);
        let exchange = async move {
            let result = before(deadline, exchange(&pool, request)).await;
            let result =
                result.unwrap_or_else(|| Err(Failure::new(FaultKind::Deadline, "no answer in time")));
            inbox.put(Event::CallDone { call, result });
        };
        spawn(exchange).detach();
    }
}

async fn exchange(pool: &Pool, request: CallRequest) -> Result<(u16, Bytes), Failure> {
    let mut request = message(request)?;
    let target = target(&mut request)?;
    let (sender, response) = match idle(pool, &target) {
        Some(mut kept) => match kept.try_send_request(request).await {
            Ok(response) => (kept, response),
            // The engine has closed it in this moment and has not seen the request.
            Err(mut unsent) => match unsent.take_message() {
                Some(request) => send(&target, request).await?,
                None => return Err(failure(unsent.error())),
            },
        },
        None => send(&target, request).await?,
    };
    let answered = answer(response).await?;
    keep(pool, target, sender);
    Ok(answered)
}

/// Where a request goes; its URL becomes what stands in the first line of a direct request.
fn target(request: &mut Request<Full<Bytes>>) -> Result<Target, Failure> {
    let unfit = |what: &str| Failure::new(FaultKind::Other, format!("the URL {what}"));
    let uri = request.uri().clone();
    let authority = uri.authority().ok_or_else(|| unfit("names no host"))?;
    let secure = uri.scheme_str() == Some("https");
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = HeaderValue::from_str(authority.as_str()).map_err(|_| unfit("has an odd host"))?;
    request.headers_mut().insert(HOST, name);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| unfit("has an odd path"))?;
    Ok(Target { host, port, secure })
}

/// Sends a request on a new connection.
async fn send(
    target: &Target,
    request: Request<Full<Bytes>>,
) -> Result<(Sender, Response<Incoming>), Failure> {
    let stream = Stream::connect(&target.host, target.port, target.secure).await?;
    let (mut sender, connection) =
        http1::handshake(FuturesIo::new(stream)).await.map_err(|error| failure(&error))?;
    // What ends a connection is told to the request that it had, if any.
    spawn(async { drop(connection.await) }).detach();
    let response = sender.send_request(request).await.map_err(|error| failure(&error))?;
    Ok((sender, response))
}

/// Takes an open connection out of the pool, and throws out those that are too old.
fn idle(pool: &Pool, target: &Target) -> Option<Sender> {
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    pool.retain(|(since, _, sender)| since.elapsed() < IDLE && !sender.is_closed());
    let at = pool.iter().rposition(|(_, other, sender)| other == target && sender.is_ready())?;
    Some(pool.swap_remove(at).2)
}

fn keep(pool: &Pool, target: Target, sender: Sender) {
    let mut idle = pool.lock().unwrap_or_else(PoisonError::into_inner);
    if idle.len() == POOL {
        idle.remove(0);
    }
    idle.push((Instant::now(), target, sender));
    drop(idle);
    let pool = pool.clone();
    spawn(async move {
        smol::Timer::after(IDLE).await;
        let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.retain(|(since, ..)| since.elapsed() < IDLE);
    })
    .detach();
}
