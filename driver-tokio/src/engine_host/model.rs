//! The model's task: the only one that touches the engine model.
//!
//! Owns: the order of what the model sees, its clock and ticks, which socket gets which frame.
//! Must not know: HTTP, frames.
//!
//! 1. What one order causes is handed out before the next order is taken. The answer to a request is
//!    handed to its connection before the frames that the request caused are handed to theirs.
//! 2. A connection that is forgotten here is forgotten by the model first.

use super::server;
use crate::socket::{self, Orders};
use relay_core::Secret;
use relay_driver::settings::Fatal;
use relay_driver::socket::Out;
use relay_sim::engine::{ConnectionId, Engine, Event, HttpResponse, Options, Output};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The workspace that everybody on this machine shares.
const WORKSPACE: &str = "local";
/// Orders that may wait: senders wait when there are more.
const QUEUE: usize = 1024;
/// From a close frame of ours to the end of the connection.
const CLOSE: Duration = Duration::from_secs(2);

/// One thing for the model to do.
pub(super) enum Order {
    /// A request.
    Http { request: Box<server::Call>, answer: oneshot::Sender<HttpResponse> },
    /// A socket that wants to open.
    Upgrade { target: String, bearer: Option<String>, answer: oneshot::Sender<Result<Accepted, u16>> },
    /// A frame.
    Text { connection: ConnectionId, text: Utf8Bytes, at_ns: u64 },
    /// A socket has ended.
    Closed { connection: ConnectionId },
    /// Break all sockets.
    Cut { done: oneshot::Sender<usize> },
}

/// A socket that the model has accepted.
pub(super) struct Accepted {
    pub(super) connection: ConnectionId,
    pub(super) orders: Orders,
    /// Ends when the socket must break.
    pub(super) alive: oneshot::Receiver<Infallible>,
}

/// Something that the engine did.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// When, in Unix nanoseconds; for what a frame did, the moment it was read from its socket.
    pub(crate) at_ns: u64,
    /// What.
    pub(crate) event: Event,
}

/// An engine that runs.
#[derive(Debug)]
pub(crate) struct Host {
    /// Where it is.
    pub(crate) base_url: String,
    /// The workspace that everybody on this machine shares.
    pub(crate) workspace_id: String,
    /// Its key.
    pub(crate) workspace_key: Secret,
    orders: mpsc::Sender<Order>,
    open: watch::Sender<bool>,
}

impl Host {
    /// Starts an engine on `listener`, on a thread of its own that ends with the process. What it
    /// does is told to `journal`.
    pub(crate) fn start(
        listener: TcpListener,
        options: Options,
        journal: Option<mpsc::UnboundedSender<Noted>>,
    ) -> Result<Self, Fatal> {
        let failed = |e: std::io::Error| Fatal::failed(format!("cannot start the engine: {e}"));
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let mut engine = Engine::new(options);
        let (workspace_id, key) = engine.create_workspace(now_ms(), WORKSPACE);
        let (orders, queue) = mpsc::channel(QUEUE);
        let (open, gate) = watch::channel(true);
        let server = server::Server::new(orders.clone(), gate, address, &key);
        let model = Model { engine, connections: BTreeMap::new(), journal };
        let run = move || runtime.block_on(async { tokio::join!(server.accept(listener), model.run(queue)) });
        std::thread::Builder::new().name("engine".into()).spawn(run).map_err(failed)?;
        Ok(Self {
            base_url: format!("http://{address}"),
            workspace_id,
            workspace_key: Secret::new(&key).expect("a key is not blank"),
            orders,
            open,
        })
    }

    /// Breaks all sockets of nodes without a word, and accepts none until [`Host::restore`]: those who
    /// connect meanwhile wait for an answer. Returns how many were open.
    pub(crate) async fn cut(&self) -> usize {
        self.open.send_replace(false);
        self.ask(|done| Order::Cut { done }).await
    }

    /// Accepts sockets again.
    pub(crate) fn restore(&self) {
        self.open.send_replace(true);
    }

    /// False between [`Host::cut`] and [`Host::restore`].
    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> T {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(order(answer)).await;
        answered.await.expect("the engine runs to the end of the process")
    }
}

struct Model {
    engine: Engine,
    connections: BTreeMap<ConnectionId, Connection>,
    journal: Option<mpsc::UnboundedSender<Noted>>,
}

struct Connection {
    sender: socket::Sender,
    /// Dropped to break the socket.
    _alive: oneshot::Sender<Infallible>,
}

impl Model {
    async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        loop {
            let now = now_ms();
            let due = self.engine.next_deadline();
            if due.is_some_and(|due| due <= now) {
                self.engine.tick(now);
                self.hand_out(now_ns());
                continue;
            }
            let rest = due.map(|due| Duration::from_millis(due.abs_diff(now)));
            tokio::select! {
                biased;
                order = queue.recv() => match order {
                    Some(order) => self.take(order),
                    None => return,
                },
                () = async { match rest { Some(rest) => sleep(rest).await, None => std::future::pending().await } } => {}
            }
        }
    }

    fn take(&mut self, order: Order) {
        let mut at_ns = now_ns();
        let now = now_ms();
        match order {
            Order::Http { request, answer } => {
                let _ = answer.send(request.put(now, &mut self.engine));
            }
            Order::Upgrade { target, bearer, answer } => {
                self.upgrade(now, &target, bearer.as_deref(), answer)
            }
            Order::Text { connection, text, at_ns: read_at } => {
                at_ns = read_at;
                // What was on its way when the socket was cut is lost with it.
                if self.connections.contains_key(&connection) {
                    self.engine.text(now, connection, &text);
                }
            }
            Order::Closed { connection } => self.forget(now, connection),
            Order::Cut { done } => {
                let cut: Vec<_> = self.connections.keys().copied().collect();
                for connection in &cut {
                    self.forget(now, *connection);
                }
                let _ = done.send(cut.len());
            }
        }
        self.hand_out(at_ns);
    }

    fn upgrade(
        &mut self,
        now: i64,
        target: &str,
        bearer: Option<&str>,
        answer: oneshot::Sender<Result<Accepted, u16>>,
    ) {
        let accepted = self.engine.upgrade(now, target, bearer).map(|connection| {
            let (sender, orders) = socket::orders();
            let (_alive, alive) = oneshot::channel();
            self.connections.insert(connection, Connection { sender, _alive });
            Accepted { connection, orders, alive }
        });
        if let Err(Ok(unwanted)) = answer.send(accepted) {
            self.forget(now, unwanted.connection);
        }
    }

    fn forget(&mut self, now: i64, connection: ConnectionId) {
        if self.connections.contains_key(&connection) {
            self.engine.closed(now, connection);
            self.connections.remove(&connection);
        }
    }

    /// Hands out everything that the model has to say.
    fn hand_out(&mut self, at_ns: u64) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { connection, text } => {
                    if let Some(to) = self.connections.get(&connection) {
                        to.sender.send(Out::Text(text));
                    }
                }
                Output::Close { connection, code, reason } => {
                    if let Some(to) = self.connections.get_mut(&connection) {
                        to.sender.close(code, reason, Instant::now() + CLOSE);
                    }
                }
            }
        }
        let records = self.engine.drain_journal();
        if let Some(journal) = &self.journal {
            for record in records {
                let event = record.event;
                let _ = journal.send(Noted { at_ns, event });
            }
        }
    }
}

/// The system's clock, in Unix nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// The system's clock, in Unix milliseconds.
fn now_ms() -> i64 {
    (now_ns() / 1_000_000).cast_signed()
}
