//! WebSockets: what a driver allows them, and the words in which they end.
//!
//! Owns: limits, sizes, times of every socket, links and event streams alike.
//! Must not know: which side of which conversation a socket is; who moves its bytes.

use crate::event::{Failure, Refused};
use hyper::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use relay_core::{FaultKind, Secret};
use std::time::Duration;
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};

/// A peer that takes nothing for this long is dead.
pub const WRITE_STUCK: Duration = Duration::from_secs(10);
/// Text that is flushed, and reported as drained, at once, in bytes.
pub const BATCH: usize = 64 * 1024;
/// From the peer's close frame to the end of the connection.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Bytes of text of one link that may wait for the core; one longer message may wait alone.
pub const UNSEEN: u32 = 1024 * 1024;
/// Longest message that is read, in bytes.
const MESSAGE: usize = 16 * 1024 * 1024;
/// Buffers are made for each socket; messages of ordinary size fit, longer ones grow them.
const BUFFER: usize = 16 * 1024;

/// Limits and buffer sizes of every socket.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE))
}

/// One thing to send.
#[derive(Debug)]
pub enum Out {
    /// A text message.
    Text(String),
    /// An empty ping.
    Ping,
    /// A close frame; nothing is sent after it.
    Close {
        /// Its code.
        code: u16,
        /// Its reason.
        reason: &'static str,
    },
}

impl From<Out> for Message {
    fn from(out: Out) -> Self {
        match out {
            Out::Text(text) => Self::text(text),
            Out::Ping => Self::Ping(Default::default()),
            Out::Close { code, reason } => {
                Self::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
            }
        }
    }
}

/// The words for a close frame of the peer.
pub fn closed(frame: Option<CloseFrame>) -> String {
    frame.map_or_else(
        || "closed without a code".into(),
        |frame| format!("closed with {}: {}", u16::from(frame.code), frame.reason),
    )
}

/// Where a link leads, and how it asks for it.
#[derive(Debug)]
pub struct Upgrade {
    /// The upgrade request.
    pub request: Request<()>,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS comes first.
    pub secure: bool,
}

/// The upgrade request of a link.
///
/// # Errors
/// What is wrong with the URL or the token.
pub fn upgrade(url: &str, token: &Secret) -> Result<Upgrade, Refused> {
    let bad = |what: &str| Refused::Failed(Failure::new(FaultKind::Other, what));
    let uri: Uri = url.parse().map_err(|_| bad("not a URL"))?;
    let secure = uri.scheme_str() == Some("wss");
    let host = uri.host().ok_or_else(|| bad("the URL names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });

    let mut request = uri.into_client_request().map_err(refused)?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|_| bad("the token does not fit into a header"))?;
    bearer.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, bearer);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(crate::request::AGENT));
    Ok(Upgrade { request, host, port, secure })
}

/// Why an upgrade has failed.
pub fn refused(error: tungstenite::Error) -> Refused {
    match error {
        tungstenite::Error::Http(response) => Refused::Status(response.status().as_u16()),
        tungstenite::Error::Io(error) => Refused::Failed(error.into()),
        error => Refused::Failed(Failure::new(FaultKind::Broken, error.to_string())),
    }
}
