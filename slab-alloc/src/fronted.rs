//! A cache of one owner with its objects that were freed last in an array.
//!
//! ```text
//!  slots   │ – │ ■ │ ■ │ ■ │ ■ │   │   │   │      allocate: the top one      free: one on top
//!            0               top          N       empty: half of it from the slabs; full: the older half to them
//! ```
//! Slot 0 is always empty, so that one look tells whether there is an object and which.
#![expect(unsafe_code, reason = "takes objects back")]

use core::ptr::NonNull;

use hectare_core::{AllocError, CheckInvariants, FrameSource, PhysWindow, Violation};

use crate::cache::Cache;
use crate::info::CacheInfo;
use crate::raw_cache::RawCache;

/// A cache with an array of up to `N − 1` free objects in front, or [fewer](Self::with_limit); `N` is a power of two, at
/// least 4.
///
/// * Taking and giving back are a load, a compare and two stores; the slabs are asked at most once in half that many
///   operations of any sequence. The object that was freed last comes first, and is not touched.
/// * A bad free is found when the object comes to its slab: it is then dropped and [counted](Self::rejected). For exact
///   detection at the free itself there is the cache alone.
/// * Objects in the array are constructed, and count as active in [`info`](Self::info) until [`flush`](Self::flush).
/// * Dropping it gives everything back first.
///
/// ```
/// use hectare_slab::{ByDefault, Fronted, ObjectCache};
/// # use hectare_testkit::stand_in::PlainFrames;
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 16);
/// # let window = frames.window();
///
/// let nodes: ObjectCache<[u64; 8], _, _, ByDefault> = ObjectCache::new("node", ByDefault, frames, window);
/// let mut nodes: Fronted<_, 16> = Fronted::new(nodes);
/// let node = nodes.allocate()?;
/// assert_eq!(nodes.held(), 7); // half an array came at once
/// // SAFETY: taken above, and not used any more.
/// unsafe { nodes.free(node) };
/// assert_eq!(nodes.allocate()?, node); // what was freed last is warm, and comes first
///
/// // SAFETY: as above.
/// unsafe { nodes.free(node) };
/// // SAFETY: none: a mistake. The array does not look: until it is flushed, two users might get this node.
/// unsafe { nodes.free(node) };
/// nodes.flush();
/// assert_eq!((nodes.rejected(), nodes.info().active_objects), (1, 0));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Invariants
/// * slots 1 to `top` hold objects that are handed out as far as their slabs know, each once; the others are empty or stale
/// * those of the cache
#[derive(Debug)]
pub struct Fronted<C: Cache, const N: usize = 64> {
    top: usize,
    /// Most objects in the array: 2 to N − 1.
    limit: usize,
    slots: [Option<NonNull<C::Object>>; N],
    rejected: u64,
    cache: C,
}

// SAFETY: the objects in the array belong to the cache, and move with it.
unsafe impl<C: Cache + Send, const N: usize> Send for Fronted<C, N> where C::Object: Send {}

impl<C: Cache, const N: usize> Fronted<C, N> {
    const MOST: usize = {
        assert!(N.is_power_of_two() && N >= 4, "the array has a power of two of slots, at least 4");
        N - 1
    };

    /// An empty array before this cache.
    #[must_use]
    pub const fn new(cache: C) -> Self {
        Self::with_limit(cache, Self::MOST)
    }

    /// An array of at most `limit` objects: for large ones, which the array would keep from others. Less than 2 counts as
    /// 2, more than fit as all of them.
    #[must_use]
    pub const fn with_limit(cache: C, limit: usize) -> Self {
        let limit = match limit {
            0..=2 => 2,
            some if some > Self::MOST => Self::MOST,
            some => some,
        };
        Self { top: 0, limit, slots: [None; N], rejected: 0, cache }
    }

