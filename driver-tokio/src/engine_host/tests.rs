use super::*;
use crate::loopback;
use futures_util::StreamExt;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::{Request, StatusCode};
use relay_sim::engine::Event;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const LIMIT: Duration = Duration::from_secs(10);
/// Long enough to notice something that must not happen.
const MOMENT: Duration = Duration::from_millis(50);

fn any_port() -> TcpListener {
    bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}

fn free_address() -> SocketAddr {
    any_port().local_addr().unwrap()
}

fn engine() -> (Host, SocketAddr, UnboundedReceiver<Noted>) {
    let listener = any_port();
    let address = listener.local_addr().unwrap();
    let (journal, noted) = unbounded_channel();
    let host = Host::start(listener, options(DEFAULT_PROFILE, None).unwrap(), Some(journal)).unwrap();
    (host, address, noted)
}

async fn ask(address: SocketAddr, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
    let asked = timeout(LIMIT, loopback::exchange(address, request));
    asked.await.unwrap().unwrap()
}

/// Enrols a node: its token.
async fn enrol(host: &Host, address: SocketAddr) -> String {
    let body = json!({"name": "n", "node_id": "node_n", "kind": "ws", "role": "broker"});
    let request = Request::post("/v1/nodes")
        .header(AUTHORIZATION, format!("Bearer {}", host.workspace_key.expose()))
        .body(Full::from(body.to_string()))
        .unwrap();
    let (status, body) = ask(address, request).await;
    assert_eq!(status, StatusCode::CREATED);
    let body: Value = serde_json::from_slice(&body).unwrap();
    body["data"]["token"].as_str().unwrap().to_owned()
}

async fn connect(address: SocketAddr, token: &str) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let mut request = format!("ws://{address}/v1/node/ws").into_client_request().unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let tcp = TcpStream::connect(address).await.unwrap();
    Ok(client_async(request, tcp).await?.0)
}

async fn await_event(noted: &mut UnboundedReceiver<Noted>, wanted: impl Fn(&Event) -> bool) {
    let found = async { while !wanted(&noted.recv().await.unwrap().event) {} };
    timeout(LIMIT, found).await.expect("the journal tells of it");
}

#[tokio::test]
async fn the_second_broker_of_a_machine_joins_the_engine_of_the_first() {
    let address = free_address();
    let first = start_or_join(address).await.unwrap();
    let second = start_or_join(address).await.unwrap();
    assert_eq!(first.base_url, second.base_url);
    assert_eq!(first.workspace_key, second.workspace_key);
}

#[tokio::test]
async fn another_program_on_the_port_is_not_taken_for_an_engine() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    tokio::spawn(async move { while other.accept().await.is_ok() {} });
    let fatal = start_or_join(address).await.unwrap_err();
    assert!(fatal.message.contains("no engine of this program"), "{}", fatal.message);
    assert!(fatal.message.contains(&address.to_string()), "{}", fatal.message);
}

#[tokio::test]
async fn web_pages_do_not_get_the_key() {
    let (_host, address, _noted) = engine();
    for (host, origin) in [("relay.example", None), ("localhost", Some("http://relay.example"))] {
        let mut request = Request::get(server::LOCAL_WORKSPACE).header(HOST, host);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let (status, _) = ask(address, request.body(Full::default()).unwrap()).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_wrong_token_gets_no_socket() {
    let (_host, address, _noted) = engine();
    match connect(address, "nt_live_none").await {
        Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 401),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_cut_breaks_sockets_without_a_word_and_holds_new_ones_until_it_is_over() {
    let (host, address, mut noted) = engine();
    let token = enrol(&host, address).await;
    let mut socket = connect(address, &token).await.unwrap();
    await_event(&mut noted, |event| matches!(event, Event::Upgraded { .. })).await;

    assert_eq!(host.cut().await, 1);
    await_event(&mut noted, |event| matches!(event, Event::Closed { .. })).await;
    let said = timeout(LIMIT, socket.next()).await.expect("the socket ends");
    assert!(!matches!(said, Some(Ok(Message::Close(_)))), "{said:?}");

    let connecting = connect(address, &token);
    tokio::pin!(connecting);
    assert!(timeout(MOMENT, &mut connecting).await.is_err());
    host.restore();
    assert!(timeout(LIMIT, connecting).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_socket_that_its_node_closes_is_told_to_the_model() {
    let (host, address, mut noted) = engine();
    let token = enrol(&host, address).await;
    drop(connect(address, &token).await.unwrap());
    await_event(&mut noted, |event| matches!(event, Event::Closed { .. })).await;
    assert_eq!(host.cut().await, 0);
}
