//! Per-CPU caches over any shared engine: most requests for chosen orders take no lock and no atomic operation.
//!
//! ```text
//!   CPU 0        CPU 1        CPU 2         each: for each chosen order a tray of blocks
//!   ┌────────┐   ┌────────┐   ┌────────┐
//!   │ order 0│   │ order 0│   │ order 0│       empty: takes a batch, at least one block
//!   │ order 9│   │ order 9│   │ order 9│       too full: gives the blocks of one group back
//!   └───┬────┘   └───┬────┘   └───┬────┘
//!       └────────────┼────────────┘             nothing left: all of them are emptied, then one more attempt
//!             shared engine
//! ```
#![expect(unsafe_code, reason = "implements an unsafe trait over per-CPU cells")]

use core::fmt;

use hectare_core::sync::atomic::Ordering;
use hectare_core::{
    AllocError, CpuPin, FrameRequest, FrameRun, FreeError, Order, PageSize, SharedFrameSource,
};

use crate::group::GroupSource;

mod allocate;
mod cache;
mod free;
mod keep;
mod per_cpu;
mod tray;

pub use keep::Keep;
use per_cpu::PerCpu;

/// A shared source with a cache for each CPU.
///
/// Blocks of the chosen orders are taken from and given to the cache of the CPU that runs; all else goes to the source.
/// A caller without a slot (an interrupt inside an allocation, a CPU too many) goes to the source too: it is safe to
/// re-enter, as far as the source's lock is.
///
/// * A request for a chosen order is refused only if no such block is free in the source, after the caller's cache and
///   those of all CPUs that [can be drained](CpuPin::request_drain) were emptied into it. A caller without a slot drains
///   nobody, because it may run inside another call.
/// * A block freed twice is refused while the same CPU keeps it, and else when it goes back to the source, which is
///   counted ([`refused`](Self::refused)).
/// * Frames that the source does not manage are refused at once.
///
/// Blocks in the caches are in use as far as the source's figures tell; [`cached_frames`](Self::cached_frames) says how
/// many they are. Dropping it gives nothing back: call [`drain`](Self::drain) before. Each CPU takes 1.6 KiB for each chosen
/// order.
///
/// ```
/// # #![allow(unsafe_code)]
/// use hectare_buddy::{Banks, Cached, Engine, Frames, Keep, Rows64, words_for};
/// use hectare_core::{Frame, FrameRequest, FrameRun, Locked, Order, SharedFrameSource, SingleCpu, SpinLock};
///
/// # let span = FrameRun::new(Frame::new(0), 1 << 12).unwrap();
/// # let (mut table, mut words) = ([None; 1], vec![0; words_for::<Rows64>(span).unwrap()]);
/// # let mut banks = Banks::new(&mut table);
/// # banks.add(span).unwrap();
/// # let engine = Engine::<Rows64>::new(banks, &mut words).unwrap();
/// // SAFETY: nobody writes to these frames: they are only numbers here.
/// let source = Locked::<SpinLock, _>::new(unsafe { Frames::<Rows64>::new(engine) });
/// let frames: Cached<_, _, 1> = Cached::new(source, SingleCpu::new(), Keep::FRAMES_AND_HUGE);
/// let one = frames.allocate_frames(FrameRequest::order(Order::ZERO))?;
/// // SAFETY: the frame is ours.
/// unsafe { frames.free_frames(one) }.unwrap();
/// // SAFETY: it was ours, and is not taken a second time.
/// assert!(unsafe { frames.free_frames(one) }.is_err());
/// # Ok::<(), hectare_core::AllocError>(())
/// ```
///
/// # Invariants
/// * a cache is reached only under its slot
/// * a block in a cache is allocated in the source, and in no other cache
pub struct Cached<S, C, const SLOTS: usize, const N: usize = 2> {
    source: S,
    cpu: C,
    keep: [Keep; N],
    slots: [PerCpu<N>; SLOTS],
}

impl<S, C, const SLOTS: usize, const N: usize> Cached<S, C, SLOTS, N> {
    /// Empty caches over `source`, for the CPUs that `cpu` tells apart; those from slot `SLOTS` on have none. `keep` says
    /// which orders are kept.
    #[cfg(not(hectare_loom))]
    #[must_use]
    pub const fn new(source: S, cpu: C, keep: [Keep; N]) -> Self {
        Self { source, cpu, keep, slots: [const { PerCpu::new() }; SLOTS] }
    }

    /// Empty caches over `source`.
    #[cfg(hectare_loom)]
    pub fn new(source: S, cpu: C, keep: [Keep; N]) -> Self {
        Self { source, cpu, keep, slots: core::array::from_fn(|_| PerCpu::new()) }
    }

    /// The source, to read its figures. What is taken and given there bypasses the caches.
    #[must_use]
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Who tells the CPUs apart.
    #[must_use]
    pub const fn cpu(&self) -> &C {
        &self.cpu
    }

    /// How many frames the caches kept when each last took from the source or gave back to it. 0 after
    /// [`drain`](Self::drain) has reached all. O(slots).
    #[must_use]
    pub fn cached_frames(&self) -> u64 {
        self.slots.iter().map(|slot| slot.kept.load(Ordering::Relaxed) as u64).sum()
    }

    /// How many blocks the source refused when a cache gave them back: they were freed twice. O(slots).
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.slots.iter().map(|slot| slot.refused.load(Ordering::Relaxed) as u64).sum()
    }
}

// SAFETY: (1) blocks come from the source, whose promises hold for them, and the bank of each that a cache takes back is
// the source's; (2) a block in a cache is allocated in the source, and leaves the cache once, because the cache is reached
// by one closure at a time (CpuPin) and refuses a block that it keeps; (3) giving back is unsafe.
unsafe impl<S: GroupSource + Sync, C: CpuPin, const SLOTS: usize, const N: usize> SharedFrameSource
    for Cached<S, C, SLOTS, N>
{
    const FRAME_SIZE: PageSize = S::FRAME_SIZE;
    const TAKES_PARTS: bool = S::TAKES_PARTS;

    #[inline]
    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let count = request.count.get();
        if request.align.frames() <= count && count.is_power_of_two() {
            let first = self.allocate_order(Order::holding(count).unwrap_or_default())?;
            return FrameRun::new(first, count).ok_or(AllocError::TooLarge);
        }
        self.allocate_uncached(request)
    }

    #[inline]
    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        match Order::holding(run.count()) {
            // SAFETY: the caller's promise is the one asked for.
            Some(order) if order.frames() == run.count() => unsafe { self.free_order(run.first(), order) },
            // SAFETY: the caller's promise is the one asked for.
            _ => unsafe { self.source.free_frames(run) },
        }
    }
}

impl<S, C, const SLOTS: usize, const N: usize> fmt::Debug for Cached<S, C, SLOTS, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("keep", &self.keep).finish_non_exhaustive()
    }
}
