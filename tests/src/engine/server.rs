//! One thread per connection.

use super::{Inner, Refuse, Shared, What, now_ms};
use crate::http::Request;
use crate::wait::now_ns;
use crate::websocket::{self, Reader, Received, Writer};
use relay_sim::engine::ConnectionId;
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Between two looks whether a socket may be read again.
const PAUSE: Duration = Duration::from_millis(2);

/// Accepts until the end of the process.
pub(super) fn run(listener: TcpListener, shared: Arc<Shared>) {
    thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let shared = shared.clone();
            // A client that breaks its connection is no news.
            thread::spawn(move || serve(tcp, &shared));
        }
    });
}

fn serve(mut tcp: TcpStream, shared: &Shared) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut from = BufReader::new(tcp.try_clone()?);
    while let Some(request) = Request::read(&mut from)? {
        if request.header("upgrade").is_some() {
            return upgrade(&request, from, tcp, shared);
        }
        let mut inner = shared.lock();
        let (status, body) = inner.http(&request);
        answer(&mut tcp, status, &body)?;
        inner.hand_out();
        if request.header("connection") == Some("close") {
            break;
        }
    }
    Ok(())
}

fn answer(tcp: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    tcp.write_all((head + body).as_bytes())
}

fn upgrade(
    request: &Request,
    from: BufReader<TcpStream>,
    mut tcp: TcpStream,
    shared: &Shared,
) -> io::Result<()> {
    let mut inner = shared.lock();
    let accepted = match inner.script.upgrade.as_mut().and_then(|script| script()) {
        Some(refuse) => Err(refuse),
        None => inner.engine.upgrade(now_ms(), &request.path, request.bearer()).map_err(Refuse::Status),
    };
    let status = match &accepted {
        Ok(_) => 101,
        Err(Refuse::Status(status)) => *status,
        Err(Refuse::Garbage | Refuse::Silence) => 0,
    };
    inner.see(What::Upgrade(status));
    let connection = match accepted {
        Ok(connection) => connection,
        Err(refuse) => {
            drop(inner);
            return refused(refuse, tcp);
        }
    };
    websocket::accept(request, &mut tcp)?;
    inner.sockets.insert(connection, Writer::new(tcp, false));
    inner.hand_out();
    drop(inner);

    let code = read_all(connection, Reader::new(from), shared);
    let mut inner = shared.lock();
    inner.see(What::Closed(code));
    if let Some(mut writer) = inner.sockets.remove(&connection) {
        if let Some(code) = code {
            if let Some(words) = inner.script.last_words.take() {
                let _ = writer.text(&words);
            }
            let _ = writer.close(code, "");
        }
        writer.cut();
    }
    inner.engine.closed(now_ms(), connection);
    inner.hand_out();
    Ok(())
}

fn refused(refuse: Refuse, mut tcp: TcpStream) -> io::Result<()> {
    match refuse {
        Refuse::Status(status) => answer(&mut tcp, status, ""),
        Refuse::Garbage => tcp.write_all(b"220 mail.test ready\r\n"),
        // Until the other side gives up.
        Refuse::Silence => io::copy(&mut tcp, &mut io::sink()).map(drop),
    }
}

/// The close code of the other side, if it said one.
fn read_all(connection: ConnectionId, mut reader: Reader, shared: &Shared) -> Option<u16> {
    while let Some(received) = reader.receive() {
        while shared.lock().script.stalled {
            thread::sleep(PAUSE);
        }
        let at_ns = now_ns();
        let mut inner = shared.lock();
        if inner.script.deaf {
            continue;
        }
        match received {
            Received::Text(text) => inner.text(at_ns, connection, &text),
            Received::Ping(payload) => {
                if let Some(writer) = inner.sockets.get_mut(&connection) {
                    let _ = writer.pong(payload);
                }
            }
            Received::Pong(payload) => inner.see_at(at_ns, What::Pong(payload)),
            Received::Close(code) => return code,
            Received::Other => {}
        }
    }
    None
}

impl Inner {
    /// A frame that was read at `at_ns`.
    fn text(&mut self, at_ns: u64, connection: ConnectionId, text: &str) {
        self.see_at(at_ns, What::In(serde_json::from_str(text).unwrap_or_default()));
        self.engine.tick(now_ms());
        self.engine.text(now_ms(), connection, text);
        self.hand_out();
    }
}
