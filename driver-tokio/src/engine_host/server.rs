//! The engine's sockets: HTTP requests and the WebSockets of nodes.
//!
//! Owns: accepting, reading and writing, limits on sizes, the page for other brokers of this machine.
//! Must not know: what requests and frames mean.

use super::model::{Accepted, Order, now_ns};
use crate::socket;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use relay_core::edge;
use relay_driver::answer::{Reply, switch, text};
use relay_sim::engine::{Engine, HttpRequest, HttpResponse};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Where a broker of this machine asks for the workspace that all of them share.
pub(super) const LOCAL_WORKSPACE: &str = "/local/workspace";
/// Longest body of a request, in bytes: room for the longest message and its wrapping.
const BODY: usize = 4 * 1024 * 1024;
/// A connection on which nobody asks anything ends.
const IDLE: Duration = Duration::from_secs(75);
/// Pause after an accept that failed, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Server {
    orders: mpsc::Sender<Order>,
    /// False while sockets have to wait.
    gate: watch::Receiver<bool>,
    address: SocketAddr,
    local_workspace: Arc<str>,
}

impl Server {
    pub(super) fn new(
        orders: mpsc::Sender<Order>,
        gate: watch::Receiver<bool>,
        address: SocketAddr,
        workspace_key: &str,
    ) -> Self {
        let local_workspace = serde_json::json!({ "workspace_key": workspace_key });
        Self { orders, gate, address, local_workspace: local_workspace.to_string().into() }
    }

    /// Accepts for ever.
    pub(super) async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Err(_) => sleep(ACCEPT_PAUSE).await,
                Ok((tcp, _)) => {
                    tokio::spawn(self.clone().connection(tcp));
                }
            }
        }
    }

    async fn connection(self, tcp: TcpStream) {
        let _ = tcp.set_nodelay(true);
        let service = service_fn(|request| async { Ok::<_, Infallible>(self.serve(request).await) });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(tcp), service)
            .with_upgrades();
        // A client that breaks its connection is no news.
        let _ = connection.await;
    }

    async fn serve(&self, request: Request<Incoming>) -> Reply {
        if request.method() == Method::GET && request.uri().path() == LOCAL_WORKSPACE {
            return self.local_workspace(request.headers());
        }
        match websocket_key(request.headers()).map(derive_accept_key) {
            Some(accept) => self.upgrade(request, &accept).await,
            None => self.http(request).await,
        }
    }

    /// The workspace of this machine. Web pages must not read it.
    fn local_workspace(&self, headers: &HeaderMap) -> Reply {
        let (host, origin) = (text(headers, header::HOST), text(headers, header::ORIGIN));
        let bind = self.address.ip().to_string();
        if let Err(rejection) = edge::screen(host, origin, &bind, self.address.port()) {
            return json(rejection.status, rejection.body);
        }
        json(200, self.local_workspace.to_string())
    }

    async fn http(&self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY).collect().await else {
            return status(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let body = body.to_bytes();
        let request = Box::new(Call { head, body });
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::Http { request, answer }).await;
        match answered.await {
            Ok(response) => respond(response),
            Err(_) => status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    async fn upgrade(&self, mut request: Request<Incoming>, accept: &str) -> Reply {
        let _ = self.gate.clone().wait_for(|open| *open).await;
        let bearer = text(request.headers(), header::AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim().to_owned());
        let (answer, answered) = oneshot::channel();
        let order = Order::Upgrade { target: target(request.uri()).to_owned(), bearer, answer };
        let _ = self.orders.send(order).await;
        match answered.await {
            Ok(Ok(accepted)) => {
                let on_upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(run_socket(self.orders.clone(), accepted, on_upgrade));
                switch(accept)
            }
            Ok(Err(code)) => status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)),
            Err(_) => status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// A request as it came.
pub(super) struct Call {
    head: Parts,
    body: Bytes,
}

impl Call {
    /// The model's answer.
    pub(super) fn put(&self, now_ms: i64, engine: &mut Engine) -> HttpResponse {
        let headers: Vec<_> = self
            .head
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        engine.http(
            now_ms,
            HttpRequest {
                method: self.head.method.as_str(),
                path: target(&self.head.uri),
                bearer: text(&self.head.headers, header::AUTHORIZATION)
                    .and_then(|value| value.strip_prefix("Bearer ")),
                headers: &headers,
                body: &self.body,
            },
        )
    }
}

/// Moves frames of one socket until it ends.
async fn run_socket(to_model: mpsc::Sender<Order>, accepted: Accepted, on_upgrade: OnUpgrade) {
    let Accepted { connection, orders, alive } = accepted;
    if let Ok(upgraded) = on_upgrade.await {
        let config = Some(relay_driver::socket::config());
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, config).await;
        let (sink, mut stream) = socket.split();
        let receiving = async {
            while let Ok(message) = socket::receive(&mut stream).await {
                if let Message::Text(text) = message {
                    let at_ns = now_ns();
                    let order = Order::Text { connection, text, at_ns };
                    let _ = to_model.send(order).await;
                }
            }
        };
        tokio::select! {
            () = receiving => {}
            _ = socket::send_all(sink, orders.queue, |_| ()) => {}
            () = socket::doomsday(orders.doom) => {}
            _ = alive => {}
        }
    }
    let _ = to_model.send(Order::Closed { connection }).await;
}

fn target(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// The key of a WebSocket upgrade request, if it is one.
fn websocket_key(headers: &HeaderMap) -> Option<&[u8]> {
    let upgrade = text(headers, header::UPGRADE)?.eq_ignore_ascii_case("websocket");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    upgrade.then_some(key.as_bytes())
}

fn status(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

fn json(code: u16, body: String) -> Reply {
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn respond(response: HttpResponse) -> Reply {
    let mut reply = json(response.status, response.body);
    for (name, value) in response.headers {
        let pair = (HeaderName::try_from(name), HeaderValue::try_from(value));
        if let (Ok(name), Ok(value)) = pair {
            reply.headers_mut().insert(name, value);
        }
    }
    reply
}
