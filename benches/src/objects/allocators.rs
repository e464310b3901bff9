//! The allocators that object traces are replayed with. Adding one is one line in [`ALLOCATORS`].

use super::ours::{Arrays, Caches, Cpus};
use super::program::Program;
use super::replay::{fits, latency, timed};
use super::slabmalloc::SlabMalloc;
use super::subject::{Kmalloc, Nothing, Subject};
use super::survey::{Survey, survey};
use crate::arena::Arena;
use crate::heap::{Broken, Class, search};
use crate::{ours, peers};

/// A timed pass in so many bytes of an arena, for at most so many nanoseconds.
pub(super) type Timed = fn(&Program, &mut Arena, usize, u64) -> Option<(f64, bool)>;

/// One allocator with its own instance of every measurement.
#[derive(Debug)]
pub struct Allocator {
    /// The name on the command line and in every result.
    pub name: &'static str,
    /// What it can be compared with.
    pub class: Class,
    /// What a reader must know besides.
    pub remark: Option<&'static str>,
    /// Whether it is timed in processes of its own, too: it is known to have undefined behaviour.
    pub apart: bool,
    /// The timed pass: nanoseconds an operation, and whether it came to the end.
    pub timed: Timed,
    /// One pass for the percentiles.
    pub latency: fn(&mut [u32], &Program, &mut Arena, usize),
    /// The checked pass.
    pub survey: fn(&Program, &mut Arena, usize, u64) -> Option<Survey>,
    /// The search for the smallest heap.
    pub smallest: fn(&Program, &mut Arena, f64) -> Option<f64>,
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

    const fn apart(self) -> Self {
        Self { apart: true, ..self }
    }
}

const fn entry<S: Subject>(name: &'static str, class: Class) -> Allocator {
    Allocator {
        name,
        class,
        remark: None,
        apart: false,
        timed: timed::<S>,
        latency: latency::<S>,
        survey: survey::<S>,
        smallest: smallest::<S>,
    }
}

/// The least arena without a refusal, plus the allocator's own values, over the peak of live bytes.
fn smallest<S: Subject>(program: &Program, arena: &mut Arena, guess: f64) -> Option<f64> {
    let peak = program.peak.max(1) as f64;
    let whole = arena.length();
    // SAFETY: the arena is exclusively ours until this function returns, and the subject does not outlive it.
    let state = unsafe { S::build(arena.region(whole), &program.caches, program.cpus) }?.outside_bytes();
    search(guess, |ratio| {
        let bytes = (ratio * peak - state as f64) as usize / 64 * 64;
        bytes > 0 && bytes <= arena.length() && fits::<S>(program, arena, bytes)
    })
}

/// All of them, in the order of the tables.
pub static ALLOCATORS: &[Allocator] = &[
    entry::<Arrays>("hectare-slab", Class::General),
    entry::<Caches>("hectare-slab/cache", Class::General).remark("refuses each bad free at once"),
    entry::<Cpus>("hectare-slab/cpu", Class::General).remark("magazines for each CPU, behind locks"),
    entry::<Kmalloc<ours::Slab>>("hectare-slab/kmalloc", Class::General)
        .remark("size classes for everything"),
    entry::<SlabMalloc>("slabmalloc", Class::General).remark("undefined behaviour").apart(),
    entry::<Kmalloc<peers::Talc>>("talc", Class::General),
    entry::<Kmalloc<peers::SlabAllocatorRs>>(
        "slab_allocator_rs",
        Class::Lesser("never gives memory back to other sizes"),
    ),
    entry::<Nothing>("empty-loop", Class::Baseline),
    entry::<Kmalloc<Broken<0>>>("broken/none", Class::Broken),
    entry::<Kmalloc<Broken<1>>>("hectare-broken/overlap", Class::Broken),
    entry::<Kmalloc<Broken<3>>>("hectare-broken/outside", Class::Broken),
    entry::<Kmalloc<Broken<6>>>("hectare-broken/refuses", Class::Broken),
    entry::<Kmalloc<Broken<7>>>("hectare-broken/crash", Class::Broken),
    entry::<Kmalloc<Broken<1>>>("broken/overlap", Class::Broken),
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
