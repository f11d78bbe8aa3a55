//! The engine of this machine: stands in until the engine model is hosted here.

use crate::settings::Fatal;
use relay_core::Secret;
use std::net::SocketAddr;

/// What a broker needs to know of the engine that it was given.
#[derive(Debug)]
pub(crate) struct LocalEngine {
    /// Base URL.
    pub(crate) base_url: String,
    /// Key of its workspace.
    pub(crate) workspace_key: Secret,
}

/// Joins the engine that answers on `address`, or starts one there.
pub(crate) async fn start_or_join(address: SocketAddr) -> Result<LocalEngine, Fatal> {
    Err(Fatal::failed(format!(
        "there is no engine on {address}, and this build contains none"
    )))
}
