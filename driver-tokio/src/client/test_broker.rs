//! A scripted broker for tests: a real listener whose answers are written down beforehand.
//!
//! Owns: reading whole requests, giving one scripted reply each. Must not know: the commands.
//!
//! 1. The n-th request gets the n-th reply, on a connection of its own.

use super::discover::Target;
use super::http::Api;
use futures_util::SinkExt;
use relay_core::Secret;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::{net::SocketAddr, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

/// Longer than any test: a reply that never comes.
const NEVER: Duration = Duration::from_secs(300);

/// One scripted reply.
pub(super) enum Reply {
    /// Status, content type, body.
    Body(u16, &'static str, String),
    /// Upgrades, sends these, and closes; the last flag keeps the socket open instead.
    Events(Vec<String>, bool),
    HangUp,
    Silence,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::Body(status, "application/json", body.to_string())
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::Body(status, "text/plain", body.to_owned())
    }

    pub(super) fn events(events: &[Value]) -> Self {
        Self::Events(events.iter().map(Value::to_string).collect(), false)
    }

    pub(super) fn open_events(events: &[Value]) -> Self {
        Self::Events(events.iter().map(Value::to_string).collect(), true)
    }
}

/// The listener, and what it was asked.
pub(super) struct TestBroker {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl TestBroker {
    pub(super) async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            for reply in script {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request.clone());
                tokio::spawn(give(stream, request, reply));
            }
        });
        Self { address, requests }
    }

    /// The API of a broker that is not there.
    pub(super) async fn nobody() -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        api(listener.local_addr().unwrap())
    }

    pub(super) fn api(&self) -> Api {
        api(self.address)
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far, whole.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The JSON body of request `n`.
    pub(super) fn body(&self, n: usize) -> Value {
        let requests = self.requests();
        serde_json::from_str(requests[n].split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

fn api(address: SocketAddr) -> Api {
    let key = Secret::new("br_test").unwrap();
    Api::new(Target { authority: address.to_string().parse().unwrap(), key })
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "the client closed inside a request");
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

async fn give(mut stream: TcpStream, request: String, reply: Reply) {
    match reply {
        Reply::Body(status, kind, body) => {
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        Reply::Events(events, stay) => {
            let key = request.lines().find_map(|line| line.split_once("Sec-WebSocket-Key: ")).unwrap().1;
            let answer = format!(
                "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            for event in events {
                socket.send(Message::text(event)).await.unwrap();
            }
            if stay {
                tokio::time::sleep(NEVER).await;
            }
        }
        Reply::HangUp => {}
        Reply::Silence => tokio::time::sleep(NEVER).await,
    }
}
