//! Invariants: stated once on each type, checked by everyone: tests, fuzzing, a user's watchdog.
#![forbid(unsafe_code)]

use thiserror::Error;

/// A broken invariant: which rule, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[cfg_attr(feature = "defmt-1", derive(defmt::Format))]
#[error("invariant broken: {rule} (at {at:#x})")]
pub struct Violation {
    /// The rule, in the words of the type's own documentation.
    pub rule: &'static str,
    /// Where: an address, a frame number or an index, as the rule's type documents.
    pub at: u64,
}

impl Violation {
    /// `Ok` if the rule `holds`, else the violation of `rule` at `at`.
    ///
    /// # Errors
    /// The violation, if the rule does not hold.
    pub const fn unless(holds: bool, rule: &'static str, at: u64) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self { rule, at }) }
    }
}

/// A structure that can check itself.
pub trait CheckInvariants {
    /// Walks the whole structure and checks every invariant that its documentation lists.
    ///
    /// The cost is linear in the metadata: for tests and watchdogs, not for hot paths. It never panics and never
    /// changes anything.
    ///
    /// # Errors
    /// The first violation found.
    fn check_invariants(&self) -> Result<(), Violation>;
}
