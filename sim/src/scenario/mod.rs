//! Scenarios: cases that are kept in files.
//!
//! Owns: what a scenario says, its form as text, and what a text must not say.
//! Must not know: where files lie, how a plan is carried out, or how it is judged.
//!
//! 1. A scenario is closed loop: it says what happens to the broker, never what the broker answers, so
//!    it survives every change of the broker that breaks no rule.
//! 2. A text that is read is checked: what [`Scenario::parse`] returns runs without a panic of the
//!    simulator, and within its memory.
//! 3. Writing what was read changes nothing but spaces.

mod arguments;
mod form;
pub(crate) mod limits;
mod shrink;

pub use limits::FILE;
pub use shrink::{Progress, Shrunk, Unshrinkable, shrink};

use crate::oracles::Failure;
use crate::plan::Plan;
use crate::world::Report;
use serde::{Deserialize, Serialize};

/// The version of the form. It moves with any change that makes old files say something else.
pub const VERSION: u64 = 1;

/// Why a text is no scenario. One line, for the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(String);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// A case that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    v: u64,
    /// Why it is kept, in a sentence.
    pub about: String,
    /// What it must come to.
    pub expect: Expected,
    /// What happens.
    pub plan: Plan,
}

/// What a scenario must come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expected {
    /// Every rule holds.
    Passes,
    /// Every rule holds, and a build that has this bug on purpose breaks this one.
    Finds {
        /// The bug's name.
        canary: String,
        /// The rule: `S1` …
        rule: String,
    },
}

impl Scenario {
    /// A scenario in which every rule must hold.
    pub fn new(about: impl Into<String>, plan: Plan) -> Self {
        Self { v: VERSION, about: about.into(), expect: Expected::Passes, plan }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub fn run(&self) -> Result<Report, Failure> {
        crate::run(self.plan.clone(), None)
    }
}