    /// Takes an object.
    ///
    /// # Errors
    /// As the cache's own.
    #[inline(always)]
    pub fn allocate(&mut self) -> Result<NonNull<C::Object>, AllocError> {
        match self.slots[self.top & (N - 1)] {
            Some(object) => {
                self.top = self.top.wrapping_sub(1);
                Ok(object)
            }
            None => self.refill(),
        }
    }

    /// Gives an object back.
    ///
    /// # Safety
    /// It was taken here and not given back, is valid, and nothing uses it any more.
    #[inline(always)]
    pub unsafe fn free(&mut self, object: NonNull<C::Object>) {
        if self.top >= self.limit {
            self.overflow();
        }
        let top = self.top.wrapping_add(1) & (N - 1);
        self.slots[top] = Some(object);
        self.top = top;
    }

    /// Gives every object in the array to its slab. O(N).
    pub fn flush(&mut self) {
        self.drain(N);
    }

    /// Flushes the array and gives every empty slab back; how many frames.
    pub fn shrink(&mut self) -> u64 {
        self.flush();
        self.cache.shrink()
    }

    /// How many objects, slabs and frames; objects in the array are active.
    #[must_use]
    pub fn info(&self) -> CacheInfo {
        self.cache.info()
    }

    /// Objects in the array.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.top
    }

    /// Objects that came back and were not the cache's, or free already.
    #[must_use]
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> Result<NonNull<C::Object>, AllocError> {
        let batch = self.slots.get_mut(1..=self.limit.div_ceil(2)).unwrap_or(&mut []);
        let count = self.cache.allocate_bulk(batch);
        if count == 0 {
            return self.cache.allocate();
        }
        // They came in the order of their addresses, and the lowest goes first.
        let (first, rest) = match batch.get_mut(..count) {
            Some([first, rest @ ..]) => (first.take(), rest),
            _ => return Err(AllocError::OutOfMemory),
        };
        rest.reverse();
        self.slots.copy_within(2..count.wrapping_add(1), 1);
        self.top = count.wrapping_sub(1);
        first.ok_or(AllocError::OutOfMemory)
    }

    #[cold]
    #[inline(never)]
    fn overflow(&mut self) {
        self.drain(self.limit.div_ceil(2));
    }

    /// Gives the `count` oldest objects to their slabs.
    fn drain(&mut self, count: usize) {
        let (top, count) = (self.top.min(Self::MOST), count.min(self.top));
        for slot in 1..=count {
            let Some(object) = self.slots.get(slot).copied().flatten() else { continue };
            // SAFETY: objects in the array were freed by their owners.
            if unsafe { self.cache.free(object) }.is_err() {
                self.rejected = self.rejected.saturating_add(1);
            }
        }
        self.slots.copy_within(count.wrapping_add(1)..top.wrapping_add(1), 1);
        if !cfg!(hectare_plant = "fronted_keeps") {
            self.top = top.wrapping_sub(count);
        }
    }
}

impl<S: FrameSource, W: PhysWindow, const N: usize> Fronted<RawCache<S, W>, N> {
    /// The source.
    #[must_use]
    pub const fn source(&self) -> &S {
        self.cache.source()
    }
}

impl<C: Cache, const N: usize> Drop for Fronted<C, N> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl<C: Cache, const N: usize> CheckInvariants for Fronted<C, N> {
    fn check_invariants(&self) -> Result<(), Violation> {
        self.cache.check_invariants()?;
        Violation::unless(self.top < N && self.slots[0].is_none(), "slot 0 is empty", self.top as u64)?;
        for (slot, object) in self.slots.iter().enumerate().take(self.top + 1).skip(1) {
            let once = object.is_some() && self.slots.iter().take(slot).all(|other| other != object);
            Violation::unless(once, "an object is in the array once", slot as u64)?;
        }
        let active = self.cache.info().active_objects;
        Violation::unless(self.top <= active, "what is in the array has left its slab", self.top as u64)
    }
}
