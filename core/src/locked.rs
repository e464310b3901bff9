//! One wrapper for every number engine: a lock around it, `&self` in front.
#![expect(unsafe_code, reason = "hands the engine out under the lock")]

use core::fmt;

use crate::sync::UnsafeCell;
use crate::{
    AllocError, FrameRequest, FrameRun, FrameSource, FreeError, PageSize, RawLock, Reentered,
    SharedFrameSource,
};

/// An engine that deals in numbers (frames, ranges) behind a lock: shared by `&self`.
///
/// It makes a [`SharedFrameSource`] of any [`FrameSource`]. Engines that scale with many CPUs are separate types.
///
/// ```
/// use core::num::NonZero;
/// use hectare_core::{FrameRequest, FrameSource, Locked, Order, SharedFrameSource, SpinLock};
/// # use hectare_testkit::stand_in::PlainFrames;
/// # let engine = PlainFrames::<12>::new(0x100, 64);
///
/// /// Written for one owner, as slabs and page tables are. A reference to a shared source is a source, too.
/// fn take_eight(mut source: impl FrameSource) -> bool {
///     source.allocate_frames(FrameRequest::order(Order::holding(8).expect("at least 1"))).is_ok()
/// }
///
/// let frames: Locked<SpinLock, _> = Locked::new(engine); // 64 frames
/// std::thread::scope(|threads| {
///     for _ in 0..8 {
///         threads.spawn(|| assert!(take_eight(&frames)));
///     }
/// });
/// assert!(!take_eight(&frames));
/// assert_eq!(frames.with(|engine| engine.free())?, 0); // the engine itself, alone, while the closure runs
/// # Ok::<(), hectare_core::Reentered>(())
/// ```
pub struct Locked<L, E> {
    lock: L,
    engine: UnsafeCell<E>,
}

// SAFETY: the engine is reached only inside `lock.with`, one closure at a time (RawLock); `E: Send` lets it be used
// from whichever thread holds the lock.
unsafe impl<L: RawLock + Sync, E: Send> Sync for Locked<L, E> {}

impl<L: RawLock, E> Locked<L, E> {
    /// This engine, locked.
    #[cfg(not(hectare_loom))]
    #[must_use]
    pub const fn new(engine: E) -> Self {
        Self::with_lock(L::UNLOCKED, engine)
    }

    crate::const_unless_loom! {
        /// This engine behind this lock.
        #[must_use]
        pub fn with_lock(lock: L, engine: E) -> Self {
            Self { lock, engine: UnsafeCell::new(engine) }
        }
    }

    /// Runs `f` with the engine, alone. `f` must not use this lock again.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack and can tell.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut E) -> R) -> Result<R, Reentered> {
        self.lock.with(|| {
            self.engine.with_mut(|engine| {
                // SAFETY: the lock lets one closure in at a time (RawLock), so this is the only reference.
                f(unsafe { &mut *engine })
            })
        })
    }
}

// SAFETY: every run is the engine's, which keeps `FrameSource`'s promises; the lock makes the calls one at a time.
unsafe impl<L: RawLock, E: FrameSource> SharedFrameSource for Locked<L, E> {
    const FRAME_SIZE: PageSize = E::FRAME_SIZE;
    const TAKES_PARTS: bool = E::TAKES_PARTS;

    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        self.with(|engine| engine.allocate_frames(request))?
    }

    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        self.with(|engine| unsafe { engine.free_frames(run) })?
    }
}

impl<L, E> fmt::Debug for Locked<L, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").finish_non_exhaustive()
    }
}
