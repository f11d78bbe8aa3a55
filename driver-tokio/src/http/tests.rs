//! The server against raw clients; a scripted core answers.

use super::*;
use relay_core::Auth;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const LIMIT: Duration = Duration::from_secs(20);

struct Bench {
    api: Api,
    events: UnboundedReceiver<Event>,
    port: u16,
}

impl Bench {
    async fn new() -> Self {
        let bench = Self::starting().await;
        bench.api.ready();
        bench
    }

    async fn starting() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (inbox, events) = Inbox::new();
        let key = Secret::new("br_0123456789abcdef").unwrap();
        Self { api: Api::serve(listener, "127.0.0.1".into(), port, key, inbox), events, port }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends a request with `headers` and `body` on a connection of its own.
    async fn request(&self, start: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut tcp = self.connect().await;
        let head = format!(
            "{start} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n{headers}\r\n",
            self.port
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        let _ = tcp.write_all(body).await;
        tcp
    }

    async fn event(&mut self) -> Event {
        timeout(LIMIT, self.events.recv()).await.expect("an event in time").unwrap()
    }
}

async fn answer(mut tcp: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = timeout(LIMIT, tcp.read_to_end(&mut text)).await.expect("an answer in time");
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn before_the_broker_is_ready_only_health_answers() {
    let bench = Bench::starting().await;
    let health = answer(bench.request("GET /health", "", b"").await).await;
    assert!(health.starts_with("HTTP/1.1 200 ") && health.contains("agent-relay-listen"), "{health}");
    let other = answer(bench.request("GET /api/session", "", b"").await).await.to_lowercase();
    assert!(other.starts_with("http/1.1 503 "), "{other}");
    assert!(other.contains("content-type: text/plain") && other.contains("connection: close"), "{other}");
    assert!(other.ends_with("broker is starting, please retry"), "{other}");
}

#[tokio::test]
async fn a_request_reaches_the_core_with_its_verdict_and_is_answered() {
    let mut bench = Bench::new().await;
    let headers = "x-api-key: br_0123456789abcdef\r\ncontent-length: 2\r\n";
    let client = bench.request("POST /api/send?a=%20b", headers, b"{}").await;
    let Event::Api { request, auth, method, target, upgrade, body } = bench.event().await else {
        panic!("no request");
    };
    assert_eq!((auth, method.as_str(), target.as_str()), (Auth::Ok, "POST", "/api/send?a=%20b"));
    assert_eq!((upgrade, &body[..]), (false, &b"{}"[..]));
    bench.api.reply(request, 202, "application/json", "{\"x\":1}".into());
    let answer = answer(client).await;
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.ends_with("{\"x\":1}"), "{answer}");
}

#[tokio::test]
async fn keys_are_judged_and_not_passed_on() {
    let mut bench = Bench::new().await;
    let cases = [("", Auth::Missing), ("authorization: Bearer br_x\r\n", Auth::Wrong)];
    let mut clients = Vec::new();
    for (headers, verdict) in cases {
        clients.push(bench.request("GET /api/status", headers, b"").await);
        let event = bench.event().await;
        assert!(matches!(event, Event::Api { auth, .. } if auth == verdict), "{event:?}");
        assert!(!format!("{event:?}").contains("br_x"));
    }
}

#[tokio::test]
async fn web_pages_of_other_origins_are_kept_out() {
    let mut bench = Bench::new().await;
    for headers in ["origin: http://evil.example\r\n", "origin: null\r\n"] {
        let text = answer(bench.request("GET /api/status", headers, b"").await).await;
        assert!(text.starts_with("HTTP/1.1 403 "), "{text}");
    }
    let mut tcp = bench.connect().await;
    tcp.write_all(b"GET /health HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(answer(tcp).await.starts_with("HTTP/1.1 403 "));
    assert!(bench.events.try_recv().is_err());
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_the_limit() {
    let mut bench = Bench::new().await;
    let headers = format!("content-length: {}\r\n", limits::API_BODY + 1);
    let body = vec![b'x'; limits::API_BODY + 1];
    let text = answer(bench.request("POST /api/send", &headers, &body).await).await;
    assert!(text.starts_with("HTTP/1.1 413 ") && text.contains("1048576"), "{text}");
    assert!(bench.events.try_recv().is_err());
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_is_reported() {
    let mut bench = Bench::new().await;
    let client = bench.request("GET /api/status", "", b"").await;
    let Event::Api { request, .. } = bench.event().await else { panic!("no request") };
    drop(client);
    let event = bench.event().await;
    assert!(matches!(event, Event::ApiGone { request: gone } if gone == request), "{event:?}");
    bench.api.reply(request, 200, "application/json", "{}".into());
}

#[tokio::test]
async fn an_event_stream_carries_text_counts_it_and_is_closed() {
    let mut bench = Bench::new().await;
    let url = format!("ws://127.0.0.1:{}/ws?sinceSeq=0", bench.port);
    let request = url.into_client_request().unwrap();
    let tcp = bench.connect().await;
    let client = tokio::spawn(tokio_tungstenite::client_async(request, tcp));
    let Event::Api { request, upgrade: true, .. } = bench.event().await else { panic!("no upgrade") };
    let subscriber = SubscriberId(7);
    bench.api.stream(request, subscriber);
    bench.api.send(subscriber, "event".into());
    let (mut client, _) = client.await.unwrap().unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("event"));
    let event = bench.event().await;
    assert!(matches!(event, Event::StreamDrained { bytes: 5, .. }), "{event:?}");
    bench.api.close(subscriber, 1013, "too slow");
    let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
    assert_eq!(u16::from(frame.code), 1013);
    while client.next().await.is_some() {}
    let event = bench.event().await;
    bench.api.settle(&event);
    assert!(matches!(event, Event::StreamGone { .. }), "{event:?}");
    assert!(bench.api.streams.is_empty());
}

#[tokio::test]
async fn a_subscriber_that_leaves_is_reported() {
    let mut bench = Bench::new().await;
    let request = format!("ws://127.0.0.1:{}/ws", bench.port).into_client_request().unwrap();
    let client = tokio::spawn(tokio_tungstenite::client_async(request, bench.connect().await));
    let Event::Api { request, .. } = bench.event().await else { panic!("no upgrade") };
    bench.api.stream(request, SubscriberId(1));
    drop(client.await.unwrap().unwrap());
    let event = bench.event().await;
    assert!(matches!(event, Event::StreamGone { .. }), "{event:?}");
}

#[tokio::test]
async fn a_stream_for_a_request_that_is_no_upgrade_or_gone_is_over_at_once() {
    let mut bench = Bench::new().await;
    let client = bench.request("GET /ws", "", b"").await;
    let Event::Api { request, upgrade: false, .. } = bench.event().await else { panic!("no request") };
    bench.api.stream(request, SubscriberId(1));
    assert!(answer(client).await.starts_with("HTTP/1.1 426 "));
    assert!(matches!(bench.event().await, Event::StreamGone { subscriber: SubscriberId(1) }));
    bench.api.stream(request, SubscriberId(2));
    assert!(matches!(bench.event().await, Event::StreamGone { subscriber: SubscriberId(2) }));
}

#[tokio::test]
async fn the_last_answer_is_written_before_the_end_and_idle_connections_do_not_delay_it() {
    let mut bench = Bench::new().await;
    let mut idle = bench.connect().await;
    idle.write_all(b"GET").await.unwrap();
    let client = bench.request("POST /api/shutdown", "", b"").await;
    let Event::Api { request, .. } = bench.event().await else { panic!("no request") };
    bench.api.reply(request, 200, "application/json", "{\"status\":\"shutting_down\"}".into());
    timeout(LIMIT, bench.api.finish()).await.expect("an end in time");
    assert!(answer(client).await.contains("shutting_down"));
}

#[tokio::test]
async fn more_requests_than_the_limit_are_told_so() {
    let mut bench = Bench::new().await;
    bench.api.shared.requests.forget_permits(limits::API_REQUESTS - 1);
    let _first = bench.request("GET /api/status", "", b"").await;
    bench.event().await;
    let second = answer(bench.request("GET /api/status", "", b"").await).await;
    assert!(second.starts_with("HTTP/1.1 503 ") && second.contains("too_many_requests"), "{second}");
}
