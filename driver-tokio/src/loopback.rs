//! One HTTP exchange with an engine of this machine.
//!
//! Owns: the connection of one request. Must not know: what is asked.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Longest answer that is read, in bytes.
const ANSWER: usize = 1024 * 1024;

/// Sends `request` to `address`: the status and body of the answer.
pub(crate) async fn exchange(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
    tokio::spawn(connection);
    let host = address.to_string().try_into()?;
    request.headers_mut().entry(HOST).or_insert(host);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER).collect().await?;
    Ok((status, body.to_bytes()))
}
