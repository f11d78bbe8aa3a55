//! What a scripted engine does otherwise than the model says.

use crate::http::Request;

/// Answers a request in place of the model: status and body.
pub type HttpScript = Box<dyn FnMut(&Request) -> Option<(u16, String)> + Send>;
/// Refuses an upgrade; `None` leaves it to the model.
pub type UpgradeScript = Box<dyn FnMut() -> Option<Refuse> + Send>;
/// Turns a frame to a node into those that are sent.
pub type OutScript = Box<dyn FnMut(String) -> Vec<String> + Send>;

/// How an upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuse {
    /// With this status.
    Status(u16),
    /// With an answer that is none of HTTP.
    Garbage,
    /// By saying nothing at all.
    Silence,
}

/// What goes otherwise.
#[derive(Default)]
pub struct Script {
    /// Sockets stay open, and nothing that comes is heard.
    pub deaf: bool,
    /// Sockets stay open, and nothing is read from them.
    pub stalled: bool,
    /// Asked before the model.
    pub http: Option<HttpScript>,
    /// Asked before the model.
    pub upgrade: Option<UpgradeScript>,
    /// Asked after the model.
    pub out: Option<OutScript>,
    /// A frame for the next node that closes its socket, before the close is answered.
    pub last_words: Option<String>,
}
