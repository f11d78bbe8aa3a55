//! Links: WebSockets to the engine.
//!
//! Owns: connecting, reading, the queue of each link.
//! Must not know: frames, tokens' meaning, when to connect again.
//!
//! 1. A link ends with exactly one `LinkRefused`, or one `LinkUp` and one `LinkDown`.
//! 2. Reading stops while [`UNSEEN`] bytes of text wait for the core, or while the core says so; the
//!    one message that was awaited when it said so may still come.

use crate::credit::Credit;
use crate::flag::Flag;
use crate::inbox::{Event, Inbox};
use crate::socket::{self, Orders, Sender};
use crate::stream::Stream;
use crate::task::{before, instant, spawn};
use async_tungstenite::tungstenite::Message;
use async_tungstenite::{WebSocketStream, client_async_with_config};
use relay_core::ids::LinkId;
use relay_core::time::Mono;
use relay_core::{FaultKind, Secret};
use relay_driver::event::{Failure, Refused};
use relay_driver::socket::{Out, UNSEEN, Upgrade, config, refused, upgrade};
use smol::future::or;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All links.
#[derive(Debug)]
pub(crate) struct Links {
    inbox: Inbox,
    table: BTreeMap<LinkId, Link>,
}

#[derive(Debug)]
struct Link {
    sender: Sender,
    paused: Arc<Flag>,
}

impl Links {
    /// No links yet.
    pub(crate) const fn new(inbox: Inbox) -> Self {
        Self { inbox, table: BTreeMap::new() }
    }

    /// Opens a link; answered by `LinkUp` or `LinkRefused`.
    pub(crate) fn open(&mut self, link: LinkId, url: String, token: Secret, deadline: Mono) {
        let (sender, orders) = socket::orders();
        let paused = Arc::new(Flag::default());
        self.table.insert(link, Link { sender, paused: paused.clone() });
        let inbox = self.inbox.clone();
        let deadline = instant(deadline);
        let life = async move {
            let broken = |kind, why: &str| Refused::Failed(Failure::new(kind, why));
            let connecting = async {
                let connected = before(deadline, connect(&url, &token)).await;
                connected.unwrap_or_else(|| Err(broken(FaultKind::Deadline, "no answer in time")))
            };
            let closed = async {
                let _ = orders.doom.recv().await;
                Err(broken(FaultKind::Broken, "closed before it was open"))
            };
            match or(connecting, closed).await {
                Err(why) => inbox.put(Event::LinkRefused { link, why }),
                Ok(socket) => {
                    inbox.put(Event::LinkUp { link });
                    let why = run(link, socket, orders, &paused, &inbox).await;
                    inbox.put(Event::LinkDown { link, why });
                }
            }
        };
        spawn(life).detach();
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
            link.paused.set(paused);
        }
    }

    /// Closes a link.
    pub(crate) fn close(&self, link: LinkId, code: u16, reason: &'static str, deadline: Mono) {
        if let Some(link) = self.table.get(&link) {
            link.sender.close(code, reason, instant(deadline));
            // A paused reader would never see the peer's answer.
            link.paused.set(false);
        }
    }
}

async fn connect(url: &str, token: &Secret) -> Result<WebSocketStream<Stream>, Refused> {
    let Upgrade { request, host, port, secure } = upgrade(url, token)?;
    let stream = Stream::connect(&host, port, secure).await.map_err(|e| Refused::Failed(e.into()))?;
    let (socket, _response) =
        client_async_with_config(request, stream, Some(config())).await.map_err(refused)?;
    Ok(socket)
}

/// Moves messages until the link ends; returns why.
async fn run(
    link: LinkId,
    socket: WebSocketStream<Stream>,
    orders: Orders,
    paused: &Flag,
    inbox: &Inbox,
) -> String {
    let (sender, mut receiver) = socket.split();
    let drained = |bytes| inbox.put(Event::LinkDrained { link, bytes });
    let sending = socket::send_all(sender, orders.queue, drained);
    let unseen = Credit::new(UNSEEN);
    let receiving = async {
        loop {
            paused.until(false).await;
            match socket::receive(&mut receiver).await {
                Err(why) => return why,
                Ok(Message::Text(text)) => {
                    let bytes = u32::try_from(text.len()).unwrap_or(UNSEEN).min(UNSEEN);
                    let room = unseen.take(bytes).await;
                    inbox.put(Event::LinkText { link, text, _room: room });
                }
                Ok(Message::Binary(bytes)) => inbox.put(Event::LinkBinary { link, len: bytes.len() }),
                Ok(Message::Pong(_)) => inbox.put(Event::LinkPong { link }),
                // Pings are answered by the library; the other kinds do not come out of it.
                Ok(_) => {}
            }
        }
    };
    let doomed = async {
        socket::doomsday(&orders.doom).await;
        "closed by us; the peer did not answer in time".into()
    };
    or(or(receiving, sending), doomed).await
}
