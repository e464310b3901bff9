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

use hectare_core::sync::UnsafeCell;
use hectare_core::sync::atomic::{AtomicUsize, Ordering};
use hectare_core::{
    AllocError, CpuPin, Frame, FrameRequest, FrameRun, FreeError, Order, PageSize, SharedFrameSource, Slot,
};

use crate::group::GroupSource;
use cache::{Cache, Told};

mod cache;
mod tray;

pub use cache::Keep;
use tray::NOTHING;

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
/// many they are. Dropping it gives nothing back: call [`drain`](Self::drain) before.
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

/// One CPU's cache, apart from the others' cache lines.
#[repr(align(128))]
struct PerCpu<const N: usize> {
    cache: UnsafeCell<Cache<N>>,
    /// How many frames it keeps, and how many blocks the source refused; written under the slot.
    kept: AtomicUsize,
    refused: AtomicUsize,
}

// SAFETY: the cell is reached only through `with_cache`, whose callers hold its slot; the rest is atomic.
unsafe impl<const N: usize> Sync for PerCpu<N> {}

impl<const N: usize> PerCpu<N> {
    hectare_core::const_unless_loom! {
        fn new() -> Self {
            Self {
                cache: UnsafeCell::new(Cache::EMPTY),
                kept: AtomicUsize::new(0),
                refused: AtomicUsize::new(0),
            }
        }
    }

    /// Runs `f` with the cache.
    ///
    /// # Safety
    /// The caller holds this slot until `f` returns, and `f` does not come back here.
    #[inline(always)]
    unsafe fn with_cache<R>(&self, f: impl FnOnce(&mut Cache<N>) -> R) -> R {
        self.cache.with_mut(|cache| {
            // SAFETY: the caller holds the slot, so nobody else reaches the cell (CpuPin), and `f` does not either.
            f(unsafe { &mut *cache })
        })
    }

    /// Publishes what a call told.
    fn publish(&self, told: Told) {
        self.kept.store(told.kept, Ordering::Relaxed);
        if told.refused != 0 {
            self.refused.store(self.refused.load(Ordering::Relaxed) + told.refused, Ordering::Relaxed);
        }
    }
}

/// How an attempt to serve from a cache ended.
enum Attempt {
    Done(Frame),
    /// With a slot held, and without.
    Refused(AllocError),
    NoSlot(AllocError),
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

impl<S: GroupSource + Sync, C: CpuPin, const SLOTS: usize, const N: usize> Cached<S, C, SLOTS, N> {
    /// Takes a block of 2^k frames: as [`allocate_frames`](SharedFrameSource::allocate_frames), for an order.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn allocate_order(&self, order: Order) -> Result<Frame, AllocError> {
        if order == Order::ZERO && self.keeps_frames_first() {
            return self.take_at_hand(0).map_or_else(|| self.allocate_batch(0), Ok);
        }
        self.allocate_more(order)
    }

