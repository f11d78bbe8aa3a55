//! Scenarios of a whole broker: inputs in, commands out, in virtual time.
//!
//! Every file has one subject. The tests go through the public interface only and are written from the
//! rules of `core/PROTOCOL.md`, so they hold for any inner structure of the core.

mod agents;
mod api;
mod base;
mod census;
mod delivery;
mod identity;
mod inject;
mod inventory;
mod invocations;
mod journal;
mod link;
mod odd;
mod readiness;
mod registering;
mod regressions;
mod returning;
mod room;
mod sleeping;
mod speaking;
mod stopping;
mod support;
mod token;
