//! Connections to the engine, with TLS or without.
//!
//! Owns: connecting, and the one type for both. Must not know: what is said on them.

use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use relay_driver::tls;
use rustix::io::Errno;
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Under TLS.
    Secure(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects to a host, a name or an address without brackets.
    pub(crate) async fn connect(host: &str, port: u16, secure: bool) -> io::Result<Self> {
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        if !secure {
            return Ok(Self::Plain(tcp));
        }
        let name = host.to_owned().try_into().map_err(|_| io::Error::from(Errno::INVAL))?;
        let tls = TlsConnector::from(tls::config()).connect(name, tcp).await?;
        Ok(Self::Secure(Box::new(tls)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_close(cx),
            Self::Secure(stream) => Pin::new(stream).poll_close(cx),
        }
    }
}
