//! What a scripted engine does otherwise than the model says.

use crate::http::Request;

/// Answers a request in place of the model: status and body.
pub type HttpScript = Box<dyn FnMut(&Request) -> Option<(u16, String)> + Send>;
/// Refuses an upgrade with a status.
pub type UpgradeScript = Box<dyn FnMut() -> Option<u16> + Send>;
/// Turns a frame to a node into those that are sent.
pub type OutScript = Box<dyn FnMut(String) -> Vec<String> + Send>;

/// What goes otherwise.
#[derive(Default)]
pub struct Script {
    /// Asked before the model.
    pub http: Option<HttpScript>,
    /// Asked before the model.
    pub upgrade: Option<UpgradeScript>,
    /// Asked after the model.
    pub out: Option<OutScript>,
}
