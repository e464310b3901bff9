//! One wrapper for every byte allocator: a lock around it, `GlobalAlloc` in front, bad frees reported.
//!
//! ```text
//!   Box, Vec, …  ──►  Heap<L, A>  ──►  L: RawLock  ──►  A: ByteAllocator (good fit, slab heap, …)
//!                      GlobalAlloc      one at a time     &mut self, typed errors
//! ```
#![expect(unsafe_code, reason = "implements GlobalAlloc and hands the engine out under the lock")]

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

use crate::sync::UnsafeCell;
use crate::{AllocError, ByteAllocator, Figures, FreeError, RawLock, Reentered, RegionError, RegionHeap};

/// A free that the engine refused, as the hook sees it.
///
/// ```
/// use core::alloc::Layout;
/// use core::sync::atomic::{AtomicUsize, Ordering};
/// use hectare_core::{FreeError, Heap, NoLock};
/// # use core::ptr::NonNull;
/// # let mut memory = [0_u64; 512];
/// # let heap: Heap<NoLock, hectare_testkit::stand_in::NaiveHeap> = Heap::empty();
/// # // SAFETY: nothing else uses the array while the heap does.
/// # unsafe { heap.init_ptr(NonNull::from(&mut memory).cast(), 4096) }?;
///
/// static SUSPECT: AtomicUsize = AtomicUsize::new(0);
/// heap.set_bad_free_hook(|bad| {
///     // Runs under the heap's lock: no allocation from it, and no panic. To be logged later:
///     SUSPECT.store(bad.block.addr().get(), Ordering::Relaxed);
/// })?;
///
/// let layout = Layout::new::<u64>();
/// let block = heap.allocate_block(layout)?;
/// // SAFETY: live, of this layout, and not used any more.
/// unsafe { heap.free_block(block, layout) }?;
/// // SAFETY: none: a mistake. Through `GlobalAlloc`, which returns nothing, the hook is the only one who learns of it.
/// assert_eq!(unsafe { heap.free_block(block, layout) }, Err(FreeError::NotAllocated));
/// assert_eq!((heap.bad_frees(), SUSPECT.load(Ordering::Relaxed)), (1, block.addr().get()));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BadFree {
    /// The pointer that was to be freed.
    pub block: NonNull<u8>,
    /// The layout that came with it.
    pub layout: Layout,
    /// Why it was refused.
    pub error: FreeError,
}

/// What a heap does about bad frees: called under the heap's lock, so it must not allocate from the same heap. A panic in
/// it aborts the program when the free came through `GlobalAlloc`.
pub type BadFreeHook = fn(BadFree);

/// A byte allocator behind a lock, usable as `#[global_allocator]`, through `Allocator` and by hand.
///
/// * It can be a `static` and works before it has memory: every allocation is refused until then.
/// * Refusals are null pointers (`GlobalAlloc`) or typed errors ([`allocate_block`](Self::allocate_block) and its
///   siblings); it never panics.
/// * A bad free that the engine detects changes nothing, is counted, and goes to the hook.
/// * Safe code reads the engine ([`with`](Self::with)) but cannot exchange it while blocks are live: changing it by
///   hand ([`with_mut`](Self::with_mut)) is `unsafe`.
/// * It is `Sync` if its lock is, and not `Clone`: a block belongs to one heap.
///
/// The engine below refuses everything; a real one comes from `hectare-fit` or `hectare-slab`.
///
/// ```
/// use core::alloc::Layout;
/// use core::ptr::NonNull;
/// use hectare_core::{AllocError, ByteAllocator, FreeError, Heap, NoLock};
///
/// /// Always full.
/// struct Full;
/// // SAFETY: it returns no block.
/// unsafe impl ByteAllocator for Full {
///     fn allocate(&mut self, _: Layout) -> Result<NonNull<u8>, AllocError> {
///         Err(AllocError::OutOfMemory)
///     }
///     unsafe fn deallocate(&mut self, _: NonNull<u8>, _: Layout) -> Result<(), FreeError> {
///         Err(FreeError::Foreign)
///     }
/// }
///
/// let heap: Heap<NoLock, Full> = Heap::new(Full);
/// assert_eq!(heap.allocate_block(Layout::new::<u64>()), Err(AllocError::OutOfMemory));
/// ```
pub struct Heap<L, A> {
    lock: L,
    state: UnsafeCell<State<A>>,
}

struct State<A> {
    engine: A,
    bad_frees: u64,
    hook: BadFreeHook,
}

