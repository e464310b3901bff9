//! A cache of equal pieces of memory, by size and alignment.
#![expect(unsafe_code, reason = "hands out memory and takes it back")]

use core::ptr::NonNull;

use hectare_core::{
    AllocError, CheckInvariants, Figures, Fragmentation, FrameSource, FreeError, PhysWindow, Ratio, Usage,
    Violation,
};

use crate::geometry::Geometry;
use crate::info::CacheInfo;
use crate::memory::Memory;
use crate::slab::{Candidate, Slab};
use crate::slabs::Slabs;

/// A cache of equal objects without a type: each is `geometry.object_size()` bytes.
///
/// * Taking and giving back are O(1) in the worst case, apart from the source, and never touch the object's memory.
/// * Objects come from the fullest slab that is not full, the lowest address first; a new slab only when none has a free
///   object. At most [`keep`](Self::set_keep) empty slabs are kept, the others go back to the source at once.
/// * A bad free is refused and changes nothing: see [`free`](Self::free).
/// * Dropping the cache gives its empty slabs back; slabs with objects that are still handed out are leaked.
///
/// ```
/// use core::alloc::Layout;
/// use hectare_core::{FreeError, PageSize};
/// use hectare_slab::{Geometry, RawCache};
/// # use hectare_testkit::stand_in::PlainFrames;
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 16);
/// # let window = frames.window();
///
/// // Buffers for packets, known by size only. `frames` is any source of frames of 4 KiB, `window` shows them.
/// let geometry = Geometry::new(Layout::from_size_align(1536, 64)?, PageSize::SIZE_4K)?;
/// let mut buffers = RawCache::new("packet", geometry, frames, window);
/// buffers.reserve(4)?; // an interrupt may take four and asks no source
/// let packet = buffers.allocate_reserved().expect("four are reserved");
///
/// // SAFETY: taken above, and not used any more.
/// unsafe { buffers.free(packet) }?;
/// // SAFETY: none: a mistake. The slab's bitmap knows, and nothing is changed.
/// assert_eq!(unsafe { buffers.free(packet) }, Err(FreeError::NotAllocated));
/// // SAFETY: none: another mistake.
/// assert_eq!(unsafe { buffers.free(packet.add(64)) }, Err(FreeError::Misaligned));
///
/// buffers.reserve(0)?; // which ends the reserve
/// buffers.shrink();
/// assert_eq!(buffers.info().slabs, 0); // every frame is the source's again
/// # assert_eq!(buffers.source().free(), 16);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Invariants
/// * those of the slabs: right lists, right sums, bitmaps and counts that agree
/// * at least [`reserved`](Self::reserve) objects are free
#[derive(Debug)]
pub struct RawCache<S: FrameSource, W: PhysWindow> {
    name: &'static str,
    geometry: Geometry,
    memory: Memory<S, W>,
    slabs: Slabs,
    keep: usize,
    reserved: usize,
    peak: usize,
    refused: u64,
}

// SAFETY: the slabs' headers are reached only through the cache, and belong to it.
unsafe impl<S: FrameSource + Send, W: PhysWindow + Send> Send for RawCache<S, W> {}

/// How far a bulk free came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object {freed} was refused: {error}")]
pub struct BulkFreeError {
    /// So many objects were taken back: all before the one that was refused.
    pub freed: usize,
    /// Why.
    pub error: FreeError,
}

impl<S: FrameSource, W: PhysWindow> RawCache<S, W> {
    /// A cache without slabs. The name is for [`info`](Self::info).
    ///
    /// # Panics
    /// The geometry was made for frames of another size; in a `const` that is an error of compilation.
    #[must_use]
    pub const fn new(name: &'static str, geometry: Geometry, source: S, window: W) -> Self {
        assert!(
            geometry.frame_size().log2() == S::FRAME_SIZE.log2(),
            "the geometry was made for frames of another size"
        );
        Self {
            name,
            geometry,
            memory: Memory::new(source, window),
            slabs: Slabs::NONE,
            keep: 1,
            reserved: 0,
            peak: 0,
            refused: 0,
        }
    }

    /// Takes an object. Its contents are unspecified. O(1), and one request to the source if no slab has a free object.
    ///
    /// # Errors
    /// Fails iff every object is taken (but for the reserved ones) and the source refuses a slab: with its error, or with
    /// [`AllocError::Alignment`] if the window does not show the slab, or not at the same distance from its physical
    /// address as the other slabs, or not so aligned as the objects must be.
    pub fn allocate(&mut self) -> Result<NonNull<u8>, AllocError> {
        let candidate = self.candidate()?;
        Ok(self.commit(candidate))
    }

