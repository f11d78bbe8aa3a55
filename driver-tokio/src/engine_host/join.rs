//! Joining the engine that another process of this machine runs.
//!
//! Owns: one question, and telling an engine of ours from any other program on its port.
//! Must not know: the model.

use super::LocalEngine;
use super::server::LOCAL_WORKSPACE;
use crate::loopback;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use relay_core::Secret;
use relay_driver::settings::Fatal;
use serde::Deserialize;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// For the whole question, on loopback.
const LIMIT: Duration = Duration::from_secs(5);

/// The answer.
#[derive(Deserialize)]
struct Workspace {
    workspace_key: String,
}

/// Asks the engine on `address` for the workspace of this machine.
pub(super) async fn join(address: SocketAddr) -> Result<LocalEngine, Fatal> {
    let unfit = |why: &str| {
        Fatal::failed(format!(
            "--local: something listens on {address}, but it is no engine of this program ({why}); \
             stop it, or start an engine elsewhere with `relay-broker engine --listen 127.0.0.1:PORT` \
             and use that one with RELAY_BASE_URL and RELAY_API_KEY"
        ))
    };
    let body = match timeout(LIMIT, ask(address)).await {
        Err(_) => return Err(unfit("it did not answer in time")),
        Ok(Err(error)) => return Err(unfit(&error.to_string())),
        Ok(Ok(body)) => body,
    };
    let workspace: Workspace = serde_json::from_slice(&body).map_err(|_| unfit("its answer is not ours"))?;
    let workspace_key = Secret::new(&workspace.workspace_key).ok_or_else(|| unfit("it gave no key"))?;
    Ok(LocalEngine { base_url: format!("http://{address}"), workspace_key })
}

async fn ask(address: SocketAddr) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
    let request = Request::get(LOCAL_WORKSPACE).body(Full::default())?;
    match loopback::exchange(address, request).await? {
        (StatusCode::OK, body) => Ok(body),
        (status, _) => Err(format!("it answered {status}").into()),
    }
}
