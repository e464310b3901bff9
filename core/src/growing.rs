//! More memory on demand: an allocator with a source that may feed it when it runs out.
#![expect(unsafe_code, reason = "declares and implements unsafe traits")]

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::{AllocError, ByteAllocator, CheckInvariants, Figures, Fragmentation, FreeError, Ratio};
use crate::{RegionError, RegionHeap, Usage, Violation};

/// Where an exhausted allocator gets more memory.
///
/// # Safety
/// After [`acquire`](Self::acquire) the engine is still the allocator of all its live blocks: the source adds memory to
/// it, and neither overwrites it nor swaps it for another.
pub unsafe trait Source<A> {
    /// Gives `engine` more memory, so that `layout` can be served: typically by adding or extending a region. Called
    /// when the engine refused `layout`, at most twice for one allocation.
    ///
    /// # Errors
    /// Any error ends the attempt; the allocation is then refused with the engine's own error.
    fn acquire(&mut self, engine: &mut A, layout: Layout) -> Result<(), RegionError>;
}

/// No source: the allocator has what it was given.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSource;

// SAFETY: it does not touch the engine.
unsafe impl<A> Source<A> for NoSource {
    fn acquire(&mut self, _: &mut A, _: Layout) -> Result<(), RegionError> {
        Err(RegionError::Unknown)
    }
}

/// An allocator that asks its source for memory before it refuses.
///
/// An allocation that the engine can serve costs nothing more. What the engine refuses as
/// [`OutOfMemory`](AllocError::OutOfMemory), [`Fragmented`](AllocError::Fragmented) or
/// [`TooLarge`](AllocError::TooLarge) is tried again after each of at most two gifts. Nothing goes back to the source.
///
/// ```
/// use core::alloc::Layout;
/// use core::mem::{self, MaybeUninit};
/// use core::ptr::NonNull;
/// use hectare_core::{AllocError, ByteAllocator, Growing, RegionError, RegionHeap, Source};
/// # use hectare_testkit::stand_in::NaiveHeap as Engine;
///
/// /// Gives memory in pieces of 4 KiB, or larger ones for what does not fit.
/// struct Reserve<'m>(&'m mut [MaybeUninit<u8>]);
///
/// // SAFETY: it adds regions and does nothing else to the engine.
/// unsafe impl<A: RegionHeap> Source<A> for Reserve<'_> {
///     fn acquire(&mut self, engine: &mut A, layout: Layout) -> Result<(), RegionError> {
///         let bytes = layout.size().saturating_add(layout.align()).max(4096);
///         let (region, rest) = mem::take(&mut self.0).split_at_mut_checked(bytes).ok_or(RegionError::TooSmall)?;
///         self.0 = rest;
///         let region = NonNull::slice_from_raw_parts(NonNull::from(region).cast(), bytes);
///         // SAFETY: lent to the reserve, and by it to this engine alone.
///         unsafe { engine.add_region(region) }
///     }
/// }
///
/// let mut memory = [MaybeUninit::uninit(); 8192];
/// let mut heap = Growing::new(Engine::EMPTY, Reserve(&mut memory)); // `Engine`: any heap of regions
/// for _ in 0..16 {
///     heap.allocate(Layout::new::<[u8; 256]>())?; // the first one asks, the others fit
/// }
/// assert_eq!(heap.source().0.len(), 4096);
/// heap.allocate(Layout::new::<[u8; 256]>())?;
/// // The reserve is empty: what the engine said is said.
/// assert_eq!(heap.allocate(Layout::new::<[u8; 4096]>()), Err(AllocError::OutOfMemory));
/// # Ok::<(), AllocError>(())
/// ```
#[derive(Debug)]
pub struct Growing<A, S> {
    engine: A,
    source: S,
}

impl<A, S> Growing<A, S> {
    /// This engine, fed by this source.
    #[must_use]
    pub const fn new(engine: A, source: S) -> Self {
        Self { engine, source }
    }