    /// Gives an object back.
    ///
    /// # Safety
    /// The object was taken from this cache and not given back, and nothing uses it any more.
    ///
    /// # Errors
    /// Nothing is changed then. Always detected: an object that is free ([`FreeError::NotAllocated`]), a pointer into an
    /// object or past the last one ([`FreeError::Misaligned`]), one outside the window or of a slab of another cache
    /// ([`FreeError::Foreign`]); as long as the slab, or one of whatever cache, lies there. Where other memory of the
    /// window lies instead, its contents decide: it is refused unless it looks like a header of this cache.
    pub unsafe fn free(&mut self, object: NonNull<u8>) -> Result<(), FreeError> {
        // SAFETY: the caller's promise.
        unsafe { self.give(object) }?;
        self.trim(|_, _| {});
        Ok(())
    }

    /// Fills `out` from its start with objects; how many. O(1) for each slab that they come from, plus O(1) each.
    ///
    /// Fewer than `out` has iff [`allocate`](Self::allocate) then fails.
    pub fn allocate_bulk(&mut self, out: &mut [Option<NonNull<u8>>]) -> usize {
        let mut places = out.iter_mut();
        let wanted = places.len();
        self.allocate_each(wanted, |object| {
            if let Some(place) = places.next() {
                *place = Some(object);
            }
        })
    }

    /// Gives objects back, in order, and trims the empty slabs once at the end.
    ///
    /// # Safety
    /// As [`free`](Self::free), for each of them.
    ///
    /// # Errors
    /// As [`free`](Self::free), at the first object that is refused; those before it are given back.
    pub unsafe fn free_bulk(&mut self, objects: &[NonNull<u8>]) -> Result<(), BulkFreeError> {
        let mut result = Ok(());
        for (freed, object) in objects.iter().enumerate() {
            // SAFETY: the caller's promise.
            if let Err(error) = unsafe { self.give(*object) } {
                result = Err(BulkFreeError { freed, error });
                break;
            }
        }
        self.trim(|_, _| {});
        result
    }

    /// Makes sure that `count` objects can be [taken without fail](Self::allocate_reserved): taken from the source now
    /// and kept from everybody else. 0 ends that. O(slabs added).
    ///
    /// # Errors
    /// Fails iff the source refuses; the reserve is then as it was.
    pub fn reserve(&mut self, count: usize) -> Result<(), AllocError> {
        while self.slabs.free(&self.geometry) < count {
            self.grow()?;
        }
        self.reserved = count;
        self.trim(|_, _| {});
        Ok(())
    }

    /// Takes an object out of the reserve, which is then smaller by one; `None` iff the reserve is 0. O(1), and asks no
    /// source.
    pub fn allocate_reserved(&mut self) -> Option<NonNull<u8>> {
        let candidate = self.candidate_reserved()?;
        Some(self.commit_reserved(candidate))
    }

    /// Objects that only [`allocate_reserved`](Self::allocate_reserved) takes.
    #[must_use]
    pub const fn reserved(&self) -> usize {
        self.reserved
    }

    /// How many empty slabs are kept for the next allocations: 1 by default. More than that go back at the next free.
    pub const fn set_keep(&mut self, slabs: usize) {
        self.keep = slabs;
    }

    /// Gives every empty slab back that the reserve does not need; how many frames. O(slabs given back).
    pub fn shrink(&mut self) -> u64 {
        self.release(0, |_, _| {})
    }

    /// How many objects, slabs and frames: prints as a line of `/proc/slabinfo`.
    #[must_use]
    pub fn info(&self) -> CacheInfo {
        CacheInfo::of(self.name, &self.geometry, &self.slabs)
    }

    /// How its slabs are cut.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The source. To change it, see the source's own means: it is shared or owned by the cache.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.memory.source
    }
}

impl<S: FrameSource, W: PhysWindow> RawCache<S, W> {
    /// Takes up to `wanted` objects and hands each to `each`; how many.
    pub(crate) fn allocate_each(&mut self, wanted: usize, mut each: impl FnMut(NonNull<u8>)) -> usize {
        let mut count = 0;
        while count < wanted && self.candidate().is_ok() {
            let spare = self.to_spare();
            count += self.slabs.take_many(&self.geometry, spare.min(wanted - count), &mut each);
        }
        self.peak = self.peak.max(self.slabs.taken());
        count
    }

    /// Free objects that the reserve does not need.
    fn to_spare(&self) -> usize {
        self.slabs.free(&self.geometry).saturating_sub(self.reserved)
    }

    /// The object that the next allocation takes, in a new slab if need be.
    #[inline]
    pub(crate) fn candidate(&mut self) -> Result<Candidate, AllocError> {
        if self.slabs.free(&self.geometry) <= self.reserved {
            self.grow().inspect_err(|_| self.refused = self.refused.saturating_add(1))?;
        }
        self.slabs.candidate().ok_or(AllocError::OutOfMemory)
    }

