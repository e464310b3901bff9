//! A cache of objects of one type that stay constructed while they are free.
#![expect(unsafe_code, reason = "constructs objects in slabs and drops them there")]

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, CheckInvariants, Figures, Fragmentation, FrameSource, FreeError, PhysWindow, Ratio, Usage,
    Violation,
};

use crate::construct::Construct;
use crate::geometry::Geometry;
use crate::info::CacheInfo;
use crate::raw_cache::RawCache;
use crate::slab::{Candidate, Slab};

/// A cache of objects of type `T`, each constructed once and kept so.
///
/// * An object that is handed out is a valid `T`: new from the constructor, or as its last user left it.
/// * `FRAMES` is the number of frames in a slab; with 0 the smallest power of two is chosen that leaves at most an eighth
///   over. A type that does not fit is an error of compilation.
/// * Taking and giving back are O(1), apart from the source and the constructor; a free object is not touched.
/// * Constructed objects are dropped when their slab goes back to the source: beyond [`set_keep`](Self::set_keep), by
///   [`shrink`](Self::shrink), when the cache is dropped. Slabs with objects that are still handed out are then leaked.
///
/// ```
/// use hectare_core::FreeError;
/// use hectare_slab::ObjectCache;
/// # use hectare_testkit::stand_in::PlainFrames;
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 16);
/// # let window = frames.window();
/// struct Task { stack: Vec<u64>, id: u32 }
///
/// let mut made = 0;
/// let new = || { made += 1; Task { stack: vec![0; 500], id: 0 } };
/// let mut tasks: ObjectCache<Task, _, _, _> = ObjectCache::new("task", new, frames, window);
/// for id in 1..=100 {
///     let task = tasks.allocate()?;
///     // SAFETY: taken above and used by nobody else; the constructor made it.
///     unsafe { (*task.as_ptr()).id = id };
///     // SAFETY: taken above, valid, and not used any more.
///     unsafe { tasks.free(task) }?;
///     // SAFETY: none: a mistake, refused.
///     assert_eq!(unsafe { tasks.free(task) }, Err(FreeError::NotAllocated));
/// }
/// assert_eq!(tasks.shrink(), 1); // the frame goes back, and the task's stack is dropped before
/// # drop(tasks);
/// assert_eq!(made, 1); // a hundred tasks, one stack
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// Nobody has to write `unsafe` with a [`SharedCache`](crate::SharedCache) around it.
///
/// A type that cannot fit does not compile:
///
/// ```compile_fail
/// # use hectare_slab::{ByDefault, ObjectCache};
/// # use hectare_core::{FrameSource, PhysWindow};
/// #[derive(Default)]
/// struct Large([[u64; 32]; 32]);
/// fn one_frame<S: FrameSource, W: PhysWindow>(frames: S, window: W) {
///     // 8 KiB in slabs of one frame of 4 KiB, whichever source this is called with.
///     let _ = ObjectCache::<Large, S, W, ByDefault, 1>::new("large", ByDefault, frames, window);
/// }
/// # use hectare_testkit::stand_in::PlainFrames;
/// # let source: PlainFrames<12> = PlainFrames::new(0, 4);
/// # let window = source.window();
/// # one_frame(source, window);
/// ```
#[derive(Debug)]
pub struct ObjectCache<T, S: FrameSource, W: PhysWindow, K: Construct<T>, const FRAMES: u32 = 0> {
    raw: RawCache<S, W>,
    constructor: K,
    objects: PhantomData<T>,
}

// SAFETY: the cache owns the constructed objects that are free (`T: Send`), its constructor, and its raw cache.
unsafe impl<T, S, W, K, const FRAMES: u32> Send for ObjectCache<T, S, W, K, FRAMES>
where
    T: Send,
    S: FrameSource + Send,
    W: PhysWindow + Send,
    K: Construct<T> + Send,
{
}

impl<T, S: FrameSource, W: PhysWindow, K: Construct<T>, const FRAMES: u32> ObjectCache<T, S, W, K, FRAMES> {
    /// How the slabs are cut.
    pub const GEOMETRY: Geometry = {
        let geometry = match FRAMES {
            0 => Geometry::new(Layout::new::<T>(), S::FRAME_SIZE),
            frames => Geometry::with_frames(Layout::new::<T>(), S::FRAME_SIZE, frames),
        };
        match geometry {
            Ok(geometry) => geometry,
            Err(_) => panic!("objects of this type do not fit into such slabs"),
        }
    };

    /// A cache without slabs.
    #[must_use]
    pub const fn new(name: &'static str, constructor: K, source: S, window: W) -> Self {
        let raw = RawCache::new(name, Self::GEOMETRY, source, window);
        Self { raw, constructor, objects: PhantomData }
    }

