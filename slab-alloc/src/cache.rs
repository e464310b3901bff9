//! What the layers in front of a cache need of it: [`Fronted`](crate::Fronted) and [`CpuCache`](crate::CpuCache) stand
//! before typed and raw caches alike.
#![expect(unsafe_code, reason = "takes objects back")]

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use hectare_core::{AllocError, CheckInvariants, FrameSource, FreeError, PhysWindow};

use crate::construct::Construct;
use crate::info::CacheInfo;
use crate::object_cache::ObjectCache;
use crate::raw_cache::RawCache;

/// A cache of one owner: [`ObjectCache`] or [`RawCache`]. Sealed: what stands before a cache trusts it.
///
/// An object that was allocated and not freed is valid, and nobody else's.
pub trait Cache: CheckInvariants + sealed::Sealed {
    /// What it hands out. For a [`RawCache`] the first byte of an object.
    type Object;

    /// Takes an object.
    ///
    /// # Errors
    /// As [`RawCache::allocate`].
    fn allocate(&mut self) -> Result<NonNull<Self::Object>, AllocError>;

    /// Fills `out` from its start with objects; how many.
    fn allocate_bulk(&mut self, out: &mut [Option<NonNull<Self::Object>>]) -> usize;

    /// Gives an object back.
    ///
    /// # Safety
    /// It was taken here and not given back, is valid, and nothing uses it any more.
    ///
    /// # Errors
    /// As [`RawCache::free`].
    unsafe fn free(&mut self, object: NonNull<Self::Object>) -> Result<(), FreeError>;

    /// Gives every empty slab back; how many frames.
    fn shrink(&mut self) -> u64;

    /// How many objects, slabs and frames.
    fn info(&self) -> CacheInfo;
}

mod sealed {
    pub trait Sealed {}
}

impl<S: FrameSource, W: PhysWindow> sealed::Sealed for RawCache<S, W> {}

impl<S: FrameSource, W: PhysWindow> Cache for RawCache<S, W> {
    type Object = MaybeUninit<u8>;

    fn allocate(&mut self) -> Result<NonNull<MaybeUninit<u8>>, AllocError> {
        Self::allocate(self).map(NonNull::cast)
    }

    fn allocate_bulk(&mut self, out: &mut [Option<NonNull<MaybeUninit<u8>>>]) -> usize {
        let mut places = out.iter_mut();
        let wanted = places.len();
        self.allocate_each(wanted, |object| {
            if let Some(place) = places.next() {
                *place = Some(object.cast());
            }
        })
    }

    unsafe fn free(&mut self, object: NonNull<MaybeUninit<u8>>) -> Result<(), FreeError> {
        // SAFETY: the caller's promise.
        unsafe { Self::free(self, object.cast()) }
    }

    fn shrink(&mut self) -> u64 {
        Self::shrink(self)
    }

    fn info(&self) -> CacheInfo {
        Self::info(self)
    }
}

impl<T, S, W, K, const FRAMES: u32> sealed::Sealed for ObjectCache<T, S, W, K, FRAMES>
where
    S: FrameSource,
    W: PhysWindow,
    K: Construct<T>,
{
}

impl<T, S, W, K, const FRAMES: u32> Cache for ObjectCache<T, S, W, K, FRAMES>
where
    S: FrameSource,
    W: PhysWindow,
    K: Construct<T>,
{
    type Object = T;

    fn allocate(&mut self) -> Result<NonNull<T>, AllocError> {
        Self::allocate(self)
    }

    fn allocate_bulk(&mut self, out: &mut [Option<NonNull<T>>]) -> usize {
        Self::allocate_bulk(self, out)
    }

    unsafe fn free(&mut self, object: NonNull<T>) -> Result<(), FreeError> {
        // SAFETY: the caller's promise.
        unsafe { Self::free(self, object) }
    }

    fn shrink(&mut self) -> u64 {
        Self::shrink(self)
    }

    fn info(&self) -> CacheInfo {
        Self::info(self)
    }
}
