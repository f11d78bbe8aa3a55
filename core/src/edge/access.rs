//! Who may talk to the local API, and what kind of credential a text is.
//!
//! Owns: key comparison, the Host and Origin screen, the shape of keys.
//! Must not know: routes. The screen runs before the core sees a request.
//!
//! 1. How long a comparison takes says nothing about how much of the key was right.
//! 2. No message quotes a key.

use crate::input::Auth;
use crate::secret::Secret;
use alloc::format;
use alloc::string::String;
use core::net::IpAddr;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Judges the key of a local API request: `X-API-Key` when it is not blank, else a bearer token.
pub fn authorize(x_api_key: Option<&str>, authorization: Option<&str>, key: &Secret) -> Auth {
    let given = x_api_key.map(str::trim).filter(|given| !given.is_empty());
    match given.or_else(|| authorization.and_then(bearer)) {
        None => Auth::Missing,
        Some(given) if same(given, key.expose()) => Auth::Ok,
        Some(_) => Auth::Wrong,
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Compares digests, not texts: equal length whatever was given, and every byte is looked at.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    let different = a.iter().zip(&b).fold(0, |seen, (x, y)| seen | (x ^ y));
    core::hint::black_box(different) == 0
}

/// Why a request was turned away before anything looked at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: String,
}

/// Keeps web pages out: a page that was made to resolve to this machine names its own host, and any
/// other page names its origin.
///
/// `host` must be loopback or `bind_host`; where the listener is bound to every address, any literal
/// address will do, since a page can only re-bind names. A present `origin` must be this very host.
pub fn screen(host: Option<&str>, origin: Option<&str>, bind_host: &str, port: u16) -> Result<(), Rejection> {
    let authority = host.map_or("", str::trim);
    if !is_ours(host_of(authority), bare(bind_host)) {
        return Err(forbidden(
            "forbidden_host",
            &format!(
                "this address does not serve the host that was asked for; use http://127.0.0.1:{port}, \
                 or bind the API to that host"
            ),
        ));
    }
    match origin.map(str::trim) {
        Some(origin) if !is_origin(origin, authority) => Err(forbidden(
            "forbidden_origin",
            "requests from web pages of another origin are refused; call the API without an Origin \
             header, or from a page that it served itself",
        )),
        _ => Ok(()),
    }
}

fn is_origin(origin: &str, authority: &str) -> bool {
    origin.split_once("://").is_some_and(|(scheme, rest)| {
        scheme.eq_ignore_ascii_case("http") && rest.eq_ignore_ascii_case(authority)
    })
}

fn is_ours(host: &str, bind_host: &str) -> bool {
    if host.is_empty() {
        return false;
    }
    let bound_everywhere = bind_host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    host.eq_ignore_ascii_case("localhost")
        || host.eq_ignore_ascii_case(bind_host)
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || bound_everywhere)
}

/// The host of `host[:port]`, without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

fn bare(host: &str) -> &str {
    host.trim().trim_start_matches('[').trim_end_matches(']')
}

fn forbidden(code: &'static str, message: &str) -> Rejection {
    #[derive(Serialize)]
    struct Body<'a> {
        code: &'a str,
        message: &'a str,
    }
    Rejection {
        status: 403,
        body: serde_json::to_string(&Body { code, message }).expect("strings serialise"),
    }
}

/// What a text given as workspace key looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyShape {
    /// May be a workspace key: `rk_` and more, fit for a header.
    Workspace,
    /// Cannot be one, for this reason.
    Malformed(&'static str),
}

