//! Pairs of taking and giving back objects of 64 bytes: through a cache's front array, an ideal array of pointers,
//! slabmalloc's cache, the system's malloc, and a loop that does neither.

use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::NonNull;

use slabmalloc::{ObjectPage, SCAllocator};

use super::timed;
use crate::arena::Arena;
use crate::clock::thread_ns;
use crate::figures::{Bound, Figure, Random};
use crate::objects::Fronts;
use crate::rounds::{interleave, median};

const ARENA: usize = 32 << 20;
const LAYOUT: Layout = Layout::new::<[u64; 8]>();
/// Pairs of one measurement.
const PAIRS: usize = 1 << 20;
/// About a cycle of a processor, in nanoseconds.
const CYCLE: f64 = 0.3;
/// Live objects of the random order.
const LIVE: usize = 100_000;

/// What hands out objects.
trait Pool {
    fn take(&mut self) -> *mut u8;
    /// # Safety
    /// A live object of this pool.
    unsafe fn give(&mut self, object: *mut u8);
}

/// The loop without an allocator: one object for all.
struct Floor(*mut u8);

impl Pool for Floor {
    #[inline(always)]
    fn take(&mut self) -> *mut u8 {
        self.0
    }

    #[inline(always)]
    unsafe fn give(&mut self, _object: *mut u8) {}
}

/// An array of pointers that is never empty and never full: the least that a cache can do.
struct Ideal {
    len: usize,
    rounds: Vec<*mut u8>,
}

impl Pool for Ideal {
    #[inline(always)]
    fn take(&mut self) -> *mut u8 {
        self.len -= 1;
        // SAFETY: the works take no more than there are.
        unsafe { *self.rounds.get_unchecked(self.len) }
    }

    #[inline(always)]
    unsafe fn give(&mut self, object: *mut u8) {
        // SAFETY: the works give back no more than they took.
        unsafe { *self.rounds.get_unchecked_mut(self.len) = object };
        self.len += 1;
    }
}

impl Pool for Fronts {
    #[inline(always)]
    fn take(&mut self) -> *mut u8 {
        self.cache.allocate().map_or(core::ptr::null_mut(), |object| object.as_ptr().cast())
    }

    #[inline(always)]
    unsafe fn give(&mut self, object: *mut u8) {
        // SAFETY: a live object is not null.
        let object = unsafe { NonNull::new_unchecked(object) };
        // SAFETY: the caller's promise.
        unsafe { self.cache.free(object.cast()) };
    }
}

/// The system's malloc.
struct Malloc;

impl Pool for Malloc {
    #[inline(always)]
    fn take(&mut self) -> *mut u8 {
        // SAFETY: the size is not 0.
        unsafe { libc::malloc(LAYOUT.size()) }.cast()
    }

    #[inline(always)]
    unsafe fn give(&mut self, object: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { libc::free(object.cast()) };
    }
}

/// jemalloc, if it is built in.
#[cfg(feature = "native-peers")]
struct Jemalloc;

#[cfg(feature = "native-peers")]
impl Pool for Jemalloc {
    #[inline(always)]
    fn take(&mut self) -> *mut u8 {
        // SAFETY: the size is not 0.
        unsafe { tikv_jemalloc_sys::malloc(LAYOUT.size()) }.cast()
    }

    #[inline(always)]
    unsafe fn give(&mut self, object: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { tikv_jemalloc_sys::free(object.cast()) };
    }
}

/// jemalloc's nanoseconds; not a number without the feature `native-peers`.
fn jemalloc(work: Work) -> f64 {
    #[cfg(feature = "native-peers")]
    return measure(&mut Jemalloc, work);
    #[cfg(not(feature = "native-peers"))]
    {
        let _ = work;
        f64::NAN
    }
}

/// slabmalloc's cache, over pages from the arena.
struct Slabmalloc {
    cache: SCAllocator<'static, ObjectPage<'static>>,
    next: *mut u8,
}