fn ignore(_: BadFree) {}

// SAFETY: the state is reached only inside `lock.with`, one closure at a time (RawLock); `A: Send` lets the engine be
// used from whichever thread holds the lock.
unsafe impl<L: RawLock + Sync, A: Send> Sync for Heap<L, A> {}

impl<L: RawLock, A: RegionHeap> Heap<L, A> {
    /// A heap without memory, for a `static`; feed it with [`init_static`](Self::init_static) or its siblings.
    #[cfg(not(hectare_loom))]
    #[must_use]
    pub const fn empty() -> Self {
        Self::new(A::EMPTY)
    }

    /// Gives the heap the `size` bytes from address `start`, as `embedded-alloc` does. May be called again with
    /// another region.
    ///
    /// The address comes from a linker script or a firmware table: its provenance is taken to be exposed. Where a
    /// pointer exists, [`init_ptr`](Self::init_ptr) is cleaner.
    ///
    /// # Safety
    /// As [`RegionHeap::add_region`], for the bytes `[start, start + size)`.
    ///
    /// # Errors
    /// Why the region was not taken; then it is untouched.
    pub unsafe fn init(&self, start: usize, size: usize) -> Result<(), RegionError> {
        let Some(start) = NonNull::new(ptr::with_exposed_provenance_mut(start)) else {
            return Err(RegionError::BadRange);
        };
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.init_ptr(start, size) }
    }

    /// Gives the heap the `size` bytes at `start`.
    ///
    /// # Safety
    /// As [`RegionHeap::add_region`].
    ///
    /// # Errors
    /// Why the region was not taken; then it is untouched.
    pub unsafe fn init_ptr(&self, start: NonNull<u8>, size: usize) -> Result<(), RegionError> {
        let region = NonNull::slice_from_raw_parts(start, size);
        // SAFETY: the caller's promise is the one asked for.
        self.with_state(|state| unsafe { state.engine.add_region(region) })?
    }

    /// Gives the heap a static buffer: the safe way.
    ///
    /// # Errors
    /// Why the region was not taken; then it is untouched.
    pub fn init_static(&self, region: &'static mut [MaybeUninit<u8>]) -> Result<(), RegionError> {
        let size = region.len();
        let Some(start) = NonNull::new(region.as_mut_ptr().cast::<u8>()) else {
            return Err(RegionError::BadRange);
        };
        // SAFETY: an exclusive reference for 'static is valid, used by nobody else, and stays so.
        unsafe { self.init_ptr(start, size) }
    }
}

impl<L: RawLock, A> Heap<L, A> {
    /// A heap around this engine.
    #[cfg(not(hectare_loom))]
    #[must_use]
    pub const fn new(engine: A) -> Self {
        Self::with_lock(L::UNLOCKED, engine)
    }

    crate::const_unless_loom! {
        /// A heap around this engine, behind this lock.
        #[must_use]
        pub fn with_lock(lock: L, engine: A) -> Self {
            Self { lock, state: UnsafeCell::new(State { engine, bad_frees: 0, hook: ignore }) }
        }
    }

    /// Runs `f` with the engine, under the lock: for its figures, walks and checks.
    ///
    /// `f` must not use this heap, directly or by allocating from it: with a lock that can tell, that is refused; with
    /// a spin lock it deadlocks.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack and can tell.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&A) -> R) -> Result<R, Reentered> {
        self.with_state(|state| f(&state.engine))
    }

    /// Runs `f` with the engine, under the lock, to change it: to extend or remove regions, flush caches, reset
    /// figures. As with [`with`](Self::with), `f` must not use this heap.
    ///
    /// # Safety
    /// When `f` ends, also by a panic, the engine is still the allocator of every live block of this heap: `f` does
    /// not overwrite it or swap it for another while blocks are live.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack and can tell.
    #[inline]
    pub unsafe fn with_mut<R>(&self, f: impl FnOnce(&mut A) -> R) -> Result<R, Reentered> {
        self.with_state(|state| f(&mut state.engine))
    }

    /// Sets what happens on a bad free, besides being counted. By default: nothing.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn set_bad_free_hook(&self, hook: BadFreeHook) -> Result<(), Reentered> {
        self.with_state(|state| state.hook = hook)
    }

    /// How many frees were refused so far; 0 if the lock is held further up this call stack.
    pub fn bad_frees(&self) -> u64 {
        self.with_state(|state| state.bad_frees).unwrap_or(0)
    }

    #[inline]
    fn with_state<R>(&self, f: impl FnOnce(&mut State<A>) -> R) -> Result<R, Reentered> {
        self.lock.with(|| {
            self.state.with_mut(|state| {
                // SAFETY: the lock lets one closure in at a time (RawLock), so this is the only reference.
                f(unsafe { &mut *state })
            })
        })
    }
}