    /// Gives a block of 2^k frames back: as [`free_frames`](SharedFrameSource::free_frames), for an order.
    ///
    /// # Safety
    /// As there.
    ///
    /// # Errors
    /// As there; [`FreeError::Foreign`] if the block would end beyond the last frame number.
    #[inline]
    pub unsafe fn free_order(&self, first: Frame, order: Order) -> Result<(), FreeError> {
        if order == Order::ZERO && self.keeps_frames_first() && self.keep_frame_at_hand(first) {
            return Ok(());
        }
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.free_more(first, order) }
    }

    /// Empties the caller's cache and those of all CPUs that can be drained. Not to be called inside
    /// [`CpuPin::with`]. O(cached blocks).
    pub fn drain(&self) {
        self.cpu.with(|slot| {
            if let Some(slot) = slot {
                // SAFETY: the slot is ours until this closure returns.
                unsafe { Self::drain_slot(&self.source, &self.slots, &self.keep, slot) };
            }
        });
        let (source, slots, keep) = (&self.source, &self.slots, &self.keep);
        if cfg!(hectare_plant = "cache_unheld") {
            // SAFETY: none; this is the planted fault: caches are emptied whoever uses them.
            (0..).zip(slots).for_each(|(slot, _)| unsafe {
                Self::drain_slot(source, slots, keep, Slot::new(slot));
            });
            return;
        }
        // SAFETY: `request_drain` runs the closure while the slot is exclusively its.
        self.cpu.request_drain(&|slot| unsafe { Self::drain_slot(source, slots, keep, slot) });
    }

    /// Empties one cache into the source.
    ///
    /// # Safety
    /// The caller holds the slot until this returns.
    unsafe fn drain_slot(source: &S, slots: &[PerCpu<N>], keep: &[Keep; N], slot: Slot) {
        let Some(per_cpu) = slots.get(usize::from(slot.number())) else { return };
        // SAFETY: (1) the caller holds the slot; (2) the source does not come back here with a slot that is held.
        let told = unsafe { per_cpu.with_cache(|cache| cache.drain(source, keep)) };
        per_cpu.publish(told);
    }

    /// The cache of a slot, if it has one.
    #[inline(always)]
    fn per_cpu(&self, slot: Option<Slot>) -> Option<&PerCpu<N>> {
        self.slots.get(usize::from(slot?.number()))
    }

    /// Whether the first of the chosen orders is 0: it has a path of its own.
    #[inline(always)]
    fn keeps_frames_first(&self) -> bool {
        self.keep.first().is_some_and(|keep| keep.order == Order::ZERO)
    }

    /// A block of a chosen order that the cache has at hand.
    #[inline(always)]
    fn take_at_hand(&self, kind: usize) -> Option<Frame> {
        let block = self.cpu.with(|slot| match self.per_cpu(slot) {
            // SAFETY: (1) `with` holds the slot until this returns; (2) the closure only touches the cache.
            Some(per_cpu) => unsafe { per_cpu.with_cache(|cache| cache.take(kind)) },
            None => NOTHING,
        });
        if block == NOTHING { None } else { Some(self.keep[kind % N].frame(block)) }
    }

    /// What is no frame, or frames are not the first of the chosen orders.
    #[inline(never)]
    fn allocate_more(&self, order: Order) -> Result<Frame, AllocError> {
        match self.keep.iter().position(|keep| keep.order == order) {
            Some(kind) => self.take_at_hand(kind).map_or_else(|| self.allocate_batch(kind), Ok),
            None => self.allocate_uncached(FrameRequest::order(order)).map(FrameRun::first),
        }
    }

    /// What the cache does not have at hand.
    #[inline(never)]
    fn allocate_batch(&self, kind: usize) -> Result<Frame, AllocError> {
        match self.cpu.with(|slot| self.fetch(slot, kind)) {
            Attempt::Done(frame) => Ok(frame),
            Attempt::Refused(error) => self.drain_and_retry(self.keep[kind % N].request(), error),
            Attempt::NoSlot(error) => Err(error),
        }
    }

    fn fetch(&self, slot: Option<Slot>, kind: usize) -> Attempt {
        let keep = &self.keep[kind % N];
        let Some(per_cpu) = self.per_cpu(slot) else {
            return match self.source.allocate_frames(keep.request()) {
                Ok(run) => Attempt::Done(run.first()),
                Err(error) if slot.is_some() => Attempt::Refused(error),
                Err(error) => Attempt::NoSlot(error),
            };
        };
        // SAFETY: (1) `with` holds the slot until this returns; (2) the source does not come back here with a slot that is
        // held.
        let (taken, told) =
            unsafe { per_cpu.with_cache(|cache| cache.fetch(&self.source, &self.keep, kind)) };
        per_cpu.publish(told);
        match taken {
            Ok(block) => Attempt::Done(keep.frame(block)),
            Err(error) => Attempt::Refused(error),
        }
    }

    #[inline(never)]
    fn allocate_uncached(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        match self.source.allocate_frames(request) {
            Err(error @ (AllocError::OutOfMemory | AllocError::Fragmented)) => {
                if self.cpu.with(|slot| slot.is_some()) {
                    self.drain_and_retry(request, error)
                        .and_then(|first| FrameRun::new(first, request.count.get()).ok_or(error))
                } else {
                    Err(error)
                }
            }
            done => done,
        }
    }

    /// Empties all caches that can be reached, and tries once more. Nobody may hold a slot up the call stack.
    #[cold]
    fn drain_and_retry(&self, request: FrameRequest, error: AllocError) -> Result<Frame, AllocError> {
        if !matches!(error, AllocError::OutOfMemory | AllocError::Fragmented) {
            return Err(error);
        }
        // The planted fault: other CPUs keep what they have.
        if !cfg!(hectare_plant = "cache_no_drain") {
            self.drain();
        }
        // The caller may run on another CPU now: that one's cache is emptied too.
        self.cpu.with(|slot| {
            if let Some(slot) = slot {
                // SAFETY: the slot is ours until this closure returns.
                unsafe { Self::drain_slot(&self.source, &self.slots, &self.keep, slot) };
            }
            self.source.allocate_frames(request).map(FrameRun::first)
        })
    }

    /// Keeps a frame that the cache has a place for at hand; whether it did.
    #[inline(always)]
    fn keep_frame_at_hand(&self, frame: Frame) -> bool {
        self.cpu.with(|slot| match self.per_cpu(slot) {
            // SAFETY: (1) `with` holds the slot until this returns; (2) the closure only touches the cache.
            Some(per_cpu) => unsafe { per_cpu.with_cache(|cache| cache.give_frame(frame)) },
            None => false,
        })
    }

    /// Keeps a block of a chosen order that the cache has a place for at hand; whether it did.
    #[inline(always)]
    fn keep_at_hand(&self, kind: usize, first: Frame) -> bool {
        self.cpu.with(|slot| match self.per_cpu(slot) {
            // SAFETY: (1) `with` holds the slot until this returns; (2) the closure only touches the cache.
            Some(per_cpu) => unsafe {
                per_cpu.with_cache(|cache| cache.give_at_hand(&self.keep, kind, first))
            },
            None => false,
        })
    }

    /// Gives back what is no frame that has a place at hand.
    ///
    /// # Safety
    /// The caller owns the block, obtained from this source, and nothing uses it any more.
    #[inline(never)]
    unsafe fn free_more(&self, first: Frame, order: Order) -> Result<(), FreeError> {
        let kind = self.keep.iter().position(|keep| keep.order == order);
        if kind.is_some_and(|kind| self.keep_at_hand(kind, first)) {
            return Ok(());
        }
        let run = FrameRun::of_order(first, order).ok_or(FreeError::Foreign)?;
        match kind {
            // SAFETY: the caller's promise is the one asked for.
            Some(kind) => unsafe { self.free_chosen(kind, run) },
            // SAFETY: the caller's promise is the one asked for.
            None => unsafe { self.source.free_frames(run) },
        }
    }

    /// Gives a block of a chosen order to the cache, or to the source without a slot.
    ///
    /// # Safety
    /// The caller owns the run, obtained from this source, and nothing uses it any more.
    #[inline(never)]
    unsafe fn free_chosen(&self, kind: usize, run: FrameRun) -> Result<(), FreeError> {
        self.cpu.with(|slot| {
            let Some(per_cpu) = self.per_cpu(slot) else {
                // SAFETY: the caller's promise is the one asked for.
                return unsafe { self.source.free_frames(run) };
            };
            // SAFETY: (1) `with` holds the slot until this returns; (2) the source does not come back here with a slot that
            // is held.
            let (given, told) =
                unsafe { per_cpu.with_cache(|cache| cache.give(&self.source, &self.keep, kind, run)) };
            per_cpu.publish(told);
            given
        })
    }
}

// SAFETY: (1) blocks come from the source, whose promises hold for them, and the bank of each that a cache takes back is
// the source's; (2) a block in a cache is allocated in the source, and leaves the cache once, because the cache is reached
// by one closure at a time (CpuPin) and refuses a block that it keeps; (3) giving back is unsafe.
unsafe impl<S: GroupSource + Sync, C: CpuPin, const SLOTS: usize, const N: usize> SharedFrameSource
    for Cached<S, C, SLOTS, N>
{
    const FRAME_SIZE: PageSize = S::FRAME_SIZE;

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