/// Looks at a workspace key without asking the engine.
pub fn classify_key(text: &str) -> KeyShape {
    const KINDS: [(&str, &str); 4] = [
        ("at_", "it is an agent token (at_...); a workspace key begins with rk_"),
        ("nt_", "it is a node token (nt_...); a workspace key begins with rk_"),
        ("ot_", "it is an observer token (ot_...); a workspace key begins with rk_"),
        ("br_", "it is a broker's local API key (br_...); a workspace key begins with rk_"),
    ];
    let text = text.trim();
    if text.is_empty() {
        return KeyShape::Malformed("it is empty");
    }
    if let Some((_, why)) = KINDS.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        return KeyShape::Malformed(why);
    }
    match text.strip_prefix("rk_") {
        None => KeyShape::Malformed("it does not begin with rk_"),
        Some("" | "live_") => KeyShape::Malformed("nothing follows its prefix"),
        Some(rest) if !rest.bytes().all(|byte| byte.is_ascii_graphic()) => {
            KeyShape::Malformed("it contains a space, a control or a non-ASCII character")
        }
        Some(_) => KeyShape::Workspace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Secret {
        Secret::new("br_0123456789abcdef").unwrap()
    }

    #[test]
    fn the_api_key_header_wins_over_the_bearer_token() {
        let right = "br_0123456789abcdef";
        let cases = [
            (None, None, Auth::Missing),
            (Some("  "), None, Auth::Missing),
            (Some(" br_0123456789abcdef "), None, Auth::Ok),
            (Some("br_0123456789abcdeF"), None, Auth::Wrong),
            (Some("br_0123456789abcdef0"), None, Auth::Wrong),
            (Some("x"), Some("Bearer br_0123456789abcdef"), Auth::Wrong),
            (Some(right), Some("Bearer x"), Auth::Ok),
            (Some(""), Some("bEaReR  br_0123456789abcdef "), Auth::Ok),
            (None, Some("Basic br_0123456789abcdef"), Auth::Missing),
            (None, Some("br_0123456789abcdef"), Auth::Missing),
            (None, Some("Bearer "), Auth::Missing),
            (None, Some("Bearer nope"), Auth::Wrong),
        ];
        for (header, authorization, verdict) in cases {
            assert_eq!(authorize(header, authorization, &key()), verdict, "{header:?} {authorization:?}");
        }
    }

    #[test]
    fn only_loopback_and_the_bound_host_are_served() {
        let cases = [
            (Some("127.0.0.1:3889"), "127.0.0.1", true),
            (Some("127.8.8.8"), "127.0.0.1", true),
            (Some("LocalHost:1"), "127.0.0.1", true),
            (Some("[::1]:3889"), "127.0.0.1", true),
            (Some("::1"), "127.0.0.1", false),
            (Some("build.lan:3889"), "build.lan", true),
            (Some("[fe80::1]:3889"), "fe80::1", true),
            (Some("[fe80::1]:3889"), "[fe80::1]", true),
            (Some("192.168.1.9:3889"), "0.0.0.0", true),
            (Some("192.168.1.9:3889"), "::", true),
            (Some("192.168.1.9:3889"), "127.0.0.1", false),
            (Some("rebound.example:3889"), "0.0.0.0", false),
            (Some("localhost.evil.example"), "127.0.0.1", false),
            (Some("127.0.0.1.evil.example"), "127.0.0.1", false),
            (Some("["), "127.0.0.1", false),
            (Some(""), "", false),
            (None, "127.0.0.1", false),
        ];
        for (host, bind, ok) in cases {
            let verdict = screen(host, None, bind, 3889);
            assert_eq!(verdict.is_ok(), ok, "{host:?} on {bind}");
            if let Err(rejection) = verdict {
                assert_eq!(rejection.status, 403);
                assert!(rejection.body.starts_with(r#"{"code":"forbidden_host","#));
                assert!(rejection.body.contains("http://127.0.0.1:3889"));
            }
        }
    }

    #[test]
    fn an_origin_must_be_the_host_that_was_asked() {
        let cases = [
            ("http://127.0.0.1:3889", true),
            ("HTTP://127.0.0.1:3889", true),
            ("https://127.0.0.1:3889", false),
            ("http://127.0.0.1:3890", false),
            ("http://localhost:3889", false),
            ("http://evil.example", false),
            ("null", false),
            ("", false),
        ];
        for (origin, ok) in cases {
            let verdict = screen(Some("127.0.0.1:3889"), Some(origin), "127.0.0.1", 3889);
            assert_eq!(verdict.is_ok(), ok, "{origin:?}");
            if let Err(rejection) = verdict {
                assert!(rejection.body.starts_with(r#"{"code":"forbidden_origin","#));
            }
        }
    }

    #[test]
    fn a_key_of_another_kind_is_named_but_not_quoted() {
        assert_eq!(classify_key(" rk_live_0123456789abcdef\n"), KeyShape::Workspace);
        assert_eq!(classify_key("rk_test"), KeyShape::Workspace);
        let malformed = [
            ("", "empty"),
            ("rk_", "nothing follows"),
            ("rk_live_", "nothing follows"),
            ("rk_live_a b", "space"),
            ("rk_live_a\u{7f}", "control"),
            ("rk_live_ä", "non-ASCII"),
            ("at_live_1", "agent token"),
            ("nt_live_1", "node token"),
            ("ot_live_1", "observer token"),
            ("br_1", "local API key"),
            ("secret", "does not begin with rk_"),
        ];
        for (text, word) in malformed {
            let KeyShape::Malformed(why) = classify_key(text) else {
                panic!("{text:?} passed");
            };
            assert!(why.contains(word), "{text:?}: {why}");
            assert!(text.is_empty() || !why.contains(text), "{why}");
        }
    }
}
