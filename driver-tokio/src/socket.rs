//! The sending half of a WebSocket, for links and event streams alike.
//!
//! Owns: the order of what is sent, flushing, the write deadline, the end of a close handshake.
//! Must not know: which side of which conversation it is.
//!
//! 1. Exactly one [`send_all`] per socket; everything that is sent goes through its queue.
//! 2. Text counts as drained only once it was flushed to the socket.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use relay_driver::socket::{BATCH, CLOSE_GRACE, Out, WRITE_STUCK, closed};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// The loop's end of a socket.
#[derive(Debug)]
pub(crate) struct Sender {
    queue: mpsc::UnboundedSender<Out>,
    doom: Option<oneshot::Sender<Instant>>,
}

/// The socket's end: what to send, and when to give up.
#[derive(Debug)]
pub(crate) struct Orders {
    /// What to send.
    pub(crate) queue: mpsc::UnboundedReceiver<Out>,
    /// Gets the deadline of a close.
    pub(crate) doom: oneshot::Receiver<Instant>,
}

/// Both ends.
pub(crate) fn orders() -> (Sender, Orders) {
    let (queue, receiver) = mpsc::unbounded_channel();
    let (doom, doomed) = oneshot::channel();
    (Sender { queue, doom: Some(doom) }, Orders { queue: receiver, doom: doomed })
}

impl Sender {
    /// The queue itself.
    pub(crate) fn queue(&self) -> mpsc::UnboundedSender<Out> {
        self.queue.clone()
    }

    /// Queues one thing. A socket that is gone has said so, or will.
    pub(crate) fn send(&self, out: Out) {
        let _ = self.queue.send(out);
    }

    /// Queues a close frame and sets the end of politeness.
    pub(crate) fn close(&mut self, code: u16, reason: &'static str, deadline: Instant) {
        self.send(Out::Close { code, reason });
        if let Some(doom) = self.doom.take() {
            let _ = doom.send(deadline);
        }
    }
}

/// Waits for the deadline of a close; for ever if none is ordered.
pub(crate) async fn doomsday(doom: oneshot::Receiver<Instant>) {
    match doom.await {
        Ok(deadline) => sleep_until(deadline).await,
        Err(_) => std::future::pending().await,
    }
}

/// Sends what is queued until the socket breaks, which it returns. After a close frame it waits for
/// ever: the reading half then sees the end.
pub(crate) async fn send_all<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut queue: mpsc::UnboundedReceiver<Out>,
    drained: impl Fn(usize),
) -> String {
    while let Some(first) = queue.recv().await {
        match timeout(WRITE_STUCK, send_batch(&mut sink, first, &mut queue)).await {
            Err(_) => return format!("the peer took nothing for {} s", WRITE_STUCK.as_secs()),
            Ok(Err(error)) => return error.to_string(),
            Ok(Ok(batch)) => {
                if batch.bytes > 0 {
                    drained(batch.bytes);
                }
                if batch.closed {
                    break;
                }
            }
        }
    }
    std::future::pending().await
}

struct Batch {
    bytes: usize,
    closed: bool,
}

async fn send_batch<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    first: Out,
    queue: &mut mpsc::UnboundedReceiver<Out>,
) -> Result<Batch, tokio_tungstenite::tungstenite::Error> {
    let mut batch = Batch { bytes: 0, closed: false };
    let mut next = Some(first);
    while let Some(out) = next {
        match &out {
            Out::Text(text) => batch.bytes += text.len(),
            Out::Close { .. } => batch.closed = true,
            Out::Ping => {}
        }
        sink.feed(out.into()).await?;
        next = if batch.closed || batch.bytes >= BATCH { None } else { queue.try_recv().ok() };
    }
    sink.flush().await?;
    Ok(batch)
}

/// The next message; a close frame is answered and followed to the end of the connection.
pub(crate) async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut SplitStream<WebSocketStream<S>>,
) -> Result<Message, String> {
    match stream.next().await {
        None => Err("the connection ended".into()),
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(Message::Close(frame))) => {
            // Reading on sends the answer, and ends when the peer hangs up.
            let _ = timeout(CLOSE_GRACE, async { while let Some(Ok(_)) = stream.next().await {} }).await;
            Err(closed(frame))
        }
        Some(Ok(message)) => Ok(message),
    }
}
