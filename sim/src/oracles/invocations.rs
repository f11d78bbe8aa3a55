//! S15 and L5: what the engine asks for is done once and answered.
//!
//! Would catch: a repeated spawn that starts a second process, or is answered with "name in use" and
//! so turns success into failure; an inventory sent in the middle of a spawn, for which another node
//! starts the agent, too; a result that died with its connection, so that the engine never
//! resolves the invocation; a spawn taken up again after a crash although its process had started; a release
//! that nobody answers because the broker that was asked has ended.
//!
//! 1. S15: a process is started for an invocation or a request of the local API that is open, and for
//!    each of them at most once, over all lives.
//! 2. S15: an invocation has one result: what was sent, or is on disk, is what is sent again.
//! 3. S15: an inventory does not leave out what the engine has asked for on its link and still waits for,
//!    unless that takes long by the broker's clock, or the inventory has waited for many such: the engine would
//!    give it to another node as well. What it had queued counts as asked for from when it leaves the engine,
//!    for a moment. A release is never moved. A broker that stops takes releases only: whatever else comes to it
//!    then is for another, and may be left out, but not begun.
//! 4. S15: what a process was started for, in any life, is not handed back: the engine would give it to another
//!    node. Today the core hands back only actions that it does not know; this guards that.
//! 5. S15: a release is taken and answered only with a record of it on its way to the disk or there: no engine
//!    from 8.0 on asks the next life.
//! 6. L5: in the end no invocation that the broker was given is open, unless the engine took it back.

use super::facts::Frame;
use crate::engine::Event;
use relay_core::ids::{LinkId, RequestId};
use relay_core::limits::INVENTORY_PATIENCE;
use relay_core::{StoreAction, StoreFile};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// In a result: the one error by which an invocation is handed back.
const HANDED_BACK: &str = r#""error":"handler_unavailable""#;

/// In a record: it is of a release.
const RELEASES: &str = r#""releases":"#;

/// What was queued for the node is on its way to it for so long at least, by the broker's clock, in µs.
const UNDER_WAY: u64 = 150_000;

/// On whose behalf a process may be started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Invocation(String),
    Api(RequestId),
}

#[derive(Debug, Default)]
pub(super) struct Invocations {
    /// Invocations that a process was started for, in any life.
    started: BTreeSet<String>,
    /// Invocations that this life has ended.
    ended: BTreeSet<String>,
    /// Open orders without a process, by the name of the agent.
    orders: BTreeMap<String, Vec<Order>>,
    /// The frame of each result, hashed: of those that this life has sent, or that are on disk.
    results: BTreeMap<String, u64>,
    /// Invocations whose end is on disk.
    kept: BTreeSet<String>,
    /// What the broker was given and the engine has not ended.
    open: BTreeSet<String>,
    /// What this life was given and has not answered, whatever the engine has planned anew meanwhile; with
    /// the link on which it came last, and when by the broker's clock, in µs.
    begun: BTreeMap<String, (LinkId, u64)>,
    /// What is never moved to another node.
    releases: BTreeSet<String>,
    /// What the engine had queued and has sent on a link before that was confirmed, until it arrives; with the
    /// time by the broker's clock, in µs.
    queued: BTreeMap<String, (LinkId, u64)>,
    /// Releases that came while the agent ran here, in this life or one that told it this one.
    carried: BTreeSet<String>,
    /// Releases that the journal tells the next life to answer.
    promised: BTreeSet<String>,
    /// Releases whose record this life has sent to the disk.
    written: BTreeSet<String>,
    /// The release that the broker has just taken, if there is no record of it.
    unwritten: Option<String>,
    /// What the engine has ended: its frame may still be under way.
    finished: BTreeSet<String>,
    /// Whether this life is asked to stop.
    stops: bool,
}

impl Invocations {
    /// The engine sends what it had queued, on a link that the broker does not know to be confirmed.
    pub(super) fn queued(&mut self, mono: u64, link: LinkId, id: &str) {
        self.queued.insert(id.to_owned(), (link, mono));
    }