impl Pool for Slabmalloc {
    #[inline(always)]
    fn take(&mut self) -> *mut u8 {
        if let Ok(object) = self.cache.allocate(LAYOUT) {
            return object.as_ptr();
        }
        let page = self.next.cast::<ObjectPage<'static>>();
        // SAFETY: the arena holds more pages than any work needs.
        self.next = unsafe { self.next.add(size_of::<ObjectPage<'_>>()) };
        // SAFETY: as above.
        unsafe { page.cast::<u8>().write_bytes(0, size_of::<ObjectPage<'_>>()) };
        // SAFETY: zeros are an empty page, which is handed out once.
        let page = unsafe { &mut *page };
        // SAFETY: an empty page.
        unsafe { self.cache.refill(page) };
        self.cache.allocate(LAYOUT).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    unsafe fn give(&mut self, object: *mut u8) {
        // SAFETY: a live object is not null.
        let object = unsafe { NonNull::new_unchecked(object) };
        let result = self.cache.deallocate(object, LAYOUT);
        debug_assert!(result.is_ok(), "a live object was not taken back");
    }
}

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// So many are taken, and given back the last one first.
    Batch(usize),
    /// Of 100 000 live objects a random one is given back and another taken.
    Random,
}

const WORKS: [(&str, Work); 3] = [
    ("one at a time", Work::Batch(1)),
    ("32 at a time", Work::Batch(32)),
    ("random order, 100 k live", Work::Random),
];

/// Nanoseconds a pair; the first word of each object is written.
#[inline(never)]
fn measure(pool: &mut impl Pool, work: Work) -> f64 {
    let write = |object: *mut u8| {
        // SAFETY: a live object of 64 bytes.
        unsafe { object.cast::<u64>().write_volatile(1) };
        object
    };
    match work {
        Work::Batch(size) => {
            let mut held = [core::ptr::null_mut(); 32];
            let held = &mut held[..size];
            let pass = |pool: &mut _, held: &mut [*mut u8]| batches(pool, held, PAIRS / held.len(), write);
            pass(pool, held);
            let start = thread_ns();
            pass(pool, held);
            (thread_ns() - start) as f64 / PAIRS as f64
        }
        Work::Random => {
            let mut held: Vec<*mut u8> = (0..LIVE).map(|_| write(pool.take())).collect();
            let mut random = Random::new(4711);
            let mut pass = || {
                for _ in 0..PAIRS / 4 {
                    let place = random.range(0, LIVE);
                    let place = &mut held[place];
                    // SAFETY: a live object.
                    unsafe { pool.give(*place) };
                    *place = write(pool.take());
                }
            };
            pass();
            let start = thread_ns();
            pass();
            let ns = (thread_ns() - start) as f64 / (PAIRS / 4) as f64;
            // SAFETY: live objects.
            held.into_iter().for_each(|object| unsafe { pool.give(object) });
            ns
        }
    }
}

#[inline(never)]
fn batches<P: Pool>(pool: &mut P, held: &mut [*mut u8], rounds: usize, write: impl Fn(*mut u8) -> *mut u8) {
    for _ in 0..rounds {
        for place in held.iter_mut() {
            *place = write(pool.take());
        }
        for object in held.iter().rev() {
            // SAFETY: a live object.
            unsafe { pool.give(black_box(*object)) };
        }
    }
}

/// slabmalloc's nanoseconds for each work: called in a child process, for it has undefined behaviour.
#[must_use]
pub(crate) fn slabmalloc() -> Vec<f64> {
    let mut arena = Arena::new(ARENA).expect("memory for the arena");
    arena.touch(ARENA);
    let next = arena.region(ARENA).cast::<u8>().as_ptr();
    let run = |(_, work): (&str, Work)| {
        measure(&mut Slabmalloc { cache: SCAllocator::new(LAYOUT.size()), next }, work)
    };
    WORKS.map(run).to_vec()
}

/// All of them.
///
/// # Panics
/// There is not so much memory.
#[must_use]
pub fn figures(rounds: usize) -> Vec<Figure> {
    let mut figures = vec![];
    let mut arena = Arena::new(ARENA).expect("memory for the arena");
    arena.touch(ARENA);
    let apart: Vec<Vec<f64>> =
        (0..rounds.min(5)).filter_map(|_| crate::objects::slabmalloc_pairs()).collect();
    for (number, (what, work)) in WORKS.into_iter().enumerate() {
        let mut objects: Vec<*mut u8> = vec![core::ptr::null_mut(); LIVE + 64];
        let times = interleave(
            5,
            rounds,
            |_| true,
            |_, who| {
                let region = arena.region(ARENA);
                let start = region.cast::<u8>();
                match who {
                    0 => {
                        // SAFETY: the arena is ours until this closure returns.
                        let mut fronts = unsafe { Fronts::build(region) }.expect("32 MiB are enough");
                        let ns = measure(&mut fronts, work);
                        fronts.cache.flush();
                        assert_eq!(
                            fronts.cache.info().active_objects,
                            0,
                            "slab counts are exact after a flush"
                        );
                        ns
                    }
                    1 => {
                        for (index, object) in objects.iter_mut().enumerate() {
                            *object = start.as_ptr().wrapping_add(index * LAYOUT.size());
                        }
                        let mut ideal = Ideal { len: objects.len(), rounds: core::mem::take(&mut objects) };
                        let ns = measure(&mut ideal, work);
                        objects = ideal.rounds;
                        ns
                    }
                    2 => measure(&mut Floor(start.as_ptr()), work),
                    3 => measure(&mut Malloc, work),
                    _ => jemalloc(work),
                }
            },
        );
        let [ours, ideal, floor, malloc, jemalloc] =
            [0, 1, 2, 3, 4].map(|who| median(&times[who]).unwrap_or(f64::NAN));
        let bound = if number == 1 { Bound::AtMost(2.0) } else { Bound::Recorded };
        let row = format!("front array, {what}: ns a pair");
        if number < 2 {
            let figure = format!("{row} less the empty loop, beside an ideal array");
            // Less than a cycle is not measured, so it is not divided by.
            let (ours, ideal) = ((ours - floor).max(0.0), (ideal - floor).max(CYCLE));
            figures.push(timed(figure, ours, ideal, bound));
        }
        let slabmalloc: Vec<f64> = apart.iter().filter_map(|works| works.get(number).copied()).collect();
        if let Some(other) = median(&slabmalloc) {
            let bound = if number < 2 { Bound::AtMost(1.0 / 3.0) } else { Bound::Recorded };
            figures.push(timed(format!("{row}, beside slabmalloc"), ours, other, bound));
        }
        figures.push(timed(format!("{row}, beside the system's malloc"), ours, malloc, Bound::Recorded));
        if jemalloc.is_finite() {
            let bound = if number == 2 { Bound::AtMost(1.1) } else { Bound::Recorded };
            figures.push(timed(format!("{row}, beside jemalloc"), ours, jemalloc, bound));
        } else {
            println!("SKIPPED: {row}, beside jemalloc: needs the feature native-peers");
        }
    }
    figures
}