    /// Takes an object, which is a valid `T`. If the constructor panics, nothing is changed.
    ///
    /// # Errors
    /// As [`RawCache::allocate`].
    pub fn allocate(&mut self) -> Result<NonNull<T>, AllocError> {
        let candidate = self.raw.candidate()?;
        self.construct(candidate);
        Ok(self.raw.commit(candidate).cast())
    }

    /// Gives an object back as it is: it is neither dropped nor touched.
    ///
    /// # Safety
    /// The object was taken from this cache and not given back, it is a valid `T`, and nothing uses it any more.
    ///
    /// # Errors
    /// As [`RawCache::free`]; nothing is changed then.
    pub unsafe fn free(&mut self, object: NonNull<T>) -> Result<(), FreeError> {
        // SAFETY: the caller's promise.
        unsafe { self.raw.give(object.cast()) }?;
        self.raw.trim(retire::<T>);
        Ok(())
    }

    /// Fills `out` from its start with objects; how many. Fewer than `out` has iff [`allocate`](Self::allocate) fails.
    pub fn allocate_bulk(&mut self, out: &mut [Option<NonNull<T>>]) -> usize {
        let mut count = 0;
        for place in out {
            let Ok(object) = self.allocate() else { break };
            *place = Some(object);
            count += 1;
        }
        count
    }

    /// As [`RawCache::reserve`].
    ///
    /// # Errors
    /// As [`RawCache::reserve`].
    pub fn reserve(&mut self, count: usize) -> Result<(), AllocError> {
        if count < self.raw.reserved() {
            // Slabs that the reserve held back may go now: their objects are dropped first.
            self.raw.lower_reserve(count);
            self.raw.trim(retire::<T>);
            return Ok(());
        }
        self.raw.reserve(count)
    }

    /// Takes an object out of the reserve; `None` iff that is 0. Asks no source; may construct.
    pub fn allocate_reserved(&mut self) -> Option<NonNull<T>> {
        let candidate = self.raw.candidate_reserved()?;
        self.construct(candidate);
        Some(self.raw.commit_reserved(candidate).cast())
    }

    /// As [`RawCache::set_keep`].
    pub const fn set_keep(&mut self, slabs: usize) {
        self.raw.set_keep(slabs);
    }

    /// Drops the objects of every empty slab that the reserve does not need, and gives the slabs back; how many frames.
    pub fn shrink(&mut self) -> u64 {
        self.raw.release(0, retire::<T>)
    }

    /// As [`RawCache::info`].
    #[must_use]
    pub fn info(&self) -> CacheInfo {
        self.raw.info()
    }

    /// The constructor.
    #[must_use]
    pub const fn constructor(&self) -> &K {
        &self.constructor
    }

    /// The source.
    #[must_use]
    pub const fn source(&self) -> &S {
        self.raw.source()
    }

    /// Makes sure that the candidate's memory holds an object.
    #[inline]
    fn construct(&mut self, candidate: Candidate) {
        let fresh = candidate.fresh || cfg!(hectare_plant = "slab_constructed_twice");
        if fresh {
            let object = self.constructor.construct();
            let place = candidate.slab.object(self.raw.geometry(), candidate.index).cast::<T>();
            // SAFETY: (1) a free object's memory is the cache's, and valid for its size; (2) aligned (geometry).
            unsafe { place.write(object) };
        }
    }
}

/// Drops the constructed objects of a slab that goes back, in which none is handed out.
fn retire<T>(geometry: &Geometry, slab: Slab) {
    if !core::mem::needs_drop::<T>() {
        return;
    }
    for index in 0..slab.carved() {
        let object = slab.object(geometry, index).cast::<T>();
        // SAFETY: (1) objects below the watermark were constructed when they were first handed out, and given back valid
        // (`free`); (2) nobody else has them, and the slab is in no list: each is dropped once.
        unsafe { object.drop_in_place() };
    }
}

impl<T, S: FrameSource, W: PhysWindow, K: Construct<T>, const FRAMES: u32> Drop
    for ObjectCache<T, S, W, K, FRAMES>
{
    fn drop(&mut self) {
        self.raw.lower_reserve(0);
        self.shrink();
    }
}

impl<T, S: FrameSource, W: PhysWindow, K: Construct<T>, const FRAMES: u32> CheckInvariants
    for ObjectCache<T, S, W, K, FRAMES>
{
    fn check_invariants(&self) -> Result<(), Violation> {
        self.raw.check_invariants()
    }
}

impl<T, S: FrameSource, W: PhysWindow, K: Construct<T>, const FRAMES: u32> Figures
    for ObjectCache<T, S, W, K, FRAMES>
{
    fn usage(&self) -> Usage {
        self.raw.usage()
    }

    fn fragmentation(&self) -> Fragmentation {
        self.raw.fragmentation()
    }

    fn unusable(&self, units: u64) -> Ratio {
        self.raw.unusable(units)
    }
}