    /// A frame reaches the broker.
    pub(super) fn given(&mut self, mono: u64, link: LinkId, frame: &Frame<'_>, runs: impl Fn(&str) -> bool) {
        let Some(id) = frame.invocation_id.as_deref().filter(|_| frame.kind() == "action.invoke") else {
            return;
        };
        self.queued.remove(id);
        if !self.finished.contains(id) {
            self.open.insert(id.to_owned());
        }
        let name = frame.input.as_ref().and_then(|input| input.name.as_deref());
        if frame.action.as_deref() == Some("release") {
            self.releases.insert(id.to_owned());
            if name.is_some_and(runs) {
                self.carried.insert(id.to_owned());
            }
            if !self.is_recorded(id) {
                self.unwritten = Some(id.to_owned());
            }
        }
        if self.stops && !self.releases.contains(id) && !self.begun.contains_key(id) {
            return;
        }
        if !self.finished.contains(id) && !self.ended.contains(id) {
            self.begun.insert(id.to_owned(), (link, mono));
        }
        let spawns = frame.action.as_deref().is_some_and(|action| action.starts_with("spawn"));
        let over = self.started.contains(id) || self.ended.contains(id);
        if let Some(name) = name.filter(|_| spawns && !over) {
            let order = Order::Invocation(id.to_owned());
            let orders = self.orders.entry(name.to_owned()).or_default();
            if !orders.contains(&order) {
                orders.push(order);
            }
        }
    }

    /// The broker is asked to stop.
    pub(super) fn stops(&mut self) {
        self.stops = true;
    }

    /// A spawn is asked for on the local API.
    pub(super) fn asked(&mut self, request: RequestId, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(name) = body["name"].as_str() {
            self.orders.entry(name.to_owned()).or_default().push(Order::Api(request));
        }
    }

    /// The local API has answered.
    pub(super) fn answered(&mut self, request: RequestId) {
        self.close(&Order::Api(request));
    }

    fn close(&mut self, order: &Order) {
        self.orders.retain(|_, orders| {
            orders.retain(|other| other != order);
            !orders.is_empty()
        });
    }

    /// A process is started for an agent: the orders that it may be for, as somebody who asked may have gone
    /// without an answer.
    pub(super) fn spawns(&mut self, name: &str) -> Result<Vec<Order>, String> {
        // The name is reserved for the first order; later ones of the same name are refused.
        match self.orders.get_mut(name).filter(|orders| !orders.is_empty()) {
            Some(orders) => {
                let open = orders.clone();
                if let Order::Invocation(id) = orders.remove(0) {
                    self.started.insert(id);
                }
                Ok(open)
            }
            None => Err(format!("a process is started for {name:?}, and nobody waits for one")),
        }
    }

    /// A result leaves the broker.
    pub(super) fn ends(&mut self, frame: &Frame<'_>, text: &str) -> Result<(), String> {
        let Some(id) = frame.invocation_id.as_deref() else {
            return Ok(());
        };
        if self.started.contains(id) && text.contains(HANDED_BACK) {
            return Err(format!("invocation {id} is handed back although a process was started for it"));
        }
        if self.releases.contains(id) && !self.is_recorded(id) {
            return Err(format!("release {id} is answered, and no record of it would tell the next life"));
        }
        self.close(&Order::Invocation(id.to_owned()));
        self.ended.insert(id.to_owned());
        self.begun.remove(id);
        self.queued.remove(id);
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        if *self.results.entry(id.to_owned()).or_insert(hash) != hash {
            return Err(format!("invocation {id} has another result than before: {text}"));
        }
        Ok(())
    }

