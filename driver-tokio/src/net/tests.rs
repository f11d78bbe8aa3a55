//! Links against small scripted peers.

use super::*;
use futures_util::SinkExt;
use relay_core::time::Span;
use relay_driver::clock::now;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

const LIMIT: Duration = Duration::from_secs(20);
const L: LinkId = LinkId(1);

struct Bench {
    links: Links,
    events: UnboundedReceiver<Event>,
}

impl Bench {
    fn open(url: String, deadline: Span) -> Self {
        let (inbox, events) = Inbox::new();
        let mut links = Links::new(inbox);
        let token = Secret::new("nt_live_0123456789").unwrap();
        links.open(L, url, token, now().mono.after(deadline));
        Self { links, events }
    }

    async fn next(&mut self) -> Event {
        let event = timeout(LIMIT, self.events.recv()).await.expect("an event in time").unwrap();
        self.links.settle(&event);
        event
    }

    async fn up(&mut self) {
        let event = self.next().await;
        assert!(matches!(event, Event::LinkUp { link: L }), "{event:?}");
    }

    async fn down(&mut self) -> String {
        let event = self.next().await;
        let Event::LinkDown { why, .. } = event else { panic!("{event:?}") };
        assert!(self.links.table.is_empty());
        why
    }

    async fn refused(&mut self) -> Refused {
        let event = self.next().await;
        let Event::LinkRefused { why, .. } = event else { panic!("{event:?}") };
        assert!(self.links.table.is_empty());
        why
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1/node/ws", listener.local_addr().unwrap());
    (listener, url)
}

/// A link and the engine's end of it.
async fn linked() -> (Bench, WebSocketStream<TcpStream>) {
    let (listener, url) = listener().await;
    let mut bench = Bench::open(url, Span::secs(10));
    let (tcp, _) = listener.accept().await.unwrap();
    let peer = accept_async(tcp).await.unwrap();
    bench.up().await;
    (bench, peer)
}

async fn hear(peer: &mut WebSocketStream<TcpStream>) -> Message {
    timeout(LIMIT, peer.next()).await.expect("a message in time").unwrap().unwrap()
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let (listener, url) = listener().await;
    drop(listener);
    let why = Bench::open(url, Span::secs(10)).refused().await;
    assert!(matches!(why, Refused::Failed(Failure { kind: FaultKind::Broken, .. })), "{why:?}");
}

#[tokio::test]
async fn an_upgrade_that_is_answered_with_a_status_reports_it_and_the_token_was_sent() {
    let (listener, url) = listener().await;
    let mut bench = Bench::open(url, Span::secs(10));
    let (mut tcp, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("get /v1/node/ws http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer nt_live_0123456789\r\n"), "{head}");
    tcp.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let why = bench.refused().await;
    assert!(matches!(why, Refused::Status(401)), "{why:?}");
}

#[tokio::test]
async fn a_peer_that_never_answers_the_upgrade_runs_into_the_deadline() {
    let (_listener, url) = listener().await;
    let why = Bench::open(url, Span::millis(50)).refused().await;
    assert!(matches!(why, Refused::Failed(Failure { kind: FaultKind::Deadline, .. })), "{why:?}");
}

#[tokio::test]
async fn closing_a_link_that_is_not_up_refuses_it_at_once() {
    let (_listener, url) = listener().await;
    let mut bench = Bench::open(url, Span::secs(3_600));
    bench.links.close(L, 1000, "", now().mono.after(Span::secs(3_600)));
    let why = bench.refused().await;
    assert!(matches!(why, Refused::Failed(Failure { kind: FaultKind::Broken, .. })), "{why:?}");
}

#[tokio::test]
async fn text_goes_both_ways_in_order_and_is_counted_when_it_has_left() {
    let (mut bench, mut peer) = linked().await;
    for text in ["one", "two", "three"] {
        bench.links.send(L, Out::Text(text.into()));
    }
    for text in ["one", "two", "three"] {
        assert_eq!(hear(&mut peer).await, Message::text(text));
    }
    let mut drained = 0;
    while drained < 11 {
        let event = bench.next().await;
        let Event::LinkDrained { bytes, .. } = event else { panic!("{event:?}") };
        drained += bytes;
    }
    assert_eq!(drained, 11);
    peer.send(Message::text("frame")).await.unwrap();
    peer.send(Message::binary(vec![0; 5])).await.unwrap();
    let event = bench.next().await;
    assert!(matches!(&event, Event::LinkText { text, .. } if text.as_str() == "frame"), "{event:?}");
    let event = bench.next().await;
    assert!(matches!(event, Event::LinkBinary { len: 5, .. }), "{event:?}");
}

#[tokio::test]
async fn pings_are_sent_and_answered_and_pongs_reported() {
    let (mut bench, mut peer) = linked().await;
    bench.links.send(L, Out::Ping);
    assert!(matches!(hear(&mut peer).await, Message::Ping(_)));
    peer.flush().await.unwrap();
    peer.send(Message::Ping("x".into())).await.unwrap();
    let event = bench.next().await;
    assert!(matches!(event, Event::LinkPong { .. }), "{event:?}");
    assert_eq!(hear(&mut peer).await, Message::Pong("x".into()));
}

#[tokio::test]
async fn a_close_by_the_peer_is_quoted() {
    let (mut bench, mut peer) = linked().await;
    let frame = CloseFrame { code: 4001.into(), reason: "replaced".into() };
    peer.send(Message::Close(Some(frame))).await.unwrap();
    assert!(matches!(hear(&mut peer).await, Message::Close(_)), "the close is answered");
    drop(peer);
    assert_eq!(bench.down().await, "closed with 4001: replaced");
}

#[tokio::test]
async fn our_close_follows_what_was_queued_and_ends_with_the_peers_answer() {
    let (mut bench, mut peer) = linked().await;
    bench.links.pause(L, true);
    bench.links.send(L, Out::Text("last".into()));
    bench.links.close(L, 1000, "bye", now().mono.after(Span::secs(3_600)));
    assert_eq!(hear(&mut peer).await, Message::text("last"));
    let Message::Close(Some(frame)) = hear(&mut peer).await else { panic!("no close frame") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1000, "bye"));
    let _ = peer.flush().await;
    drop(peer);
    let event = bench.next().await;
    assert!(matches!(event, Event::LinkDrained { bytes: 4, .. }), "{event:?}");
    bench.down().await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_our_close_is_dropped_at_the_deadline() {
    let (mut bench, _peer) = linked().await;
    bench.links.close(L, 1000, "bye", now().mono.after(Span::millis(50)));
    assert!(bench.down().await.contains("did not answer in time"));
}

#[tokio::test]
async fn a_cut_connection_is_down() {
    let (mut bench, peer) = linked().await;
    drop(peer);
    assert!(!bench.down().await.is_empty());
}

#[tokio::test]
async fn reading_stops_while_text_waits_unseen() {
    let (mut bench, mut peer) = linked().await;
    let big = "x".repeat(UNSEEN as usize / 2);
    let writing = tokio::spawn(async move {
        for _ in 0..40 {
            peer.send(Message::text(big.clone())).await.unwrap();
        }
        peer
    });
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(bench.next().await);
    }
    let more = timeout(Duration::from_millis(100), bench.events.recv()).await;
    assert!(more.is_err(), "a third message while two wait unseen: {more:?}");
    held.clear();
    for _ in 2..40 {
        let event = bench.next().await;
        assert!(matches!(event, Event::LinkText { .. }), "{event:?}");
    }
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn a_paused_link_is_not_read_beyond_the_message_that_was_awaited() {
    let (mut bench, mut peer) = linked().await;
    bench.links.pause(L, true);
    for text in ["one", "two", "three"] {
        peer.send(Message::text(text)).await.unwrap();
    }
    let mut seen = 0;
    while timeout(Duration::from_millis(100), bench.next()).await.is_ok() {
        seen += 1;
    }
    assert!(seen <= 1, "{seen} messages");
    bench.links.pause(L, false);
    for _ in seen..3 {
        let event = bench.next().await;
        assert!(matches!(event, Event::LinkText { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn wss_begins_with_a_handshake() {
    let (listener, url) = listener().await;
    let mut bench = Bench::open(url.replace("ws://", "wss://"), Span::secs(10));
    let (mut tcp, _) = listener.accept().await.unwrap();
    const HANDSHAKE: u8 = 22;
    assert_eq!(tcp.read_u8().await.unwrap(), HANDSHAKE);
    drop(tcp);
    let why = bench.refused().await;
    assert!(matches!(why, Refused::Failed(Failure { kind: FaultKind::Broken, .. })), "{why:?}");
}
