//! Blocking WebSockets whose two directions are used by different threads.

use crate::http::Request;
use relay_driver::event::Refused;
use relay_driver::socket::Out;
use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameSocket};

/// For the answer to an upgrade request.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A ping with its payload.
    Ping(Vec<u8>),
    /// A pong with its payload.
    Pong(Vec<u8>),
    /// A close frame and its code.
    Close(Option<u16>),
    /// Something else.
    Other,
}

/// A message as it may come, and rarely does.
#[derive(Clone, Debug)]
pub enum Odd {
    /// A binary message of so many bytes.
    Binary(usize),
    /// A ping with this payload.
    Ping(Vec<u8>),
    /// A text of so many bytes.
    Giant(usize),
    /// This text in frames of so many bytes, written byte by byte.
    Pieces(String, usize),
    /// The end of the conversation, with this code.
    Close(u16),
}

/// Answers an upgrade request with 101.
///
/// # Errors
/// When it is none, or the connection breaks.
pub fn accept(request: &Request, tcp: &mut TcpStream) -> io::Result<()> {
    let key = request.header("sec-websocket-key");
    let key = key.ok_or_else(|| io::Error::other("no upgrade"))?;
    let accept = derive_accept_key(key.as_bytes());
    write!(
        tcp,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
    )
}

/// Opens a WebSocket as a client.
///
/// # Errors
/// When the server does not agree, or says nothing for [`HANDSHAKE`].
pub fn connect(address: &str, path: &str, header: &str) -> Result<(Reader, Writer), Refused> {
    let status = open(address, path, header).map_err(|error| Refused::Failed(error.into()))?;
    status.map_err(Refused::Status)
}

fn open(address: &str, path: &str, header: &str) -> io::Result<Result<(Reader, Writer), u16>> {
    let mut tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(HANDSHAKE))?;
    write!(
        tcp,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\n{header}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )?;
    let mut from = BufReader::new(tcp.try_clone()?);
    // An answer is read like a request: a line, headers, no body.
    let answer = Request::read(&mut from)?.ok_or_else(|| io::Error::other("it hung up"))?;
    tcp.set_read_timeout(None)?;
    match answer.path.parse() {
        Ok(101) => Ok(Ok((Reader::new(from), Writer::new(tcp, true)))),
        Ok(status) => Ok(Err(status)),
        Err(_) => Err(io::Error::other("no HTTP answer")),
    }
}

/// One direction of a socket.
pub struct Reader(FrameSocket<TcpStream>);

impl Reader {
    /// Reads frames from here on.
    pub fn new(from: BufReader<TcpStream>) -> Self {
        let read_already = from.buffer().to_vec();
        Self(FrameSocket::from_partially_read(from.into_inner(), read_already))
    }

    /// The next message; `None` when the connection is gone.
    pub fn receive(&mut self) -> Option<Received> {
        let mut payload = Vec::new();
        loop {
            let frame = self.0.read(None).ok().flatten()?;
            let mask = frame.header().mask.unwrap_or_default();
            let unmasked = frame.payload().iter().zip(mask.iter().cycle());
            payload.extend(unmasked.map(|(byte, mask)| byte ^ mask));
            let header = frame.header();
            match header.opcode {
                OpCode::Control(Control::Ping) => return Some(Received::Ping(payload)),
                OpCode::Control(Control::Close) => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Some(Received::Close(code));
                }
                OpCode::Control(Control::Pong) => return Some(Received::Pong(payload)),
                OpCode::Control(_) => return Some(Received::Other),
                OpCode::Data(_) if !header.is_final => {}
                OpCode::Data(_) => {
                    return Some(String::from_utf8(payload).map_or(Received::Other, Received::Text));
                }
            }
        }
    }
}

/// The other direction.
pub struct Writer {
    socket: FrameSocket<TcpStream>,
    masked: bool,
}

impl Writer {
    /// Clients mask what they send.
    pub fn new(tcp: TcpStream, masked: bool) -> Self {
        // Frames are small and follow one another.
        let _ = tcp.set_nodelay(true);
        Self { socket: FrameSocket::new(tcp), masked }
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.send(Frame::message(text.to_owned().into_bytes(), OpCode::Data(Data::Text), true))
    }

    /// Sends what a driver has to send.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn out(&mut self, out: Out) -> io::Result<()> {
        match out {
            Out::Text(text) => self.text(&text),
            Out::Ping => self.send(Frame::ping(Vec::new())),
            Out::Close { code, reason } => self.close(code, reason),
        }
    }

    /// Sends something odd.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn odd(&mut self, odd: &Odd) -> io::Result<()> {
        match odd {
            Odd::Binary(len) => self.send(Frame::message(vec![0; *len], OpCode::Data(Data::Binary), true)),
            Odd::Ping(payload) => self.send(Frame::ping(payload.clone())),
            Odd::Giant(len) => self.text(&"x".repeat(*len)),
            Odd::Pieces(text, len) => self.pieces(text, *len),
            Odd::Close(code) => self.close(*code, "bye"),
        }
    }

    fn pieces(&mut self, text: &str, len: usize) -> io::Result<()> {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(len).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let kind = if number == 0 { Data::Text } else { Data::Continue };
            let last = number + 1 == pieces.len();
            let mut bytes = Vec::new();
            let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), last);
            frame.format(&mut bytes).map_err(io::Error::other)?;
            for byte in bytes {
                self.socket.get_ref().write_all(&[byte])?;
            }
        }
        Ok(())
    }

    /// Answers a ping.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn pong(&mut self, payload: Vec<u8>) -> io::Result<()> {
        self.send(Frame::pong(payload))
    }

    /// Sends a close frame.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn close(&mut self, code: u16, reason: &'static str) -> io::Result<()> {
        self.send(Frame::close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() })))
    }

    /// Breaks the connection without a word.
    pub fn cut(&self) {
        let _ = self.socket.get_ref().shutdown(std::net::Shutdown::Both);
    }

    fn send(&mut self, mut frame: Frame) -> io::Result<()> {
        // A mask of zeros changes nothing and is a mask all the same.
        frame.header_mut().mask = self.masked.then_some([0; 4]);
        self.socket.send(frame).map_err(io::Error::other)
    }
}
