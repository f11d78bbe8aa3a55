//! Requests to the engine, as the core has built them.
//!
//! Owns: their form on the wire, and the classing of what goes wrong with them.
//! Must not know: routes, envelopes, retries; who carries a request.
//!
//! 1. A redirect is an answer like any other: a credential never follows one.

use crate::event::Failure;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use relay_core::{CallRequest, FaultKind, limits};
use std::error::Error;

/// How this broker calls itself towards the engine.
pub const AGENT: &str = concat!("relay-broker/", env!("CARGO_PKG_VERSION"));

/// A call of the core as a request.
///
/// # Errors
/// When the credential, the URL or a header does not fit into one.
pub fn message(request: CallRequest) -> Result<Request<Full<Bytes>>, Failure> {
    let mut builder = Request::builder().method(request.method).uri(request.url).header(USER_AGENT, AGENT);
    for (name, value) in &request.headers {
        builder = builder.header(*name, value.expose());
    }
    if let Some(bearer) = &request.bearer {
        let value = HeaderValue::try_from(format!("Bearer {}", bearer.expose())).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        builder = builder.header(AUTHORIZATION, value.map_err(|_| unfit("the credential"))?);
    }
    if request.body.is_some() {
        builder = builder.header(CONTENT_TYPE, "application/json");
    }
    let body = Full::new(Bytes::from(request.body.unwrap_or_default()));
    builder.body(body).map_err(|_| unfit("the URL or a header"))
}

fn unfit(what: &str) -> Failure {
    Failure::new(FaultKind::Other, format!("{what} does not fit into an HTTP request"))
}

/// Why an exchange has failed.
///
/// The innermost cause says what happened; the outer ones only that something did.
pub fn failure(error: &(dyn Error + 'static)) -> Failure {
    let causes = || std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let detail = causes().last().map_or_else(String::new, ToString::to_string);
    let system = causes().find_map(|error| error.downcast_ref::<std::io::Error>());
    let kind =
        system.map_or(FaultKind::Broken, |error| Failure::from(std::io::Error::from(error.kind())).kind);
    Failure::new(kind, detail)
}

/// The status and body of an answer.
///
/// # Errors
/// When the body breaks off, or is longer than [`limits::CALL_BODY`].
pub async fn answer(response: Response<Incoming>) -> Result<(u16, Bytes), Failure> {
    let status = response.status().as_u16();
    match Limited::new(response.into_body(), limits::CALL_BODY).collect().await {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("the answer ({status}) is longer than {} bytes", limits::CALL_BODY);
            Err(Failure::new(FaultKind::Other, detail))
        }
        Err(error) => Err(failure(&*error)),
    }
}