    /// The engine, for its own figures and walks.
    #[must_use]
    pub const fn engine(&self) -> &A {
        &self.engine
    }

    /// The engine, for its own methods. An allocation made there bypasses the source.
    ///
    /// # Safety
    /// The engine is not overwritten or swapped for another while blocks of it are live.
    #[must_use]
    pub const unsafe fn engine_mut(&mut self) -> &mut A {
        &mut self.engine
    }

    /// The source.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// The source, to change it.
    #[must_use]
    pub const fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }
}

impl<A: ByteAllocator, S: Source<A>> Growing<A, S> {
    /// Runs `attempt`, and again after each of at most two gifts of the source.
    #[cold]
    fn acquire_and_retry<R>(
        &mut self,
        layout: Layout,
        first: AllocError,
        mut attempt: impl FnMut(&mut A) -> Result<R, AllocError>,
    ) -> Result<R, AllocError> {
        if !matches!(first, AllocError::OutOfMemory | AllocError::Fragmented | AllocError::TooLarge) {
            return Err(first);
        }
        let mut error = first;
        for _ in 0..2 {
            if self.source.acquire(&mut self.engine, layout).is_err() {
                return Err(error);
            }
            match attempt(&mut self.engine) {
                Err(again) => error = again,
                done => return done,
            }
        }
        Err(error)
    }
}

// SAFETY: every block is the engine's, and the source leaves the engine in place.
unsafe impl<A: ByteAllocator, S: Source<A>> ByteAllocator for Growing<A, S> {
    #[inline]
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        match self.engine.allocate(layout) {
            Ok(block) => Ok(block),
            Err(error) => self.acquire_and_retry(layout, error, |engine| engine.allocate(layout)),
        }
    }

    #[inline]
    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.engine.deallocate(block, layout) }
    }

    #[inline]
    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        match self.engine.allocate_zeroed(layout) {
            Ok(block) => Ok(block),
            Err(error) => self.acquire_and_retry(layout, error, |engine| engine.allocate_zeroed(layout)),
        }
    }

    #[inline]
    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.engine.resize_in_place(block, layout, new_size) }
    }

    #[inline]
    unsafe fn reallocate(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: the caller's promise is the one asked for.
        match unsafe { self.engine.reallocate(block, layout, new_size) } {
            Ok(block) => Ok(block),
            Err(error) => {
                let asked = Layout::from_size_align(new_size, layout.align()).unwrap_or(layout);
                // SAFETY: as above; a refused attempt left the block as it was.
                self.acquire_and_retry(asked, error, |engine| unsafe {
                    engine.reallocate(block, layout, new_size)
                })
            }
        }
    }
}

// SAFETY: the regions go to the engine, which touches no other memory.
unsafe impl<A: RegionHeap, S: Source<A> + ConstDefault> RegionHeap for Growing<A, S> {
    const EMPTY: Self = Self::new(A::EMPTY, S::DEFAULT);

    unsafe fn add_region(&mut self, region: NonNull<[u8]>) -> Result<(), RegionError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.engine.add_region(region) }
    }
}

/// A value that exists at compile time, so that a [`Growing`] heap can be a `static`.
pub trait ConstDefault {
    /// The value.
    const DEFAULT: Self;
}

impl ConstDefault for NoSource {
    const DEFAULT: Self = Self;
}

impl<A: CheckInvariants, S> CheckInvariants for Growing<A, S> {
    fn check_invariants(&self) -> Result<(), Violation> {
        self.engine.check_invariants()
    }
}

impl<A: Figures, S> Figures for Growing<A, S> {
    fn usage(&self) -> Usage {
        self.engine.usage()
    }

    fn fragmentation(&self) -> Fragmentation {
        self.engine.fragmentation()
    }

    fn unusable(&self, units: u64) -> Ratio {
        self.engine.unusable(units)
    }
}
