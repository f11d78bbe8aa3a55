//! Exit codes.
//!
//! Owns: which there are, what the help says of them, and which of several counts.
//! Must not know: who fails, or why.
//!
//! 1. A finding counts before an interrupt, that before bad input, and of findings the one with the lowest number.

use relay_sim::oracles::Class;
use std::process::ExitCode;

/// What stands below the help.
pub(crate) const HELP: &str = "\
Exit codes:
   0  everything held
   1  bad usage or input, or output that cannot be written, or only in part;
      also a canary that was not found, and a seed to shrink that does not fail
  10  the core broke an assertion of its own
  11  a rule of safety was broken
  12  a rule of liveness was broken
  13  the same seed or trace went two ways
  14  more was used than there may be of a resource
 130  a swarm was interrupted (Ctrl-C) before anything was found
Of several files the worst counts: the lowest of 10 to 14, else 1.";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(u8);

impl Code {
    /// Everything held.
    pub(crate) const HELD: Self = Self(0);
    /// Bad usage or input, or output that cannot be written, or only in part.
    pub(crate) const REFUSED: Self = Self(1);
    /// Somebody has ended it. It is what shells say of a program that SIGINT has ended.
    pub(crate) const INTERRUPTED: Self = Self(130);

    /// Something was found.
    pub(crate) const fn found(class: Class) -> Self {
        Self(class as u8)
    }

    /// As the operating system takes it.
    pub(crate) fn number(self) -> i32 {
        self.0.into()
    }

    /// That of another build of this program.
    #[cfg(not(canary))]
    pub(crate) const fn of_other_build(code: u8) -> Self {
        Self(code)
    }

    /// The one that counts (invariant 1).
    pub(crate) fn worst(self, other: Self) -> Self {
        let badness = |code: &Self| if code.0 > 1 { u16::MAX - u16::from(code.0) } else { u16::from(code.0) };
        std::cmp::max_by_key(self, other, badness)
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        code.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_counts_before_bad_input_in_any_order() {
        let codes = [
            Code::found(Class::Panic),
            Code::found(Class::Safety),
            Code::found(Class::Liveness),
            Code::found(Class::Nondeterminism),
            Code::found(Class::Resource),
            Code::INTERRUPTED,
            Code::REFUSED,
            Code::HELD,
        ];
        for (at, worse) in codes.iter().enumerate() {
            for other in &codes[at..] {
                assert_eq!((worse.worst(*other), other.worst(*worse)), (*worse, *worse));
            }
        }
    }

    #[test]
    fn the_help_names_every_code() {
        for code in [0, 1, 10, 11, 12, 13, 14, 130] {
            assert!(HELP.contains(&format!("\n {code:>3}  ")), "{code}");
        }
    }
}
