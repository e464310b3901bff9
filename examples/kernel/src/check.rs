//! What must hold, counted.
use core::fmt::Write;

use crate::arch::{self, Console};

/// With a planted fault the first check that fails ends the run.
const PLANTED: bool = option_env!("HECTARE_PLANT").is_some();

/// The checks of a run.
pub struct Checks {
    good: u32,
    bad: u32,
}

impl Checks {
    pub const fn new() -> Self {
        Self { good: 0, bad: 0 }
    }

    /// One that holds, or is reported.
    pub fn that(&mut self, holds: bool, what: &str) {
        if holds {
            self.good += 1;
        } else {
            self.bad += 1;
            let _ = writeln!(Console, "does not hold: {what}");
            if PLANTED {
                arch::exit(false);
            }
        }
    }

    /// The verdict, and the end of the machine.
    pub fn end(self) -> ! {
        let Self { good, bad } = self;
        let result = if bad == 0 { "ok" } else { "FAILED" };
        let _ = writeln!(Console, "{good} checks hold, {bad} do not\ntest result: {result}");
        arch::exit(bad == 0)
    }
}
