//! L5: results outlive their connection.
//!
//! Would catch: a result that goes down with the socket it was written to, so that an engine that asks
//! only once never resolves its invocation.
//!
//! 1. A result after which the engine said nothing on its link is sent again on the next link, before
//!    the second inventory there: a caller who lives here hears of it only behind the first.

use super::facts::Frame;
use relay_core::ids::LinkId;
use relay_core::{Command, Input};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Resent {
    /// Results after which nothing was heard, with the link that they were sent on.
    unheard: BTreeMap<String, LinkId>,
    /// The link with the latest inventory.
    listed_on: Option<LinkId>,
}

impl Resent {
    pub(super) fn input(&mut self, input: &Input<'_>, frame: Option<&Frame<'_>>) {
        if let (Input::LinkText { link, .. }, Some("reply" | "error")) = (input, frame.map(Frame::kind)) {
            self.unheard.retain(|_, on| on != link);
        }
    }

    pub(super) fn command(&mut self, command: &Command, frame: Option<&Frame<'_>>) -> Result<(), String> {
        let (Command::LinkSend { link, .. }, Some(frame)) = (command, frame) else {
            return Ok(());
        };
        match (frame.kind(), frame.invocation_id.as_deref()) {
            ("action.result", Some(id)) => {
                self.unheard.insert(id.to_owned(), *link);
            }
            ("inventory.sync", _) => {
                let is_first = self.listed_on.replace(*link) != Some(*link);
                if let Some((id, _)) = self.unheard.iter().find(|(_, on)| *on != link && !is_first) {
                    return Err(format!("the result of {id} went down with its link and is not sent again"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sends(facts: &mut Resent, link: u64, text: &str) -> Result<(), String> {
        let command = Command::LinkSend { link: LinkId(link), text: text.into() };
        facts.command(&command, Some(&Frame::read(text)))
    }

    const RESULT: &str = r#"{"type":"action.result","invocation_id":"i1","output":{}}"#;
    const INVENTORY: &str = r#"{"type":"inventory.sync","id":"r1","agents":[]}"#;

    #[test]
    fn a_result_is_sent_again_unless_the_engine_was_heard_after_it() {
        let mut facts = Resent::default();
        assert_eq!(sends(&mut facts, 1, RESULT), Ok(()));
        assert_eq!(sends(&mut facts, 1, INVENTORY), Ok(()));
        assert_eq!(sends(&mut facts, 2, INVENTORY), Ok(()), "the first goes before");
        assert!(sends(&mut facts, 2, INVENTORY).is_err());
        assert_eq!(sends(&mut facts, 2, RESULT), Ok(()));
        assert_eq!(sends(&mut facts, 2, INVENTORY), Ok(()));
        let text = r#"{"type":"reply","id":"r1","data":{}}"#;
        facts.input(&Input::LinkText { link: LinkId(2), text }, Some(&Frame::read(text)));
        assert_eq!(sends(&mut facts, 3, INVENTORY), Ok(()));
    }
}
