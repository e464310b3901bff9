//! A raw cache as the test kit's model wants it: for the model's tests and for the fuzz target.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, CheckInvariants, Figures, FrameSource, FreeError, PhysAddr, PhysWindow, Violation,
};
use hectare_slab::{Geometry, RawCache};
use hectare_testkit::drive::{CacheUnderTest, ObjectModel};
use hectare_testkit::stand_in::{ArenaWindow, PlainFrames};

/// A cache over a few plain frames of 2^LOG2 bytes.
#[derive(Debug)]
pub(crate) struct Tested<const LOG2: u8> {
    cache: RawCache<PlainFrames<LOG2>, ArenaWindow>,
    frames: u64,
}

/// A model of a cache of objects of this layout, in slabs of so many frames, on so many frames from number `first` on;
/// `None` if there are no such slabs.
pub(crate) fn model<const LOG2: u8>(
    object: Layout,
    slab: u32,
    first: u64,
    frames: u64,
    keep: usize,
) -> Option<ObjectModel<Tested<LOG2>>> {
    let geometry = Geometry::with_frames(object, PlainFrames::<LOG2>::FRAME_SIZE, slab).ok()?;
    let source = PlainFrames::<LOG2>::new(first, frames);
    let (window, bytes) = (source.window(), frames << LOG2);
    let start = window.pointer(PhysAddr::new(first << LOG2), bytes)?.addr().get() as u64;
    let mut cache = RawCache::new("tested", geometry, source, window);
    cache.set_keep(keep);
    Some(ObjectModel::new(Tested { cache, frames }, start..start + bytes))
}

// SAFETY: every promise is the cache's; its window ends where its frames do, and those are initialised (the arena's
// canaries), so that any address can be looked at.
unsafe impl<const LOG2: u8> CacheUnderTest for Tested<LOG2> {
    fn size(&self) -> usize {
        self.cache.geometry().object_size()
    }

    fn align(&self) -> usize {
        self.cache.geometry().object_align()
    }

    fn allocate(&mut self) -> Result<NonNull<u8>, AllocError> {
        self.cache.allocate()
    }

    fn allocate_many(&mut self, out: &mut [Option<NonNull<u8>>]) -> usize {
        self.cache.allocate_bulk(out)
    }

    unsafe fn free(&mut self, object: NonNull<u8>) -> Result<(), FreeError> {
        // SAFETY: the caller's promise, or no object's address: that is refused.
        unsafe { self.cache.free(object) }
    }

    fn reserve(&mut self, count: usize) -> Result<(), AllocError> {
        self.cache.reserve(count)
    }

    fn allocate_reserved(&mut self) -> Option<NonNull<u8>> {
        self.cache.allocate_reserved()
    }

    fn shrink(&mut self) {
        self.cache.shrink();
    }

    fn check(&self, live: usize, reserved: usize) -> Result<(), Violation> {
        self.cache.check_invariants()?;
        self.cache.source().check_invariants()?;
        let info = self.cache.info();
        Violation::unless(info.active_objects == live, "the count of objects", live as u64)?;
        Violation::unless(self.cache.usage().allocated == live as u64, "the usage", live as u64)?;
        Violation::unless(self.cache.reserved() == reserved, "the reserve", reserved as u64)?;
        let taken = info.slabs as u64 * u64::from(info.frames_per_slab);
        Violation::unless(self.frames - self.cache.source().free() == taken, "the frames", taken)
    }

    fn check_refusal(&self, live: usize, reserved: usize, error: AllocError) -> Result<(), String> {
        let info = self.cache.info();
        if error == AllocError::Alignment {
            return Ok(());
        }
        if info.objects > live + reserved {
            return Err(format!("{} objects are free", info.objects - live));
        }
        Ok(())
    }

    fn check_empty(&self) -> Result<(), String> {
        match self.frames - self.cache.source().free() {
            0 => Ok(()),
            lost => Err(format!("{lost} frames did not come back")),
        }
    }
}
