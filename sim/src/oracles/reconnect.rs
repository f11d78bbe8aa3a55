//! S9 and L2: how often, and how soon, the broker comes back to its engine.
//!
//! Would catch: a backoff that never grows, or never becomes small again; tokens minted without end
//! while every upgrade is a 401; a budget that each mint gives back; a broker that waits for nothing
//! and so never connects again.
//!
//! 1. In one outage no more than `REMINTS` tokens follow the first, and later one per `DISABLED_MINT`. The token of
//!    another node is none: engines up to 6.1 answer with it where that has the broker's name.
//! 2. In one `WINDOW` without a registration no more than `ATTEMPTS` links are opened.
//! 3. After a registration that lasted for `LINK_SETTLED` the next link is tried within `BACKOFF_FIRST`.
//! 4. No token is minted because of a link that was refused for anything else than its token.
//! 5. L2: while a broker lives and is not asked to stop, it does something about its link at least once
//!    per `BACKOFF_MAX`, and per `DISABLED_PROBE` when there are no more tokens for it.

use super::scene::Scene;
use super::{At, Broken};
use relay_core::ids::CallId;
use relay_core::limits::{BACKOFF_FIRST, BACKOFF_MAX, DISABLED_MINT, DISABLED_PROBE, LINK_SETTLED, REMINTS};
use relay_core::{Command, Input, Refusal};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// The span of invariant 2, in µs of the machine's clock.
const WINDOW: u64 = 60 * 1_000_000;
/// With delays that double from one second to thirty, each drawn below its bound, some ten attempts are
/// usual in a minute; with delays that stay at one second, a hundred.
const ATTEMPTS: usize = 45;
/// A timer's due time and the command that follows may be this far apart, in µs.
const SLACK: u64 = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Reconnect {
    outage: Outage,
    /// Mints, with the id of the node that a token is asked for.
    mints: BTreeMap<CallId, String>,
    attempts: VecDeque<u64>,
    /// A link that had been good for long ended at this virtual time.
    settled_end: Option<u64>,
    /// The latest link was refused, and not because of its token.
    blameless: bool,
    /// Since then nothing is under way about a link: virtual time.
    idle_since: Option<u64>,
    stopping: bool,
}

#[derive(Debug, Default)]
struct Outage {
    since: Option<u64>,
    tokens: u64,
    /// The engine has refused a token in this outage: a person has to act.
    refused: bool,
}

impl Reconnect {
    /// Before the scene learns of it.
    pub(super) fn input(&mut self, at: At, scene: &Scene, input: &Input<'_>) -> Result<(), Broken> {
        match input {
            Input::LinkDown { link, .. } | Input::LinkRefused { link, .. } => {
                self.blameless = match input {
                    Input::LinkRefused { why, .. } => !matches!(why, Refusal::Status(401)),
                    _ => false,
                };
                if let Some(known) = scene.link.as_ref().filter(|known| known.id == *link) {
                    self.on_end(at, known.confirmed_at);
                }
            }
            Input::CallDone { call, result } if self.mints.contains_key(call) => {
                let wanted = self.mints.remove(call).unwrap_or_default();
                self.idle_since = Some(at.now);
                self.outage.refused |= result.as_ref().is_ok_and(|reply| is_refusal(reply.status));
                if result
                    .as_ref()
                    .is_ok_and(|reply| reply.status < 300 && !is_of_another(reply.body, &wanted))
                {
                    return self.on_minted(at).map_err(|why| ("S9", why));
                }
            }
            Input::CallDone { .. } if scene.link.is_none() => self.idle_since = Some(at.now),
            Input::Terminate => self.stopping = true,
            _ => {}
        }
        self.judge_idle(at)
    }

    /// After the scene has learnt of an input.
    pub(super) fn after(&mut self, scene: &Scene) {
        if scene.is_confirmed() {
            self.outage = Outage::default();
            self.attempts.clear();
        }
    }

    fn on_end(&mut self, at: At, confirmed_at: Option<u64>) {
        let settled = confirmed_at.is_some_and(|since| at.now > since + LINK_SETTLED.0);
        self.settled_end = settled.then_some(at.now);
        self.idle_since = Some(at.now);
        self.outage.since.get_or_insert(at.mono);
    }

    fn on_minted(&mut self, at: At) -> Result<(), String> {
        let since = *self.outage.since.get_or_insert(at.mono);
        self.outage.tokens += 1;
        // The first mint of an outage need not be a re-mint.
        let most = 1 + u64::from(REMINTS) + at.mono.saturating_sub(since) / DISABLED_MINT.0;
        if self.outage.tokens > most {
            return Err(format!("{} tokens were minted in one outage", self.outage.tokens));
        }
        Ok(())
    }

    /// Before the scene learns of it.
    pub(super) fn command(&mut self, at: At, scene: &Scene, command: &Command) -> Result<(), String> {
        match command {
            Command::LinkClose { .. } => {
                let confirmed_at = scene.link.as_ref().and_then(|link| link.confirmed_at);
                self.on_end(at, confirmed_at);
            }
            Command::Call { request, .. } if request.url.ends_with("/v1/nodes") && self.blameless => {
                return Err("a token is minted, and the engine has not refused the one that there is".into());
            }
            Command::Call { call, request, .. } if request.url.ends_with("/v1/nodes") => {
                let body: Value =
                    serde_json::from_str(request.body.as_deref().unwrap_or_default()).unwrap_or_default();
                let wanted = body["node_id"].as_str().unwrap_or_default();
                self.mints.insert(*call, wanted.to_owned());
                (self.settled_end, self.idle_since) = (None, None);
            }
            Command::LinkOpen { .. } => {
                (self.idle_since, self.blameless) = (None, false);
                let late = self.settled_end.take().map(|end| at.now - end);
                if let Some(late) = late.filter(|late| *late > BACKOFF_FIRST.0 + SLACK) {
                    return Err(format!("the first attempt after a good link came {late} µs after its end"));
                }
                return self.judge_attempts(at);
            }
            _ => {}
        }
        Ok(())
    }

