//! The allocators that heap traces are replayed with. Adding one is one line in [`ALLOCATORS`].

use hectare_fit::{
    BestFitHeap, FirstFitHeap, FitHeap, HalfFitHeap, LastFitHeap, NextFitHeap, StrictHeap, WorstFitHeap,
};

use super::broken::Broken;
use super::latency::Latencies;
use super::nothing::Nothing;
use super::program::Program;
use super::replay::{Pass, timed};
use super::resident::peak_resident;
use super::smallest::smallest_ratio;
use super::survey::{Survey, survey};
use super::threads::{Threads, threaded};
use crate::arena::Arena;
use crate::family::Family;
use crate::ours::{CpuSlab, Hosted, Region, Slab};
use crate::peers;
use crate::subject::Subject;

/// What an allocator can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Works in an arena, frees what it gave, keeps every alignment.
    General,
    /// Works in an arena, but does less: why.
    Lesser(&'static str),
    /// Fetches its memory from the system.
    Hosted,
    /// Not an allocator: the cost of replaying.
    Baseline,
    /// Wrong on purpose; never shown unless named.
    Broken,
}

/// One allocator with its own instance of every measurement.
#[derive(Debug)]
pub struct Allocator {
    /// The name on the command line and in every result.
    pub name: &'static str,
    /// What it can be compared with.
    pub class: Class,
    /// Whether it is left out unless it is named: the classic policies, whose measuring takes as long again.
    pub on_request: bool,
    /// The timed pass.
    pub timed: fn(&Program, &mut Arena, usize, u64) -> Option<Pass>,
    /// The timed pass with threads.
    pub threaded: fn(&Program, &mut Arena, usize, Threads) -> Option<Pass>,
    /// One pass for the percentiles.
    pub latency: fn(&mut Latencies, &Program, &mut Arena, usize) -> bool,
    /// The checked pass.
    pub survey: fn(&Program, &mut Arena, usize, u64) -> Option<Survey>,
    /// The search for the smallest heap.
    pub smallest: fn(&Program, &mut Arena, f64) -> Option<f64>,
    /// The peak of resident memory.
    pub resident: fn(&Program) -> Option<u64>,
    /// Bytes of its own value, outside any arena.
    pub state_bytes: usize,
}

impl Allocator {
    /// Whether it is one of ours: then a broken rule is this project's fault.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("hectare-")
    }

    /// Whether it takes part in recommendations and means.
    #[must_use]
    pub fn is_candidate(&self) -> bool {
        matches!(self.class, Class::General | Class::Hosted)
    }
}

const fn entry<S: Subject>(name: &'static str, class: Class) -> Allocator {
    Allocator {
        name,
        class,
        on_request: matches!(class, Class::Broken),
        timed: timed::<S>,
        threaded: threaded::<S>,
        latency: Latencies::pass::<S>,
        survey: survey::<S>,
        smallest: smallest_ratio::<S>,
        resident: peak_resident::<S>,
        state_bytes: size_of::<S>(),
    }
}

/// The same, left out unless it is named.
const fn on_request<S: Subject>(name: &'static str) -> Allocator {
    Allocator { on_request: true, ..entry::<S>(name, Class::General) }
}

/// All of them, in the order of the tables.
pub static ALLOCATORS: &[Allocator] = &[
    entry::<Region<FitHeap>>("hectare-fit", Class::General),
    entry::<Region<StrictHeap>>("hectare-fit/strict", Class::General),
    entry::<Slab>("hectare-slab", Class::General),
    entry::<CpuSlab>("hectare-slab/cpu", Class::General),
    on_request::<Region<BestFitHeap>>("hectare-fit/best"),
    on_request::<Region<FirstFitHeap>>("hectare-fit/first"),
    on_request::<Region<NextFitHeap>>("hectare-fit/next"),
    on_request::<Region<LastFitHeap>>("hectare-fit/last"),
    on_request::<Region<WorstFitHeap>>("hectare-fit/worst"),
    on_request::<Region<HalfFitHeap>>("hectare-fit/half"),
    entry::<peers::Talc>("talc", Class::General),
    entry::<peers::Rlsf>("rlsf", Class::General),
    entry::<peers::Dlmalloc>("dlmalloc", Class::General),
    entry::<peers::GoodMemory>("good_memory_allocator", Class::General),
    entry::<peers::BuddySystem>("buddy_system_allocator", Class::General),
    entry::<peers::LinkedList>("linked_list_allocator", Class::General),
    entry::<Family<Hosted>>("hectare-hosted", Class::Hosted),
    entry::<Family<peers::System>>("system", Class::Hosted),
    #[cfg(feature = "native-peers")]
    entry::<Family<peers::Mimalloc>>("mimalloc", Class::Hosted),
    #[cfg(feature = "native-peers")]
    entry::<Family<peers::Snmalloc>>("snmalloc", Class::Hosted),
    #[cfg(feature = "native-peers")]
    entry::<Family<peers::Jemalloc>>("jemalloc", Class::Hosted),
    entry::<peers::SlabAllocatorRs>(
        "slab_allocator_rs",
        Class::Lesser("never gives memory back to other sizes"),
    ),
    entry::<peers::BuddyAlloc>("buddy-alloc", Class::Lesser("ignores alignment")),
    entry::<Nothing>("empty-loop", Class::Baseline),
    entry::<Broken<0>>("broken/none", Class::Broken),
    entry::<Broken<1>>("hectare-broken/overlap", Class::Broken),
    entry::<Broken<2>>("hectare-broken/misaligned", Class::Broken),
    entry::<Broken<3>>("hectare-broken/outside", Class::Broken),
    entry::<Broken<4>>("hectare-broken/not-zeroed", Class::Broken),
    entry::<Broken<5>>("hectare-broken/lost-byte", Class::Broken),
    entry::<Broken<6>>("hectare-broken/refuses", Class::Broken),
    entry::<Broken<7>>("hectare-broken/crash", Class::Broken),
    entry::<Broken<1>>("broken/overlap", Class::Broken),
    entry::<Broken<7>>("broken/crash", Class::Broken),
];

/// The allocators with these names, in the order of the tables; all that are shown by default if there are none.
///
/// # Errors
/// The first name that nobody bears.
pub fn select(names: &[String]) -> Result<Vec<&'static Allocator>, String> {
    if let Some(unknown) = names.iter().find(|name| ALLOCATORS.iter().all(|a| a.name != **name)) {
        return Err(unknown.clone());
    }
    let wanted = |a: &&Allocator| {
        if names.is_empty() { !a.on_request } else { names.iter().any(|name| name == a.name) }
    };
    Ok(ALLOCATORS.iter().filter(wanted).collect())
}
