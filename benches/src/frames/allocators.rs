//! The allocators that frame traces are replayed with. Adding one is one line in [`ALLOCATORS`].

use super::broken::Broken;
use super::latency::Latencies;
use super::nothing::Nothing;
use super::ours::{Buddy, CachedBuddy, SharedBuddy};
use super::peers;
use super::program::Program;
use super::replay::{Pass, timed};
use super::shared::{Alone, Behind, SharedSubject};
use super::subject::{Memory, Subject};
use super::survey::{Survey, survey};
use super::threads::threaded;
use crate::heap::{Class, Threads};

/// One allocator with its own instance of every measurement.
#[derive(Debug)]
pub struct Allocator {
    /// The name on the command line and in every result.
    pub name: &'static str,
    /// What it can be compared with.
    pub class: Class,
    /// What a reader must know besides.
    pub remark: Option<&'static str>,
    /// The timed pass.
    pub timed: fn(&Program, &mut Memory, u64) -> Option<Pass>,
    /// The timed pass with threads.
    pub threaded: fn(&Program, &mut Memory, Threads) -> Option<Pass>,
    /// One pass for the percentiles.
    pub latency: fn(&mut Latencies, &Program, &mut Memory) -> bool,
    /// The checked pass.
    pub survey: fn(&Program, &mut Memory, u64) -> Option<Survey>,
}

impl Allocator {
    /// Whether it is one of ours: then a broken rule is this project's fault.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("hectare-")
    }

    const fn remark(self, remark: &'static str) -> Self {
        Self { remark: Some(remark), ..self }
    }
}

/// An allocator of a single owner: with threads it stands behind a spin lock.
const fn single<S: Subject>(name: &'static str, class: Class) -> Allocator {
    Allocator {
        name,
        class,
        remark: None,
        timed: timed::<S>,
        threaded: threaded::<Behind<S>>,
        latency: Latencies::pass::<S>,
        survey: survey::<S>,
    }
}

/// An allocator that CPUs share by itself.
const fn many<S: SharedSubject>(name: &'static str, class: Class) -> Allocator {
    Allocator { threaded: threaded::<S>, ..single::<Alone<S>>(name, class) }
}

const PLACED: &str = "its tables were placed so that frame 0 is aligned";
const INTRUSIVE: &str = "writes into free frames";

/// All of them, in the order of the tables.
pub static ALLOCATORS: &[Allocator] = &[
    single::<Buddy>("hectare-buddy", Class::General),
    many::<CachedBuddy>("hectare-buddy/cached", Class::General),
    many::<SharedBuddy>("hectare-buddy/shared", Class::General),
    single::<peers::BuddySlab>("buddy-slab-allocator", Class::General).remark(PLACED),
    single::<peers::BuddySystemFrames>("buddy_system_allocator", Class::General)
        .remark("takes memory from a heap"),
    single::<peers::BuddySystemHeap>("buddy_system_allocator/heap", Class::General).remark(INTRUSIVE),
    single::<peers::BuddyAlloc>("buddy-alloc", Class::General)
        .remark("writes into free frames, and its tables were placed so that frame 0 is aligned"),
    single::<peers::Bitmap>("bitmap-allocator", Class::General),
    single::<peers::FreeList>("free-list", Class::General).remark("takes memory from a heap"),
    single::<peers::Offset>("offset-allocator", Class::Lesser("knows no alignment")),
    single::<Nothing>("empty-loop", Class::Baseline),
    single::<Broken<0>>("broken/none", Class::Broken),
    single::<Broken<1>>("hectare-broken/overlap", Class::Broken),
    single::<Broken<2>>("hectare-broken/misaligned", Class::Broken),
    single::<Broken<3>>("hectare-broken/outside", Class::Broken),
    single::<Broken<4>>("hectare-broken/refuses", Class::Broken),
    single::<Broken<5>>("hectare-broken/lost", Class::Broken),
    single::<Broken<6>>("hectare-broken/not-taken", Class::Broken),
    single::<Broken<7>>("hectare-broken/crash", Class::Broken),
    single::<Broken<1>>("broken/overlap", Class::Broken),
    single::<Broken<7>>("broken/crash", Class::Broken),
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
        if names.is_empty() { a.class != Class::Broken } else { names.iter().any(|name| name == a.name) }
    };
    Ok(ALLOCATORS.iter().filter(wanted).collect())
}