    #[inline]
    pub(crate) fn commit(&mut self, candidate: Candidate) -> NonNull<u8> {
        let object = self.slabs.take(&self.geometry, candidate);
        self.peak = self.peak.max(self.slabs.taken());
        object
    }

    pub(crate) fn candidate_reserved(&self) -> Option<Candidate> {
        if self.reserved == 0 { None } else { self.slabs.candidate() }
    }

    pub(crate) fn commit_reserved(&mut self, candidate: Candidate) -> NonNull<u8> {
        self.reserved = self.reserved.saturating_sub(1);
        self.commit(candidate)
    }

    /// Makes the reserve smaller, and leaves the empty slabs.
    pub(crate) fn lower_reserve(&mut self, count: usize) {
        self.reserved = self.reserved.min(count);
    }

    fn grow(&mut self) -> Result<(), AllocError> {
        self.slabs.grow(&self.geometry, &mut self.memory, None)
    }

    /// Takes an object back, and leaves the empty slabs.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    #[inline]
    pub(crate) unsafe fn give(&mut self, object: NonNull<u8>) -> Result<(), FreeError> {
        let address = object.addr().get();
        // SAFETY: the caller's promise: an object of a live slab of ours. (Broken promises are looked at as far as
        // `free` says.)
        let slab = unsafe { self.memory.slab_at(&self.geometry, self.slabs.owner, address) };
        let slab = slab.ok_or(FreeError::Foreign)?;
        let index = Slabs::taken_at(slab, &self.geometry, address)?;
        self.slabs.give(&self.geometry, slab, index);
        Ok(())
    }

    /// Gives empty slabs back as long as there are more than are kept; `retire` sees each before it goes.
    #[inline]
    pub(crate) fn trim(&mut self, retire: impl FnMut(&Geometry, Slab)) {
        if self.slabs.empty() > self.keep {
            self.release(self.keep, retire);
        }
    }

    /// Gives empty slabs back until `keep` are left or the reserve needs them; `retire` sees each before it goes. How
    /// many frames.
    pub(crate) fn release(&mut self, keep: usize, mut retire: impl FnMut(&Geometry, Slab)) -> u64 {
        let before = self.memory.frames;
        while self.slabs.empty() > keep
            && self.slabs.free(&self.geometry) - self.geometry.count >= self.reserved
        {
            let Some(slab) = self.slabs.remove_empty() else { break };
            retire(&self.geometry, slab);
            // SAFETY: the slab was laid here, is in no list any more, and none of its objects is handed out. If the
            // source refuses its own frames, they are lost, and counted as ours.
            let _ = unsafe { self.memory.release(&self.geometry, slab) };
        }
        before - self.memory.frames
    }
}

impl<S: FrameSource, W: PhysWindow> Drop for RawCache<S, W> {
    fn drop(&mut self) {
        self.reserved = 0;
        self.shrink();
    }
}

impl<S: FrameSource, W: PhysWindow> CheckInvariants for RawCache<S, W> {
    fn check_invariants(&self) -> Result<(), Violation> {
        self.slabs.check(&self.geometry)?;
        let free = self.slabs.free(&self.geometry);
        Violation::unless(free >= self.reserved, "the reserve is free", free as u64)?;
        let frames = self.slabs.slabs() as u64 * u64::from(self.geometry.frames());
        Violation::unless(frames == self.memory.frames, "the slabs are the frames taken", self.memory.frames)
    }
}

/// In objects, of the slabs that the cache has now. O(1).
impl<S: FrameSource, W: PhysWindow> Figures for RawCache<S, W> {
    fn usage(&self) -> Usage {
        let (geometry, slabs) = (&self.geometry, &self.slabs);
        let capacity = (slabs.slabs() * geometry.count) as u64;
        let mut usage = Usage::new(geometry.stride as u64, capacity, slabs.taken() as u64);
        usage.peak_allocated = self.peak as u64;
        usage.metadata_bytes = (slabs.slabs() * geometry.tail()) as u64;
        usage.failures.out_of_memory = self.refused;
        usage
    }

    /// Equal objects do not fragment: each free one is a hole that serves any request.
    fn fragmentation(&self) -> Fragmentation {
        let free = self.slabs.free(&self.geometry) as u64;
        Fragmentation::new(free, free.min(1), free)
    }

    /// 0 for one object, 1 for more: a cache hands out single ones.
    fn unusable(&self, units: u64) -> Ratio {
        let free = self.slabs.free(&self.geometry) as u64;
        Ratio::new(if units > 1 { free } else { 0 }, free)
    }
}
