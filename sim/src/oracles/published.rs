//! S10: a message that the local API has taken is with the engine.
//!
//! Would catch: a message that is answered as sent although the engine has refused it, or was never asked.
//!
//! 1. `POST /api/send` is answered as done only if the engine has stored that message since it was asked for.

use crate::agents::reader::{Token, token_of};
use crate::world::Of;
use relay_core::Command;
use relay_core::ids::RequestId;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Published {
    /// Messages of open requests, and whether the engine has them.
    wanted: BTreeMap<Of<RequestId>, (Token, bool)>,
}

impl Published {
    /// A request reaches the broker.
    pub(super) fn asked(&mut self, request: Of<RequestId>, target: &str, body: &[u8]) {
        // Bodies of others may be huge.
        if target != "/api/send" {
            return;
        }
        if let Some(token) = std::str::from_utf8(body).ok().and_then(token_of) {
            self.wanted.insert(request, (token, false));
        }
    }

    /// The engine has stored a message.
    pub(super) fn posted(&mut self, token: Token) {
        self.wanted
            .values_mut()
            .filter(|(wanted, _)| *wanted == token)
            .for_each(|(_, posted)| *posted = true);
    }

    /// The local API answers.
    pub(super) fn answered(&mut self, request: Of<RequestId>, command: &Command) -> Result<(), String> {
        let is_done = matches!(command, Command::ApiReply { status: 200..=299, .. });
        match self.wanted.remove(&request).filter(|(_, posted)| is_done && !posted) {
            Some((token, _)) => {
                Err(format!("message {token} is answered as sent, and the engine does not have it"))
            }
            None => Ok(()),
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn left(&mut self, request: Of<RequestId>) {
        self.wanted.remove(&request);
    }

    /// The broker is gone, and with it whoever waits for it.
    pub(super) fn died(&mut self, life: u64) {
        self.wanted.retain(|(of, _), _| *of != life);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, posted: &[Token]) -> Result<(), String> {
        let mut published = Published::default();
        let request = RequestId(1);
        published.asked((1, request), "/api/send", br#"{"to":"bob","text":"<m7.0!>"}"#);
        posted.iter().for_each(|token| published.posted(*token));
        let content_type = "application/json";
        published
            .answered((1, request), &Command::ApiReply { request, status, content_type, body: "{}".into() })
    }

    #[test]
    fn what_is_answered_as_sent_is_with_the_engine() {
        assert!(answered(200, &[]).is_err() && answered(200, &[8]).is_err());
        assert_eq!(answered(200, &[7]), Ok(()));
        assert_eq!(answered(502, &[]), Ok(()), "the client knows");
    }
}
