//! Calls: HTTP requests to the engine, as the core has built them.
//!
//! Owns: the client and its pooled connections. Must not know: routes, envelopes, retries.
//!
//! 1. One attempt per command. The client is built on first use.

use crate::clock;
use crate::inbox::{Event, Inbox};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use relay_core::ids::CallId;
use relay_core::time::Mono;
use relay_core::{CallRequest, FaultKind};
use relay_driver::event::Failure;
use relay_driver::request::{answer, failure, message};
use relay_driver::tls;
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
    answer(client.request(message(request)?).await.map_err(|error| failure(&error))?).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::time::Span;
    use relay_core::{Secret, Text, limits};
    use relay_driver::clock::now;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Makes a call to a peer that reads `expect` bytes of body and answers with `reply`.
    async fn exchange_with(reply: String) -> (String, Result<(u16, Bytes), Failure>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/nodes", listener.local_addr().unwrap());
        let (inbox, mut events) = Inbox::new();
        let request = CallRequest {
            method: "POST",
            url,
            bearer: Secret::new("rk_live_key"),
            headers: vec![("x-previous", Text::Plain("p".into()))],
            body: Some("{\"a\":1}".into()),
        };
        Calls::new(inbox).call(CallId(1), request, now().mono.after(Span::secs(10)));
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"{\"a\":1}") {
            heard.push(tcp.read_u8().await.unwrap());
        }
        let _ = tcp.write_all(reply.as_bytes()).await;
        drop(tcp);
        let Some(Event::CallDone { result, .. }) = events.recv().await else { panic!("no answer") };
        (String::from_utf8(heard).unwrap().to_lowercase(), result)
    }

    #[tokio::test]
    async fn a_call_carries_what_the_core_wrote_and_brings_the_answer_back() {
        let reply = "HTTP/1.1 201 Created\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
        let (heard, result) = exchange_with(reply.into()).await;
        assert!(heard.starts_with("post /v1/nodes http/1.1\r\n"), "{heard}");
        for header in [
            "authorization: bearer rk_live_key",
            "content-type: application/json",
            "x-previous: p",
            "user-agent: relay-broker/",
        ] {
            assert!(heard.contains(&format!("\r\n{header}")), "{header} in {heard}");
        }
        assert_eq!(result.unwrap(), (201, Bytes::from_static(b"{\"ok\":true}")));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_no_credential_follows_it() {
        let reply = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let (_, result) = exchange_with(reply.into()).await;
        assert_eq!(result.unwrap().0, 302);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_not_read() {
        let body = "x".repeat(limits::CALL_BODY + 1);
        let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (_, result) = exchange_with(reply).await;
        let failure = result.unwrap_err();
        assert!(failure.detail.contains("262144"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up_refuses_or_never_answers_is_classed() {
        let (_, result) = exchange_with(String::new()).await;
        assert_eq!(result.unwrap_err().kind, FaultKind::Broken);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let get = |deadline| {
            let (inbox, mut events) = Inbox::new();
            let request = CallRequest {
                method: "GET",
                url: format!("http://{address}/"),
                bearer: None,
                headers: Vec::new(),
                body: None,
            };
            Calls::new(inbox).call(CallId(2), request, now().mono.after(deadline));
            async move {
                match events.recv().await {
                    Some(Event::CallDone { result: Err(failure), .. }) => failure.kind,
                    other => panic!("{other:?}"),
                }
            }
        };
        assert_eq!(get(Span::millis(50)).await, FaultKind::Deadline);
        drop(listener);
        assert_eq!(get(Span::secs(10)).await, FaultKind::Broken);
    }

    #[tokio::test]
    async fn https_begins_with_a_handshake() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (inbox, mut events) = Inbox::new();
        let request = CallRequest {
            method: "GET",
            url: format!("https://{}/", listener.local_addr().unwrap()),
            bearer: Secret::new("rk_live_key"),
            headers: Vec::new(),
            body: None,
        };
        Calls::new(inbox).call(CallId(1), request, now().mono.after(Span::secs(10)));
        let (mut tcp, _) = listener.accept().await.unwrap();
        const HANDSHAKE: u8 = 22;
        assert_eq!(tcp.read_u8().await.unwrap(), HANDSHAKE);
        drop(tcp);
        let event = events.recv().await;
        assert!(matches!(event, Some(Event::CallDone { result: Err(_), .. })), "{event:?}");
    }
}