    /// An inventory leaves on a link; `waits`: whether it can still wait.
    pub(super) fn listed(
        &self,
        mono: u64,
        link: LinkId,
        frame: &Frame<'_>,
        waits: bool,
    ) -> Result<(), String> {
        let listed = |id: &str| frame.agents.iter().any(|entry| entry.invocation_id.as_deref() == Some(id));
        let left_out = |(on, since): &(LinkId, u64), patience: u64| *on == link && mono < since + patience;
        let stays = |id: &str| listed(id) || self.releases.contains(id);
        let begun = self.begun.iter().find(|(id, at)| left_out(at, INVENTORY_PATIENCE.0) && !stays(id));
        if let Some((id, _)) = begun.filter(|_| waits) {
            return Err(format!(
                "an inventory leaves out {id}, which is under way: another node may be given it, too"
            ));
        }
        match self.queued.iter().find(|(_, at)| left_out(at, UNDER_WAY)) {
            Some((id, _)) => Err(format!(
                "an inventory does not wait for {id}, which the engine had queued: another node may be given it"
            )),
            None => Ok(()),
        }
    }

    fn is_recorded(&self, release: &str) -> bool {
        self.written.contains(release) || self.promised.contains(release)
    }

    /// The broker has done with an input, and is handed the next.
    pub(super) fn goes_on(&mut self) -> Result<(), String> {
        match self.unwritten.take().filter(|id| !self.is_recorded(id)) {
            Some(id) => Err(format!("release {id} is taken, and no record of it would tell the next life")),
            None => Ok(()),
        }
    }

    /// A change of a file is on its way to the disk.
    pub(super) fn writes(&mut self, action: &StoreAction) {
        let lines = match action {
            StoreAction::Append { lines } => lines,
            StoreAction::Replace { file: StoreFile::Journal, content } => content.expose(),
            _ => return,
        };
        self.written.extend(releases(lines));
    }

    /// A new record is on disk.
    pub(super) fn stored(&mut self, record: &Value) {
        let Some(id) = record["invocation"].as_str() else {
            return;
        };
        if record["record"] == "finished" {
            self.kept.insert(id.to_owned());
        }
        if record["releases"].is_string() {
            self.promised.insert(id.to_owned());
        }
    }

    /// A journal is on disk that was written anew. It may tell of an end that was none of those that were sent: of
    /// what a life before had begun, and could not write how it ended.
    pub(super) fn rewritten(&mut self, lines: &str) {
        self.promised.extend(releases(lines));
    }

    pub(super) fn engine(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::LeftBeforeRelease { invocation_id } if self.carried.contains(invocation_id) => {
                return Err(format!("the agent that {invocation_id} releases left before that was answered"));
            }
            Event::InvocationFinished { invocation_id, .. } => {
                self.open.remove(invocation_id);
                self.begun.remove(invocation_id);
                self.queued.remove(invocation_id);
                self.finished.insert(invocation_id.clone());
            }
            Event::InvocationRescheduled { invocation_id } => {
                self.open.remove(invocation_id);
                self.queued.remove(invocation_id);
            }
            _ => {}
        }
        Ok(())
    }

    /// The broker is gone: its clients do not wait any more, and what it had not begun may be begun by
    /// the next.
    pub(super) fn died(&mut self) {
        self.orders.clear();
        self.ended.clear();
        let kept = &self.kept;
        self.results.retain(|id, _| kept.contains(id));
        self.begun.clear();
        self.queued.clear();
        // An engine that sends a release once has it only from a life that the journal tells of it.
        let (releases, promised) = (&self.releases, &self.promised);
        self.open.retain(|id| !releases.contains(id) || promised.contains(id));
        self.carried.retain(|id| promised.contains(id));
        self.written.clear();
        self.unwritten = None;
        self.stops = false;
    }

    /// An invocation without an end.
    pub(super) fn first_open(&self) -> Option<&str> {
        self.open.first().or_else(|| self.begun.keys().next()).map(String::as_str)
    }
}

