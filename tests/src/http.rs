//! Blocking HTTP/1.1: one request per connection as a client, and reading requests as a server.

use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use relay_core::{CallRequest, FaultKind};
use relay_driver::event::Failure;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// As long as the longest call of a broker.
const PATIENCE: Duration = Duration::from_secs(40);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// Where requests go, with a header that every request has.
#[derive(Clone, Debug)]
pub struct Client {
    /// `host:port`.
    pub address: String,
    /// For instance `Authorization: Bearer …`.
    pub header: String,
    /// For an answer.
    pub limit: Duration,
}

impl Client {
    /// A client of a node's local API.
    pub fn local(address: &str, key: &str) -> Self {
        Self { address: address.to_owned(), header: format!("X-API-Key: {key}"), limit: PATIENCE }
    }

    /// A client of an engine.
    pub fn bearer(address: &str, token: &str) -> Self {
        Self {
            address: address.to_owned(),
            header: format!("Authorization: Bearer {token}"),
            limit: PATIENCE,
        }
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// `POST` of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &body.to_string())
    }

    /// `DELETE`.
    pub fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, "")
    }

    /// Any request.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Any request.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn try_ask(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let mut tcp = TcpStream::connect(&self.address)?;
        tcp.set_read_timeout(Some(self.limit))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.address,
            self.header,
            body.len()
        );
        let sent = tcp.write_all(head.as_bytes()).and_then(|()| tcp.write_all(body.as_bytes()));
        let mut answer = Vec::new();
        let read = tcp.read_to_end(&mut answer);
        // A server may answer and close before it has read a body that is too long.
        if answer.is_empty() {
            sent.and(read)?;
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        parse(&answer).ok_or_else(|| io::Error::other(format!("no HTTP answer: {answer:?}")))
    }
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let text = if chunked { unchunked(body)? } else { body.to_owned() };
    Some(Answer { status, text })
}

fn unchunked(mut body: &str) -> Option<String> {
    let mut text = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n")?;
        let length = usize::from_str_radix(length.trim(), 16).ok()?;
        if length == 0 {
            return Some(text);
        }
        text.push_str(rest.get(..length)?);
        body = rest.get(length + 2..)?;
    }
}

/// Makes a call of the core, which gets its answer within `limit`.
///
/// # Errors
/// When there is no answer, or the URL wants TLS.
pub fn exchange(request: &CallRequest, limit: Duration) -> Result<(u16, Bytes), Failure> {
    let plain = request.url.strip_prefix("http://");
    let url = plain.ok_or_else(|| Failure::new(FaultKind::Other, "this client knows no TLS"))?;
    let (address, path) = url.split_at(url.find('/').unwrap_or(url.len()));
    let bearer = request.bearer.iter().map(|bearer| format!("authorization: Bearer {}", bearer.expose()));
    let more = request.headers.iter().map(|(name, value)| format!("{name}: {}", value.expose()));
    let header = bearer.chain(more).collect::<Vec<_>>().join("\r\n");
    let client = Client { address: address.to_owned(), header, limit };
    let answer = client.try_ask(request.method, path, request.body.as_deref().unwrap_or_default())?;
    Ok((answer.status, answer.text.into()))
}

/// Writes an answer of JSON, after which the connection ends.
///
/// # Errors
/// When it has ended already.
pub fn write_answer(tcp: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    tcp.write_all((head + body).as_bytes())
}

/// A request as a server reads it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads the next request of a connection; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks or speaks no HTTP.
    pub fn read(from: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(io::Error::other("no request line"));
        };
        let mut headers = Vec::new();
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self { method, path, headers, body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok());
        request.body.resize(length.unwrap_or(0), 0);
        from.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All headers that are some.
    pub fn header_map(&self) -> HeaderMap {
        let parse = |(name, value): &(String, String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        self.headers.iter().filter_map(parse).collect()
    }

    /// The bearer token.
    pub fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }
}
