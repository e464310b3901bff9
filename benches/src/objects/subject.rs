//! What is measured: object caches, behind the smallest interface that all of them can bear.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::program::Shape;

/// Caches under measurement. The timed loop is generic over it: no dynamic call, and no lock, for anyone.
///
/// # Safety
/// An implementation only passes requests on; whether what is behind it keeps its promises is what the checked pass finds
/// out.
pub(super) unsafe trait Subject: Sized {
    /// Begins anew in this arena with these caches; `None` if it is too small, or they cannot be made.
    ///
    /// # Safety
    /// The arena is valid for reads and writes, begins at a multiple of 2 MiB, and is nobody else's until the result
    /// is gone.
    unsafe fn build(arena: NonNull<[u8]>, caches: &[Shape], cpus: usize) -> Option<Box<Self>>;

    /// The operations that follow are this CPU's.
    #[inline(always)]
    fn enter(&mut self, cpu: usize) {
        let _ = cpu;
    }

    /// Takes an object of a cache; null if it is refused.
    fn allocate(&mut self, cache: usize, layout: Layout) -> *mut u8;

    /// Gives an object back.
    ///
    /// # Safety
    /// It is live, of this cache, with this layout, and no longer used.
    unsafe fn free(&mut self, cache: usize, object: *mut u8, layout: Layout);

    /// Gives back whatever is not in use, when every object was freed: frames that are still missing; `None` if it cannot
    /// tell.
    fn settle(&mut self) -> Option<u64> {
        None
    }

    /// Bytes of its own values and of the tables that it placed in the arena, as far as they are known.
    fn metadata_bytes(&self) -> usize {
        self.outside_bytes()
    }

    /// Bytes of its own values, which lie outside the arena.
    fn outside_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// A heap as the caches' only means: `kmalloc` for everything.
#[derive(Debug)]
pub(super) struct Kmalloc<S>(Box<S>);

// SAFETY: every request goes to the heap.
unsafe impl<S: crate::subject::Subject> Subject for Kmalloc<S> {
    unsafe fn build(arena: NonNull<[u8]>, _caches: &[Shape], _cpus: usize) -> Option<Box<Self>> {
        // SAFETY: the caller's promise.
        unsafe { S::build(arena) }.map(|heap| Box::new(Self(heap)))
    }

    #[inline(always)]
    fn allocate(&mut self, _cache: usize, layout: Layout) -> *mut u8 {
        self.0.allocate(layout)
    }

    #[inline(always)]
    unsafe fn free(&mut self, _cache: usize, object: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.deallocate(object, layout) };
    }

    fn metadata_bytes(&self) -> usize {
        self.0.metadata_bytes()
    }

    fn outside_bytes(&self) -> usize {
        size_of::<S>()
    }
}

/// The empty loop: what replaying costs by itself. It answers every request with the same memory.
#[derive(Debug)]
pub(super) struct Nothing(*mut u8, PhantomData<()>);

// SAFETY: the arena's first bytes; only the timed passes use it, which write and do not read.
unsafe impl Subject for Nothing {
    unsafe fn build(arena: NonNull<[u8]>, _caches: &[Shape], _cpus: usize) -> Option<Box<Self>> {
        Some(Box::new(Self(arena.cast().as_ptr(), PhantomData)))
    }

    #[inline(always)]
    fn allocate(&mut self, cache: usize, layout: Layout) -> *mut u8 {
        core::hint::black_box((cache, layout));
        self.0
    }

    #[inline(always)]
    unsafe fn free(&mut self, cache: usize, object: *mut u8, layout: Layout) {
        core::hint::black_box((cache, object, layout));
    }
}
