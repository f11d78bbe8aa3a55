//! The link: when it was there, and what kept it away.
//!
//! Owns: outages and the faults that cause such ones. Must not know: what frames say.

use crate::plan::{Fault, SECOND};
use crate::scenario::limits;
use relay_core::ids::LinkId;

/// A time of refusals outlasts the first attempt to connect again, in µs.
const SHORTEST: u64 = 3 * SECOND;

/// Refusals of one kind in a row.
#[derive(Clone, Copy, Debug)]
struct Refusals {
    unauthorized: bool,
    count: u32,
    last: u64,
}

#[derive(Debug, Default)]
pub(super) struct Link {
    open: Option<LinkId>,
    /// We have closed it.
    closed: bool,
    /// It was there before.
    had: bool,
    /// Since when it is not there.
    since: u64,
    /// It ended by itself.
    broke: bool,
    refusals: Vec<Refusals>,
    /// When something last came.
    pub(super) heard: u64,
    pub(super) faults: Vec<(u64, Fault)>,
}

impl Link {
    pub(super) fn up(&mut self, at: u64, link: LinkId) {
        self.settle(true);
        (self.open, self.closed, self.had, self.heard) = (Some(link), false, true, at);
    }

    pub(super) fn closed(&mut self, link: LinkId) {
        self.closed |= self.open == Some(link);
    }

    pub(super) fn down(&mut self, at: u64, link: LinkId) {
        if self.open == Some(link) {
            (self.open, self.since, self.broke) = (None, at, !self.closed);
        }
    }

    pub(super) fn refused(&mut self, at: u64, unauthorized: bool) {
        match self.refusals.last_mut().filter(|run| run.unauthorized == unauthorized) {
            Some(run) => (run.count, run.last) = (run.count + 1, at),
            None => self.refusals.push(Refusals { unauthorized, count: 1, last: at }),
        }
    }

    /// Nothing came for so long that the link was given up.
    pub(super) fn silent(&mut self, at: u64) {
        self.faults.push((self.heard, Fault::HalfOpen { lasts: at - self.heard }));
    }

    /// The record ends.
    pub(super) fn end(&mut self) {
        if self.open.is_none() {
            self.settle(false);
        }
    }

    /// What the outage that is over came from; `mended` if the link is there again.
    fn settle(&mut self, mended: bool) {
        let runs = std::mem::take(&mut self.refusals);
        match runs.as_slice() {
            [] if self.broke => self.faults.push((self.since, Fault::Cut)),
            // A young token is tried once more.
            [Refusals { unauthorized: true, count: ..=2, .. }] if self.had && mended => {
                self.faults.push((self.since, Fault::Rotate));
            }
            runs => {
                let mut from = self.since;
                for run in runs {
                    let lasts = (run.last + 1).saturating_sub(from).clamp(SHORTEST, limits::TIME);
                    let fault = match run.unauthorized {
                        true => Fault::Unauthorized { lasts },
                        false => Fault::Refuse { lasts },
                    };
                    self.faults.push((from, fault));
                    from = run.last + 1;
                }
            }
        }
        self.broke = false;
    }
}
