//! S11 on a recorded life: every frame is one that an engine of the link's dialect takes.
//!
//! Would catch: a key of the newer dialect on a link of the older one; a number sent as text.
//!
//! 1. The answer to the registration tells the dialect; until then every release is possible.
//! 2. A record does not say which release it was: one of the dialect's must take the frame.

use super::super::facts::Frame;
use super::super::{frames, scene::Scene};
use crate::engine::{ProfileName, check_frame};
use relay_core::ids::LinkId;
use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Dialect {
    /// The latest confirmed link, and whether its engine knows providers.
    confirmed: Option<(LinkId, bool)>,
}

impl Dialect {
    /// A frame of the engine, after the scene has learnt of it.
    pub(super) fn arrived(&mut self, scene: &Scene, frame: &Frame<'_>, text: &str) -> Result<(), String> {
        let link = scene.link.as_ref().filter(|link| link.confirmed_at.is_some()).map(|link| link.id);
        if let Some(link) = link.filter(|link| self.confirmed.is_none_or(|(known, _)| known != *link)) {
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            self.confirmed = Some((link, answer["data"]["provider"].is_object()));
        }
        // Before the confirmation a refusal, in whatever words, is how an engine tells its dialect.
        if frame.kind() != "error" || link.is_none() {
            return Ok(());
        }
        let error: Value = serde_json::from_str(text).unwrap_or_default();
        let word = |key: &str| error[key].as_str().unwrap_or_default();
        frames::judge(word("code"), word("message"))
    }

    /// A frame of the broker.
    pub(super) fn sent(&self, scene: &Scene, text: &str) -> Result<(), String> {
        let link = scene.link.as_ref().map(|link| link.id);
        let providers = self.confirmed.filter(|(known, _)| Some(*known) == link).map(|(_, known)| known);
        let possible = ProfileName::ALL.into_iter().filter(|name| {
            let knows = *name != ProfileName::V5_0_5;
            providers.is_none_or(|providers| providers == knows)
        });
        let mut refusal = String::new();
        for release in possible {
            match check_frame(release, text) {
                Ok(()) => return Ok(()),
                Err(why) => {
                    refusal = format!("no engine of this dialect takes a frame, {release} says: {why}")
                }
            }
        }
        Err(refusal)
    }
}