impl<L: RawLock, A: Figures> Heap<L, A> {
    /// Bytes handed out, as granted; 0 if the lock is held further up this call stack.
    pub fn used(&self) -> usize {
        self.with(|engine| to_usize(engine.usage().allocated)).unwrap_or(0)
    }

    /// Bytes free in total; 0 if the lock is held further up this call stack.
    pub fn free(&self) -> usize {
        self.with(|engine| to_usize(engine.usage().free)).unwrap_or(0)
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl<L: RawLock, A: ByteAllocator> Heap<L, A> {
    /// Takes a block, as [`ByteAllocator::allocate`]: what `GlobalAlloc` does, with a typed error.
    ///
    /// # Errors
    /// Why there is no such block, or [`AllocError::Reentered`]. Nothing is changed.
    #[inline]
    pub fn allocate_block(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.with_state(|state| state.engine.allocate(layout))?
    }

    /// Takes a block of zeros, as [`ByteAllocator::allocate_zeroed`].
    ///
    /// # Errors
    /// As [`allocate_block`](Self::allocate_block).
    #[inline]
    pub fn allocate_block_zeroed(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.with_state(|state| state.engine.allocate_zeroed(layout))?
    }

    /// Gives a block back. What the engine refuses is counted and goes to the hook.
    ///
    /// # Safety
    /// As [`ByteAllocator::deallocate`].
    ///
    /// # Errors
    /// What the engine can tell about a bad free, or [`FreeError::Reentered`], which is neither counted nor reported:
    /// whoever holds the lock further up owns the counter. Nothing is changed; the block stays allocated.
    #[inline]
    pub unsafe fn free_block(&self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        self.with_state(|state| {
            // SAFETY: the caller's promise is the one asked for.
            let freed = unsafe { state.engine.deallocate(block, layout) };
            if let Err(error) = freed {
                state.report(BadFree { block, layout, error });
            }
            freed
        })?
    }

    /// Makes a block larger or smaller, moving it if it must, as [`ByteAllocator::reallocate`].
    ///
    /// # Safety
    /// As [`ByteAllocator::reallocate`].
    ///
    /// # Errors
    /// Why there is no such block, or [`AllocError::Reentered`]; the old block is as it was.
    #[inline]
    pub unsafe fn reallocate_block(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        // SAFETY: the caller's promises are those asked for.
        self.with_state(|state| unsafe { state.engine.reallocate(block, layout, new_size) })?
    }
}

impl<A> State<A> {
    #[cold]
    fn report(&mut self, bad: BadFree) {
        self.bad_frees = self.bad_frees.saturating_add(1);
        (self.hook)(bad);
    }
}

/// Runs `f`; a panic that would leave it aborts the program instead, as `GlobalAlloc` demands: the language ends every
/// unwinding at the border of an `extern "C"` function. Costs nothing where nothing panics.
#[inline(always)]
pub(crate) extern "C" fn never_unwind<R>(f: impl FnOnce() -> R) -> R {
    f()
}

fn or_null(block: Result<NonNull<u8>, AllocError>) -> *mut u8 {
    block.map_or(ptr::null_mut(), NonNull::as_ptr)
}

// SAFETY: (1) blocks are the engine's, which keeps `ByteAllocator`'s promises; (2) the lock keeps callers apart, and
// no safe code exchanges the engine; (3) `never_unwind` holds back panics of the lock, the engine and the hook.
unsafe impl<L: RawLock, A: ByteAllocator> GlobalAlloc for Heap<L, A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        never_unwind(|| or_null(self.allocate_block(layout)))
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        // SAFETY: `GlobalAlloc`'s caller promises a live block of this layout. The hook knows about a refusal.
        let _ = never_unwind(|| unsafe { self.free_block(block, layout) });
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        never_unwind(|| or_null(self.allocate_block_zeroed(layout)))
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(block) = NonNull::new(block) else { return ptr::null_mut() };
        // SAFETY: `GlobalAlloc`'s caller promises a live block of this layout and a size that does not overflow.
        never_unwind(|| or_null(unsafe { self.reallocate_block(block, layout, new_size) }))
    }
}

impl<L, A> fmt::Debug for Heap<L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").finish_non_exhaustive()
    }
}
