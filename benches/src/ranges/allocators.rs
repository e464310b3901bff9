//! The allocators that traces are replayed with as ranges. Adding one is one line in [`ALLOCATORS`].
#![forbid(unsafe_code)]

use hectare_fit::policy::{BestFit, FirstFit, GoodFit, HalfFit, LastFit, NextFit, WorstFit};

use super::program::Program;
use super::replay::{latency, smallest, timed};
use super::subject::{FreeList, Offset, Ours, RangeAlloc, VmAllocator};
use super::survey::{Survey, survey};
use crate::heap::Class;

/// One allocator with its own instance of every measurement.
#[derive(Debug)]
pub struct Allocator {
    /// The name on the command line and in every result.
    pub name: &'static str,
    /// What it can be compared with.
    pub class: Class,
    /// The timed pass.
    pub timed: fn(&Program, u64) -> Option<(f64, bool)>,
    /// One pass for the percentiles.
    pub latency: fn(&mut [u32], &Program),
    /// The checked pass.
    pub survey: fn(&Program, u64) -> Option<Survey>,
    /// The search for the smallest space.
    pub smallest: fn(&Program) -> Option<f64>,
}

impl Allocator {
    /// Whether it is one of ours: then a broken rule is this project's fault.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("hectare-")
    }
}

macro_rules! allocators {
    ($($name:literal $class:expr, $subject:ty;)*) => {
        /// All of them.
        pub static ALLOCATORS: &[Allocator] = &[$(Allocator {
            name: $name,
            class: $class,
            timed: timed::<$subject>,
            latency: latency::<$subject>,
            survey: survey::<$subject>,
            smallest: smallest::<$subject>,
        },)*];
    };
}
allocators! {
    "hectare-fit/best" Class::General, Ours<BestFit>;
    "hectare-fit/good" Class::General, Ours<GoodFit>;
    "hectare-fit/first" Class::General, Ours<FirstFit>;
    "hectare-fit/last" Class::General, Ours<LastFit>;
    "hectare-fit/next" Class::General, Ours<NextFit>;
    "hectare-fit/half" Class::General, Ours<HalfFit>;
    "hectare-fit/worst" Class::General, Ours<WorstFit>;
    "offset-allocator" Class::Lesser("no alignment; no longest hole known"), Offset;
    "range-alloc" Class::Lesser("no alignment; checks no free"), RangeAlloc;
    "vm-allocator" Class::General, VmAllocator;
    "free-list" Class::Lesser("whole pages"), FreeList;
}

/// Those of these names, in their order; all if there are none.
///
/// # Errors
/// The first name that nobody bears.
pub fn select(names: &[String]) -> Result<Vec<&'static Allocator>, String> {
    if names.is_empty() {
        return Ok(ALLOCATORS.iter().collect());
    }
    let find = |name: &String| ALLOCATORS.iter().find(|a| a.name == name).ok_or_else(|| name.clone());
    names.iter().map(find).collect()
}
