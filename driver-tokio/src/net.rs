//! Links: WebSockets to the engine.
//!
//! Owns: connecting, reading, the queue of each link.
//! Must not know: frames, tokens' meaning, when to connect again.
//!
//! 1. A link ends with exactly one `LinkRefused`, or one `LinkUp` and one `LinkDown`.
//! 2. Reading stops while [`UNSEEN`] bytes of text wait for the core, or while the core says so; the
//!    one message that was awaited when it said so may still come.

use crate::clock;
use crate::inbox::{Event, Inbox};
use crate::socket::{self, Orders};
use futures_util::StreamExt;
use relay_core::ids::LinkId;
use relay_core::time::Mono;
use relay_core::{FaultKind, Secret};
use relay_driver::event::{Failure, Refused};
use relay_driver::socket::{Out, UNSEEN, Upgrade, config, refused, upgrade};
use relay_driver::tls;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout_at;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// All links.
#[derive(Debug)]
pub(crate) struct Links {
    inbox: Inbox,
    table: BTreeMap<LinkId, Link>,
}

#[derive(Debug)]
struct Link {
    sender: socket::Sender,
    paused: watch::Sender<bool>,
}

impl Links {
    /// No links yet.
    pub(crate) const fn new(inbox: Inbox) -> Self {
        Self { inbox, table: BTreeMap::new() }
    }

    /// Opens a link; answered by `LinkUp` or `LinkRefused`.
    pub(crate) fn open(&mut self, link: LinkId, url: String, token: Secret, deadline: Mono) {
        let (sender, orders) = socket::orders();
        let (paused, pause) = watch::channel(false);
        self.table.insert(link, Link { sender, paused });
        let inbox = self.inbox.clone();
        let deadline = clock::instant(deadline);
        tokio::spawn(async move {
            let Orders { queue, mut doom } = orders;
            let connecting = timeout_at(deadline, connect(&url, &token));
            let connected = tokio::select! {
                result = connecting => result.unwrap_or_else(|_| {
                    Err(Refused::Failed(Failure::new(FaultKind::Deadline, "no answer in time")))
                }),
                _ = &mut doom => {
                    Err(Refused::Failed(Failure::new(FaultKind::Broken, "closed before it was open")))
                }
            };
            match connected {
                Err(why) => inbox.put(Event::LinkRefused { link, why }),
                Ok(socket) => {
                    inbox.put(Event::LinkUp { link });
                    let why = run(link, socket, Orders { queue, doom }, pause, &inbox).await;
                    inbox.put(Event::LinkDown { link, why });
                }
            }
        });
    }

    /// Does what must be done before the core sees the event: drops a link that has ended.
    pub(crate) fn settle(&mut self, event: &Event) {
        if let Event::LinkRefused { link, .. } | Event::LinkDown { link, .. } = event {
            self.table.remove(link);
        }
    }

    /// Queues something to send.
    pub(crate) fn send(&self, link: LinkId, out: Out) {
        if let Some(link) = self.table.get(&link) {
            link.sender.send(out);
        }
    }

    /// Stops reading, or goes on.
    pub(crate) fn pause(&self, link: LinkId, paused: bool) {
        if let Some(link) = self.table.get(&link) {
            link.paused.send_replace(paused);
        }
    }

    /// Closes a link.
    pub(crate) fn close(&mut self, link: LinkId, code: u16, reason: &'static str, deadline: Mono) {
        if let Some(link) = self.table.get_mut(&link) {
            link.sender.close(code, reason, clock::instant(deadline));
            // A paused reader would never see the peer's answer.
            link.paused.send_replace(false);
        }
    }
}

async fn connect(url: &str, token: &Secret) -> Result<Socket, Refused> {
    let Upgrade { request, host, port, secure } = upgrade(url, token)?;
    let tcp = TcpStream::connect((host, port)).await.map_err(|e| Refused::Failed(e.into()))?;
    tcp.set_nodelay(true).map_err(|e| Refused::Failed(e.into()))?;
    let connector = if secure { Connector::Rustls(tls::config()) } else { Connector::Plain };
    let connecting = client_async_tls_with_config(request, tcp, Some(config()), Some(connector));
    let (socket, _response) = connecting.await.map_err(refused)?;
    Ok(socket)
}

/// Moves messages until the link ends; returns why.
async fn run(
    link: LinkId,
    socket: Socket,
    orders: Orders,
    mut pause: watch::Receiver<bool>,
    inbox: &Inbox,
) -> String {
    let (sink, mut stream) = socket.split();
    let sending = socket::send_all(sink, orders.queue, |bytes| inbox.put(Event::LinkDrained { link, bytes }));
    let room = Arc::new(Semaphore::new(UNSEEN as usize));
    let receiving = async {
        loop {
            let _ = pause.wait_for(|paused| !paused).await;
            match socket::receive(&mut stream).await {
                Err(why) => return why,
                Ok(Message::Text(text)) => {
                    let bytes = u32::try_from(text.len()).unwrap_or(UNSEEN).clamp(1, UNSEEN);
                    let room = room.clone().acquire_many_owned(bytes).await.expect("never closed");
                    inbox.put(Event::LinkText { link, text, _room: room });
                }
                Ok(Message::Binary(bytes)) => inbox.put(Event::LinkBinary { link, len: bytes.len() }),
                Ok(Message::Pong(_)) => inbox.put(Event::LinkPong { link }),
                // Pings are answered by the library; the other kinds do not come out of it.
                Ok(_) => {}
            }
        }
    };
    tokio::select! {
        why = receiving => why,
        why = sending => why,
        () = socket::doomsday(orders.doom) => "closed by us; the peer did not answer in time".into(),
    }
}

#[cfg(test)]
mod tests;