/// The releases that the lines of a journal tell of.
fn releases(lines: &str) -> impl Iterator<Item = String> {
    let id = |line: &str| {
        let record: Value = serde_json::from_str(line).ok()?;
        record["invocation"].as_str().map(str::to_owned)
    };
    lines.lines().filter(|line| line.contains(RELEASES)).filter_map(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAWN: &str =
        r#"{"type":"action.invoke","invocation_id":"i1","action":"spawn:cat","input":{"name":"bob"}}"#;

    fn given(invocations: &mut Invocations) {
        invocations.given(0, LinkId(1), &Frame::read(SPAWN), |_| true);
    }

    fn result(invocations: &mut Invocations, output: &str) -> Result<(), String> {
        let text = format!(r#"{{"type":"action.result","invocation_id":"i1","output":{output}}}"#);
        invocations.ends(&Frame::read(&text), &text)
    }

    #[test]
    fn an_invocation_starts_one_process_however_often_it_comes() {
        let mut invocations = Invocations::default();
        given(&mut invocations);
        given(&mut invocations);
        assert!(invocations.spawns("bob").is_ok());
        assert!(invocations.spawns("bob").is_err());
        invocations.died();
        given(&mut invocations);
        assert!(invocations.spawns("bob").is_err());
        invocations.asked(RequestId(1), br#"{"name":"bob"}"#);
        assert!(invocations.spawns("bob").is_ok());
        invocations.asked(RequestId(2), br#"{"name":"bob"}"#);
        invocations.answered(RequestId(2));
        assert!(invocations.spawns("bob").is_err(), "it was refused");
    }

    #[test]
    fn what_a_process_was_started_for_is_not_handed_back() {
        let text = r#"{"type":"action.result","invocation_id":"i1","error":"handler_unavailable"}"#;
        let hand_back = |invocations: &mut Invocations| invocations.ends(&Frame::read(text), text);
        let mut invocations = Invocations::default();
        given(&mut invocations);
        assert_eq!(hand_back(&mut invocations), Ok(()));
        let mut invocations = Invocations::default();
        given(&mut invocations);
        assert!(invocations.spawns("bob").is_ok());
        assert!(hand_back(&mut invocations).is_err());
    }

    #[test]
    fn a_result_is_repeated_word_for_word_unless_a_crash_took_it() {
        let mut invocations = Invocations::default();
        given(&mut invocations);
        assert_eq!(result(&mut invocations, "1"), Ok(()));
        assert_eq!(result(&mut invocations, "1"), Ok(()));
        assert!(result(&mut invocations, "2").is_err());
        invocations.died();
        assert_eq!(result(&mut invocations, "2"), Ok(()));
        invocations.stored(&serde_json::json!({ "record": "finished", "invocation": "i1" }));
        invocations.died();
        assert!(result(&mut invocations, "3").is_err());
    }

    #[test]
    fn a_result_on_disk_is_not_one_that_a_life_before_could_not_write() {
        let mut invocations = Invocations::default();
        given(&mut invocations);
        assert_eq!(result(&mut invocations, "1"), Ok(()));
        invocations.died();
        invocations.stored(&serde_json::json!({ "record": "finished", "invocation": "i1" }));
        invocations.died();
        assert_eq!(result(&mut invocations, "2"), Ok(()));
    }

    #[test]
    fn a_release_is_written_down_before_it_is_answered() {
        let release =
            r#"{"type":"action.invoke","invocation_id":"i1","action":"release","input":{"name":"bob"}}"#;
        let started = r#"{"record":"started","invocation":"i1","releases":"bob"}"#;
        let mut invocations = Invocations::default();
        invocations.given(0, LinkId(1), &Frame::read(release), |_| true);
        assert!(invocations.goes_on().is_err());
        assert!(result(&mut invocations, "1").is_err());
        invocations.writes(&StoreAction::Append { lines: started.to_owned() });
        assert_eq!(result(&mut invocations, "1"), Ok(()));
        invocations.died();
        assert!(result(&mut invocations, "1").is_err(), "the record was lost");
        invocations.stored(&serde_json::from_str(started).expect("JSON"));
        invocations.died();
        assert_eq!(result(&mut invocations, "1"), Ok(()));
    }

    const EMPTY: &str = r#"{"type":"inventory.sync","agents":[]}"#;

    #[test]
    fn what_is_under_way_on_a_link_is_waited_for_by_its_inventories() {
        let mut invocations = Invocations::default();
        given(&mut invocations);
        let listed = |now: u64, link: u64, entry: &str| {
            let text = format!(r#"{{"type":"inventory.sync","agents":[{entry}]}}"#);
            invocations.listed(now, LinkId(link), &Frame::read(&text), true)
        };
        assert!(listed(1_000_000, 1, "").is_err());
        assert!(listed(1_000_000, 1, r#"{"name":"eve","invocation_id":"i2"}"#).is_err());
        assert_eq!(listed(1_000_000, 1, r#"{"name":"bob","invocation_id":"i1"}"#), Ok(()));
        assert_eq!(listed(1_000_000, 2, ""), Ok(()), "the engine planned it anew when the link ended");
        assert_eq!(listed(INVENTORY_PATIENCE.0, 1, ""), Ok(()), "it takes too long");
        let late = invocations.listed(1_000_000, LinkId(1), &Frame::read(EMPTY), false);
        assert_eq!(late, Ok(()), "the inventory has waited long enough");
        assert_eq!(result(&mut invocations, "1"), Ok(()));
        assert_eq!(invocations.listed(0, LinkId(1), &Frame::read(EMPTY), true), Ok(()));
        let release = r#"{"type":"action.invoke","invocation_id":"i3","action":"release","input":{}}"#;
        invocations.given(0, LinkId(1), &Frame::read(release), |_| true);
        assert_eq!(invocations.listed(0, LinkId(1), &Frame::read(EMPTY), true), Ok(()), "it is never moved");
    }

    #[test]
    fn a_broker_that_stops_leaves_out_and_does_not_begin_what_comes_to_it_then() {
        let mut invocations = Invocations::default();
        invocations.stops();
        given(&mut invocations);
        assert_eq!(invocations.listed(0, LinkId(1), &Frame::read(EMPTY), true), Ok(()));
        assert!(invocations.spawns("bob").is_err());
        invocations.died();
        given(&mut invocations);
        invocations.stops();
        given(&mut invocations);
        assert!(invocations.listed(0, LinkId(1), &Frame::read(EMPTY), true).is_err(), "it had begun before");
        assert!(invocations.spawns("bob").is_ok());
    }

    #[test]
    fn what_the_engine_had_queued_is_waited_for_by_the_first_inventory() {
        let empty = Frame::read(EMPTY);
        let mut invocations = Invocations::default();
        invocations.queued(0, LinkId(1), "i1");
        assert!(invocations.listed(UNDER_WAY - 1, LinkId(1), &empty, true).is_err());
        assert_eq!(
            invocations.listed(UNDER_WAY - 1, LinkId(2), &empty, true),
            Ok(()),
            "it came on another link"
        );
        assert_eq!(invocations.listed(UNDER_WAY, LinkId(1), &empty, true), Ok(()), "it is late");
    }

    #[test]
    fn an_invocation_is_open_until_the_engine_has_ended_it() {
        let mut invocations = Invocations::default();
        given(&mut invocations);
        assert_eq!(invocations.first_open(), Some("i1"));
        assert_eq!(
            invocations.engine(&Event::InvocationFinished { invocation_id: "i1".into(), completed: true }),
            Ok(())
        );
        assert_eq!(invocations.first_open(), None);
        given(&mut invocations);
        assert_eq!(invocations.first_open(), None, "the frame was late");
    }

    #[test]
    fn an_invocation_that_the_engine_plans_anew_is_open_until_it_is_answered() {
        let mut invocations = Invocations::default();
        given(&mut invocations);
        assert_eq!(invocations.engine(&Event::InvocationRescheduled { invocation_id: "i1".into() }), Ok(()));
        assert_eq!(invocations.first_open(), Some("i1"));
        assert_eq!(result(&mut invocations, "1"), Ok(()));
        assert_eq!(invocations.first_open(), None);
    }
}
