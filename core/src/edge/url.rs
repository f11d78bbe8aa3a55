//! URLs of the engine, and percent-encoding.
//!
//! Owns: the form of a base URL and what is appended to it. Must not know: which calls there are.
//!
//! 1. A base URL that passed [`normalise_base_url`] can be joined with anything below it by
//!    appending; it has a host, no trailing slash, no query and no credentials.
//! 2. Every path segment is encoded, so a name cannot add segments or a query.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The engine that is used when none is configured.
pub const DEFAULT_BASE_URL: &str = "https://cast.agentrelay.com";

/// Why a text cannot be the base URL of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither http nor https.
    #[error("the engine's URL must begin with http:// or https://")]
    Scheme,
    /// Nothing between scheme and path.
    #[error("the engine's URL names no host")]
    Host,
    /// User or password.
    #[error("the engine's URL must not contain a user or password")]
    Credentials,
    /// `?` or `#`.
    #[error("the engine's URL must not contain a query or fragment")]
    Query,
    /// Spaces, control characters or anything beyond ASCII.
    #[error("the engine's URL contains a character that must be percent-encoded")]
    Character,
}

/// The base URL in the form that all others are made of: trimmed, without trailing slashes, scheme in
/// lower case. Blank means [`DEFAULT_BASE_URL`].
pub fn normalise_base_url(text: &str) -> Result<String, UrlError> {
    let text = text.trim().trim_end_matches('/');
    if text.is_empty() {
        return Ok(DEFAULT_BASE_URL.to_string());
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(UrlError::Scheme);
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UrlError::Character);
    }
    if rest.contains(['?', '#']) {
        return Err(UrlError::Query);
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlError::Credentials);
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(UrlError::Host);
    }
    Ok(format!("{scheme}://{rest}"))
}

/// The URL of the node WebSocket below a normalised base URL.
pub(crate) fn node_ws_url(base: &str) -> String {
    let ws = match base.split_once("://") {
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(("http", rest)) => format!("ws://{rest}"),
        _ => base.to_string(),
    };
    format!("{}/v1/node/ws", ws.trim_end_matches('/'))
}

/// The URL of an HTTP call below a normalised base URL; every segment is encoded.
pub(crate) fn http_url(base: &str, segments: &[&str]) -> String {
    segments.iter().fold(base.trim_end_matches('/').to_string(), |mut url, segment| {
        url.push('/');
        url.push_str(&percent_encode(segment));
        url
    })
}

/// `text` as one path segment: everything but unreserved characters as `%XX`.
pub(crate) fn percent_encode(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

/// The text behind `%XX`; `None` for a broken escape or bytes that are not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let value = digit(bytes.next()?)? << 4 | digit(bytes.next()?)?;
            u8::try_from(value).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_socket_is_below_the_base_url() {
        let cases = [
            ("", "wss://cast.agentrelay.com/v1/node/ws"),
            ("https://self.hosted.example/", "wss://self.hosted.example/v1/node/ws"),
            ("http://localhost:8787", "ws://localhost:8787/v1/node/ws"),
            (" HTTPS://Host/relay// ", "wss://Host/relay/v1/node/ws"),
        ];
        for (base, url) in cases {
            assert_eq!(node_ws_url(&normalise_base_url(base).unwrap()), url);
        }
    }

    #[test]
    fn a_base_url_that_cannot_work_is_refused_with_the_reason() {
        let cases = [
            ("cast.agentrelay.com", UrlError::Scheme),
            ("ws://host", UrlError::Scheme),
            ("http://", UrlError::Scheme),
            ("http:///path", UrlError::Host),
            ("http://:80", UrlError::Host),
            ("http://me:pw@host", UrlError::Credentials),
            ("http://host?x=1", UrlError::Query),
            ("http://host/#x", UrlError::Query),
            ("http://ho st", UrlError::Character),
            ("http://hö.st", UrlError::Character),
        ];
        for (text, why) in cases {
            assert_eq!(normalise_base_url(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_name_in_a_path_cannot_add_segments() {
        assert_eq!(
            http_url("http://h/", &["v1", "agents", "a b/ä?#%", "rotate-token"]),
            "http://h/v1/agents/a%20b%2F%C3%A4%3F%23%25/rotate-token"
        );
        assert_eq!(percent_encode("aZ09-._~"), "aZ09-._~");
    }

    #[test]
    fn decoding_undoes_encoding_and_refuses_broken_escapes() {
        let text = "ä b/%2F\u{1F600}\n";
        assert_eq!(percent_decode(&percent_encode(text)).as_deref(), Some(text));
        assert_eq!(percent_decode("%c3%A4").as_deref(), Some("ä"));
        for broken in ["%", "%4", "%zz", "%+1", "%C3", "a%4ä"] {
            assert_eq!(percent_decode(broken), None, "{broken}");
        }
    }
}
