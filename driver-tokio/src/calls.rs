//! Calls: HTTP requests to the engine, as the core has built them.
//!
//! Owns: the client and its pooled connections. Must not know: routes, envelopes, retries.
//!
//! 1. One attempt per command. A redirect is an answer like any other: a credential never follows one.
//! 2. The client is built on first use.

use crate::clock;
use crate::event::{Event, Failure, Inbox};
use crate::{net, tls};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use relay_core::ids::CallId;
use relay_core::time::Mono;
use relay_core::{CallRequest, FaultKind, limits};
use std::error::Error;
use std::time::Duration;
use tokio::time::timeout_at;

/// A connection that nobody used for this long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// Idle connections kept.
const POOL: usize = 4;

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The HTTP client.
#[derive(Debug)]
pub(crate) struct Calls {
    inbox: Inbox,
    client: Option<HttpClient>,
}

impl Calls {
    /// Nothing is built yet.
    pub(crate) const fn new(inbox: Inbox) -> Self {
        Self { inbox, client: None }
    }

    /// Makes a call; answered by `CallDone`.
    pub(crate) fn call(&mut self, call: CallId, request: CallRequest, deadline: Mono) {
        let client = self.client.get_or_insert_with(build).clone();
        let inbox = self.inbox.clone();
        let deadline = clock::instant(deadline);
        tokio::spawn(async move {
            let result = timeout_at(deadline, exchange(client, request)).await;
            let result =
                result.unwrap_or_else(|_| Err(Failure::new(FaultKind::Deadline, "no answer in time")));
            inbox.put(Event::CallDone { call, result });
        });
    }
}

fn build() -> HttpClient {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config((*tls::config()).clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(POOL)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

async fn exchange(client: HttpClient, request: CallRequest) -> Result<(u16, Bytes), Failure> {
    let response = client
        .request(message(request)?)
        .await
        .map_err(|error| failure(&error))?;
    let status = response.status().as_u16();
    match Limited::new(response.into_body(), limits::CALL_BODY)
        .collect()
        .await
    {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("the answer ({status}) is longer than {} bytes", limits::CALL_BODY);
            Err(Failure::new(FaultKind::Other, detail))
        }
        Err(error) => Err(failure(&*error)),
    }
}

fn message(request: CallRequest) -> Result<Request<Full<Bytes>>, Failure> {
    let mut builder = Request::builder()
        .method(request.method)
        .uri(request.url)
        .header(USER_AGENT, net::AGENT);
    for (name, value) in &request.headers {
        builder = builder.header(*name, value.expose());
    }
    if let Some(bearer) = &request.bearer {
        let value = HeaderValue::try_from(format!("Bearer {}", bearer.expose())).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        builder = builder.header(AUTHORIZATION, value.map_err(|_| unfit("the credential"))?);
    }
    if request.body.is_some() {
        builder = builder.header(CONTENT_TYPE, "application/json");
    }
    let body = Full::new(Bytes::from(request.body.unwrap_or_default()));
    builder.body(body).map_err(|_| unfit("the URL or a header"))
}

fn unfit(what: &str) -> Failure {
    Failure::new(
        FaultKind::Other,
        format!("{what} does not fit into an HTTP request"),
    )
}

/// The innermost cause says what happened; the outer ones only that something did.
fn failure(error: &(dyn Error + 'static)) -> Failure {
    let causes = || std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let detail = causes().last().map_or_else(String::new, ToString::to_string);
    let system = causes().find_map(|error| error.downcast_ref::<std::io::Error>());
    let kind = system.map_or(FaultKind::Broken, |error| {
        Failure::from(std::io::Error::from(error.kind())).kind
    });
    Failure::new(kind, detail)
}
