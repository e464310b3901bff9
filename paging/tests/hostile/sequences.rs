//! Random sequences of operations: made from a seed, tried, and shortened when one fails.
//!
//! What fails also depends on what the translation unit does between two stores, so each shorter sequence is tried with a
//! few dozen units before it counts as harmless.

use core::cell::Cell;
use core::hash::{BuildHasher, Hasher};
use core::panic::AssertUnwindSafe;
use std::collections::hash_map::RandomState;
use std::panic::catch_unwind;
use std::sync::Once;

/// A run of pages of the span: both numbers are taken modulo its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) first: u64,
    /// One less than the number of pages.
    pub(crate) more: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Map {
        at: At,
        attributes: usize,
        largest: bool,
        touched: bool,
        contiguous: bool,
    },
    Unmap {
        at: At,
    },
    Forget {
        at: At,
    },
    Protect {
        at: At,
        attributes: usize,
    },
    Update {
        at: At,
        attributes: usize,
    },
    Harvest {
        at: At,
        accessed: bool,
        dirty: bool,
    },
    Touch {
        at: At,
        dirty: bool,
    },
    Coalesce {
        at: At,
    },
    /// Copies to the other table, as a fork does.
    Copy {
        at: At,
        protect: bool,
    },
    /// Goes through with a cursor, at most so many pages a step: takes, changes rights, skips in turn.
    Walk {
        at: At,
        most: u64,
        attributes: usize,
        turn: usize,
    },
    /// Moves to another place, of the same alignment to tables or any.
    Remap {
        at: At,
        to: u64,
        aligned: bool,
    },
    Replace {
        page: u64,
        attributes: usize,
        touched: bool,
    },
    Keep {
        page: u64,
        state: u64,
    },
    Pay,
}

/// An operation, on which of two tables, and whether what it owes is paid later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) who: usize,
    pub(crate) later: bool,
}

/// Random numbers (splitmix64).
#[derive(Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.any() % limit
    }

    fn coin(&mut self) -> bool {
        self.any() & 1 != 0
    }

    fn attributes(&mut self) -> usize {
        self.below(32) as usize
    }

    /// Runs around the edges of tables and of contiguous runs, and any.
    fn at(&mut self) -> At {
        let first = match self.below(4) {
            0 => self.below(64),
            1 => 512,
            2 => self.any() & !([511, 127, 31, 15][self.below(4) as usize]),
            _ => self.any(),
        };
        let more = match self.below(6) {
            0 => self.below(3),
            1 => self.below(20),
            2 => 511,
            3 => 1023,
            4 => [127, 63, 31, 15][self.below(4) as usize],
            _ => self.any(),
        };
        At { first, more }
    }

    fn op(&mut self) -> Op {
        let at = self.at();
        match self.below(28) {
            0..6 => Op::Map {
                at,
                attributes: self.attributes(),
                largest: self.coin(),
                touched: self.coin(),
                contiguous: self.below(4) != 0,
            },
            6..9 => Op::Unmap { at },
            9 => Op::Forget { at },
            10..13 => Op::Protect { at, attributes: self.below(4) as usize },
            13 => Op::Update { at, attributes: self.attributes() },
            14..16 => Op::Harvest { at, accessed: self.coin(), dirty: self.coin() },
            16 => Op::Touch { at, dirty: self.coin() },
            17 => Op::Coalesce { at },
            18 => Op::Coalesce { at: At { first: 0, more: u64::MAX } },
            19..21 => Op::Copy { at, protect: self.below(4) != 0 },
            21 => Op::Walk {
                at,
                most: 1 + self.below(40),
                attributes: self.below(4) as usize,
                turn: self.below(3) as usize,
            },
            22 | 23 => Op::Replace { page: self.any(), attributes: self.attributes(), touched: self.coin() },
            24 | 25 => Op::Remap { at, to: self.at().first, aligned: self.coin() },
            26 => Op::Keep { page: self.any(), state: self.below(3) },
            _ => Op::Pay,
        }
    }

    pub(crate) fn sequence(&mut self) -> Vec<Step> {
        let count = 1 + self.below(if cfg!(miri) { 6 } else { 15 });
        (0..count)
            .map(|_| Step { op: self.op(), who: usize::from(self.below(3) == 0), later: self.coin() })
            .collect()
    }
}

/// Tries 256 sequences, the same ones in each run; or `PROPTEST_CASES` others, from a fresh seed or that of `HECTARE_SEED`.
pub(crate) fn hostile(survive: fn(u64, &[Step])) {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse().ok());
    let asked = number("PROPTEST_CASES");
    let cases = asked.unwrap_or(if cfg!(miri) { 1 } else { 256 });
    let fresh = || RandomState::new().build_hasher().finish();
    let seed = number("HECTARE_SEED").unwrap_or_else(|| if asked.is_some() { fresh() } else { 7 });
    let mut dice = Dice(seed);
    for nth in 0..cases {
        let unit = dice.any();
        let steps = dice.sequence();
        if let Err(first) = quietly(|| survive(unit, &steps)) {
            let (unit, steps, last) = shorten(unit, steps, first.clone(), survive);
            let steps: String = steps.iter().map(|step| format!("\n    {step:?}")).collect();
            panic!(
                "{first}\nHECTARE_SEED={seed}, sequence {nth}. Shortened, with the unit {unit:#x}: {last}{steps}"
            );
        }
    }
}

/// Leaves steps out as long as it still fails with some unit.
fn shorten(
    mut unit: u64,
    mut steps: Vec<Step>,
    mut message: String,
    survive: fn(u64, &[Step]),
) -> (u64, Vec<Step>, String) {
    let mut dice = Dice(unit);
    let mut nth = steps.len();
    while let Some(without) = nth.checked_sub(1) {
        nth = without;
        let mut fewer = steps.clone();
        fewer.remove(without);
        for attempt in 0..200 {
            let other = if attempt == 0 { unit } else { dice.any() };
            if let Err(failure) = quietly(|| survive(other, &fewer)) {
                (unit, steps, message) = (other, fewer, failure);
                nth = steps.len();
                break;
            }
        }
    }
    (unit, steps, message)
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What it panics with, without a word on the console.
fn quietly(work: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |what| {
            if !QUIET.get() {
                loud(what);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    result.map_err(|payload| match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().map_or("a panic", |text| text).to_owned(),
    })
}