    fn judge_attempts(&mut self, at: At) -> Result<(), String> {
        self.attempts.push_back(at.mono);
        while self.attempts.front().is_some_and(|first| at.mono - first > WINDOW) {
            self.attempts.pop_front();
        }
        if self.attempts.len() > ATTEMPTS {
            return Err(format!("{} links were tried within a minute", self.attempts.len()));
        }
        Ok(())
    }

    fn judge_idle(&self, at: At) -> Result<(), Broken> {
        match self.is_asleep(at) {
            Some(since) => Err(("L2", format!("nothing was done about a link for {since} µs"))),
            None => Ok(()),
        }
    }

    /// For how long nothing has been done about a link, if that is too long.
    fn is_asleep(&self, at: At) -> Option<u64> {
        let since = self.idle_since.filter(|_| !self.stopping)?;
        let idle = at.now.saturating_sub(since);
        let exhausted = self.outage.refused || self.outage.tokens >= u64::from(REMINTS);
        let most = if exhausted { DISABLED_PROBE } else { BACKOFF_MAX };
        (idle > most.0 + SLACK).then_some(idle)
    }

    pub(super) fn died(&mut self) {
        *self = Self::default();
    }
}

/// Whether an answer is one of an engine that will not, and not of one that cannot now or is busy.
pub(super) fn is_refusal(status: u16) -> bool {
    (400..500).contains(&status) && ![408, 429].contains(&status)
}

/// Whether a mint is answered with a token of another node than the wanted one.
fn is_of_another(answer: &[u8], wanted: &str) -> bool {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    answer["data"]["id"].as_str().is_some_and(|id| id != wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::ids::LinkId;
    use relay_core::time::Mono;
    use relay_core::{CallReply, CallRequest, Secret};

    fn at(seconds: u64) -> At {
        At { life: 1, mono: seconds * 1_000_000, now: seconds * 1_000_000 }
    }

    fn open(number: u64) -> Command {
        let token = Secret::new("nt_live_1").expect("not empty");
        Command::LinkOpen { link: LinkId(number), url: "ws://x".into(), token, deadline: Mono(0) }
    }

    fn mint(number: u64) -> Command {
        let request = CallRequest {
            method: "POST",
            url: "http://x/v1/nodes".into(),
            bearer: None,
            headers: vec![],
            body: None,
        };
        Command::Call { call: CallId(number), request, deadline: Mono(0) }
    }

    #[test]
    fn a_minute_has_room_for_growing_delays_only() {
        let (mut reconnect, scene) = (Reconnect::default(), Scene::default());
        for second in 0..200 {
            assert_eq!(reconnect.command(at(second * 2), &scene, &open(second)), Ok(()));
        }
        let judged = (0..ATTEMPTS as u64).map(|second| reconnect.command(at(400 + second), &scene, &open(1)));
        assert!(judged.last().expect("some").is_err());
    }

    #[test]
    fn an_outage_has_its_budget_of_tokens() {
        let (mut reconnect, scene) = (Reconnect::default(), Scene::default());
        let mut minted = |second: u64| {
            reconnect.command(at(second), &scene, &mint(second)).expect("a call is free");
            let (call, result) = (CallId(second), Ok(CallReply { status: 201, body: b"" }));
            reconnect.input(at(second), &scene, &Input::CallDone { call, result })
        };
        for second in 1..=6 {
            assert_eq!(minted(second), Ok(()));
        }
        assert!(minted(7).is_err());
        let answer = br#"{"ok":true,"data":{"id":"node_1","token":"nt_live_1"}}"#;
        assert_eq!([is_of_another(answer, "node_1"), is_of_another(answer, "node_2")], [false, true]);
        assert!(!is_of_another(b"", "node_1"), "who does not say whose it is means the wanted one");
    }

    #[test]
    fn only_a_refused_token_is_replaced() {
        for (status, good) in [(401, true), (429, false), (503, false)] {
            let (mut reconnect, scene) = (Reconnect::default(), Scene::default());
            reconnect.command(at(1), &scene, &open(1)).expect("the first");
            let refused = Input::LinkRefused { link: LinkId(1), why: Refusal::Status(status) };
            assert_eq!(reconnect.input(at(2), &scene, &refused), Ok(()));
            assert_eq!(reconnect.command(at(3), &scene, &mint(1)).is_ok(), good, "{status}");
            reconnect.command(at(4), &scene, &open(2)).expect("the second");
            assert_eq!(reconnect.command(at(5), &scene, &mint(2)), Ok(()));
        }
    }

    #[test]
    fn a_broker_that_does_nothing_about_its_link_sleeps() {
        let (mut reconnect, mut scene) = (Reconnect::default(), Scene::default());
        reconnect.command(at(1), &scene, &open(1)).expect("the first");
        scene.command(at(1), &open(1), None);
        let down = Input::LinkDown { link: LinkId(1), why: "" };
        assert_eq!(reconnect.input(at(2), &scene, &down), Ok(()));
        assert_eq!(reconnect.is_asleep(at(32)), None);
        assert!(reconnect.input(at(34), &scene, &Input::Tick).is_err());
    }
}
