//! The two halves of a WebSocket, for links and event streams alike.
//!
//! Owns: the order of what is sent, flushing, the write deadline, the end of a close handshake.
//! Must not know: which side of which conversation it is.
//!
//! 1. Exactly one [`send_all`] per socket; everything that is sent goes through its queue.
//! 2. Text counts as drained only once it was flushed to the socket.

use crate::task::within;
use async_tungstenite::tungstenite::{Error, Message};
use async_tungstenite::{WebSocketReceiver, WebSocketSender};
use futures_util::{SinkExt, StreamExt};
use relay_driver::socket::{BATCH, CLOSE_GRACE, Out, WRITE_STUCK, closed};
use smol::Timer;
use smol::channel::{self, Receiver};
use smol::io::{AsyncRead, AsyncWrite};
use std::future::pending;
use std::time::Instant;

/// The loop's end of a socket.
#[derive(Debug)]
pub(crate) struct Sender {
    queue: channel::Sender<Out>,
    doom: channel::Sender<Instant>,
}

/// The socket's end: what to send, and when to give up.
#[derive(Debug)]
pub(crate) struct Orders {
    /// What to send.
    pub(crate) queue: Receiver<Out>,
    /// Gets the deadline of a close.
    pub(crate) doom: Receiver<Instant>,
}

/// Both ends.
pub(crate) fn orders() -> (Sender, Orders) {
    let (queue, receiver) = channel::unbounded();
    let (doom, doomed) = channel::bounded(1);
    (Sender { queue, doom }, Orders { queue: receiver, doom: doomed })
}

impl Sender {
    /// The queue itself.
    pub(crate) fn queue(&self) -> channel::Sender<Out> {
        self.queue.clone()
    }

    /// Queues one thing. A socket that is gone has said so, or will.
    pub(crate) fn send(&self, out: Out) {
        let _ = self.queue.try_send(out);
    }

    /// Queues a close frame and sets the end of politeness; only the first one counts.
    pub(crate) fn close(&self, code: u16, reason: &'static str, deadline: Instant) {
        self.send(Out::Close { code, reason });
        let _ = self.doom.try_send(deadline);
    }
}

/// Waits for the deadline of a close; for ever if none is ordered.
pub(crate) async fn doomsday(doom: &Receiver<Instant>) {
    match doom.recv().await {
        Ok(deadline) => drop(Timer::at(deadline).await),
        Err(_) => pending().await,
    }
}

/// Sends what is queued until the socket breaks, which it returns. After a close frame it waits for
/// ever: the reading half then sees the end.
pub(crate) async fn send_all<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketSender<S>,
    queue: Receiver<Out>,
    drained: impl Fn(usize),
) -> String {
    while let Ok(first) = queue.recv().await {
        match within(WRITE_STUCK, send_batch(&mut socket, first, &queue)).await {
            None => return format!("the peer took nothing for {} s", WRITE_STUCK.as_secs()),
            Some(Err(error)) => return error.to_string(),
            Some(Ok(batch)) => {
                if batch.bytes > 0 {
                    drained(batch.bytes);
                }
                if batch.closed {
                    break;
                }
            }
        }
    }
    pending().await
}

struct Batch {
    bytes: usize,
    closed: bool,
}

async fn send_batch<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketSender<S>,
    first: Out,
    queue: &Receiver<Out>,
) -> Result<Batch, Error> {
    let mut batch = Batch { bytes: 0, closed: false };
    let mut next = Some(first);
    while let Some(out) = next {
        match &out {
            Out::Text(text) => batch.bytes += text.len(),
            Out::Close { .. } => batch.closed = true,
            Out::Ping => {}
        }
        socket.feed(out.into()).await?;
        next = if batch.closed || batch.bytes >= BATCH { None } else { queue.try_recv().ok() };
    }
    socket.flush().await?;
    Ok(batch)
}

/// The next message; a close frame is answered and followed to the end of the connection.
pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketReceiver<S>,
) -> Result<Message, String> {
    match socket.next().await {
        None => Err("the connection ended".into()),
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(Message::Close(frame))) => {
            // Reading on sends the answer, and ends when the peer hangs up.
            within(CLOSE_GRACE, async { while let Some(Ok(_)) = socket.next().await {} }).await;
            Err(closed(frame))
        }
        Some(Ok(message)) => Ok(message),
    }
}
