//! The heap of size classes for many CPUs: a front for each, the slabs behind a lock.
//!
//! ```text
//!  CpuPin ── slot ──► front of this CPU: blocks freed last, by class      no lock, no atomic
//!     │                  │ half of a class's slots at a time
//!     └── none ──► lock: slabs, large blocks
//!                    │ held further up this stack
//!                    └──► mailbox: frees only
//! ```
#![expect(unsafe_code, reason = "hands out blocks, and reaches the slots that the pin gives")]

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{self, NonNull};

use hectare_core::sync::UnsafeCell;
use hectare_core::{
    AllocError, CpuPin, FrameSource, FreeError, PhysWindow, RawLock, Reentered, Slot, Violation,
};

use crate::back::Back;
use crate::exchange;
use crate::front::Front;
use crate::info::CacheInfo;
use crate::mailbox::Mailbox;
use crate::size_class::{CLASSES, LARGEST, class_of_layout};

/// A front on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Own(Front);

/// As [`SlabHeap`](crate::SlabHeap), for many CPUs through `&self`, and itself a `GlobalAlloc`.
///
/// * On a slot of its [`CpuPin`] below `CPUS`, most operations take no lock and no atomic operation. Without a slot the
///   lock is taken each time.
/// * A block may be freed on any CPU; it goes to that CPU's front. What piles up there beyond the slots of its class goes
///   to the slabs, where every CPU finds it.
/// * If the lock is held further up the call stack and can tell, a free waits in a mailbox and an allocation is refused.
/// * A bad free is found when the block comes to its slab: it is then dropped and [counted](Self::rejected).
/// * The front of a CPU takes 12 KiB of this value.
/// * Dropping the heap gives its empty slabs back; those with live blocks, and large blocks, are leaked.
///
/// As `#[global_allocator]` it needs a pin, a source and a window that can be made in a `static`. By hand:
///
/// ```
/// use core::alloc::Layout;
/// use hectare_core::SpinLock;
/// use hectare_slab::CpuHeap;
/// # use hectare_testkit::stand_in::{PlainFrames, ThreadSlots};
/// # let frames: PlainFrames<12> = PlainFrames::new(0x100, 64);
/// # let window = frames.window();
/// # let pin = ThreadSlots::new(2);
///
/// // `pin`: which CPU this is; here two threads are the CPUs.
/// let heap: Box<CpuHeap<_, SpinLock, _, _, 2>> = Box::new(CpuHeap::new(pin, SpinLock::new(), frames, window));
/// let layout = Layout::new::<[u64; 20]>();
/// let block = heap.allocate(layout)?; // 160 bytes are a class, so nothing is rounded
/// # struct Sent(core::ptr::NonNull<u8>);
/// # // SAFETY: the pointer of a block, which one thread uses.
/// # unsafe impl Send for Sent {}
/// # impl Sent { fn get(self) -> core::ptr::NonNull<u8> { self.0 } }
/// # let block = Sent(block);
/// std::thread::scope(|cpus| {
///     // Freed on another CPU it stays there, for the next block of its class.
///     // SAFETY: taken above with this layout, and not used any more.
///     cpus.spawn(|| assert_eq!(unsafe { heap.free(block.get(), layout) }, Ok(())));
/// });
/// assert!(heap.shrink_all()? > 0); // all fronts to the slabs, all empty slabs to the source
/// assert_eq!(heap.rejected()?, 0);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct CpuHeap<P, L, S: FrameSource, W: PhysWindow, const CPUS: usize> {
    pin: P,
    fronts: [UnsafeCell<Own>; CPUS],
    lock: L,
    back: UnsafeCell<Back<S, W>>,
    mailbox: Mailbox,
}

// SAFETY: (1) a front is reached only under the pin, by one closure at a time (CpuPin); (2) the back only under the lock
// (RawLock), from whichever thread: source and window are `Send`.
unsafe impl<
    P: CpuPin + Sync,
    L: RawLock + Sync,
    S: FrameSource + Send,
    W: PhysWindow + Send,
    const CPUS: usize,
> Sync for CpuHeap<P, L, S, W, CPUS>
{
}

// SAFETY: as above, moved as a whole.
unsafe impl<P: Send, L: Send, S: FrameSource + Send, W: PhysWindow + Send, const CPUS: usize> Send
    for CpuHeap<P, L, S, W, CPUS>
{
}

impl<P: CpuPin, L: RawLock, S: FrameSource, W: PhysWindow, const CPUS: usize> CpuHeap<P, L, S, W, CPUS> {
    /// A heap without slabs.
    #[cfg(not(hectare_loom))]
    #[must_use]
    pub const fn new(pin: P, lock: L, source: S, window: W) -> Self {
        let fronts = [const { UnsafeCell::new(Own(Front::EMPTY)) }; CPUS];
        Self { pin, fronts, lock, back: UnsafeCell::new(Back::new(source, window)), mailbox: Mailbox::new() }
    }

    /// As above, for loom.
    #[cfg(hectare_loom)]
    #[must_use]
    pub fn new(pin: P, lock: L, source: S, window: W) -> Self {
        let fronts = core::array::from_fn(|_| UnsafeCell::new(Own(Front::EMPTY)));
        Self { pin, fronts, lock, back: UnsafeCell::new(Back::new(source, window)), mailbox: Mailbox::new() }
    }

    /// Takes a block. Size 0 is served as 1 byte. Contents are unspecified.
    ///
    /// # Errors
    /// As [`SlabHeap`](crate::SlabHeap), after this CPU's front and the empty slabs were given up; or
    /// [`AllocError::Reentered`].
    #[inline]
    pub fn allocate(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let Some(class) = class_of_layout(layout) else { return self.allocate_large(layout) };
        let result = self.pin.with(|slot| match self.front(slot) {
            Some(cell) => cell.with_mut(|front| {
                // SAFETY: the slot is exclusively ours until the closure returns (CpuPin).
                let front = unsafe { &mut (*front).0 };
                match front.pop(class) {
                    Some(block) => Ok(block),
                    None => self.refill(front, class),
                }
            }),
            None => self.allocate_shared(class),
        });
        match result {
            Err(AllocError::OutOfMemory | AllocError::Fragmented) => self.allocate_under_pressure(class),
            result => result,
        }
    }

    /// As [`allocate`](Self::allocate), with all bytes zero.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let block = self.allocate(layout)?;
        // SAFETY: the block is valid for writes of that many bytes.
        unsafe { block.write_bytes(0, layout.size()) };
        Ok(block)
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// The block is live, of this heap, allocated (or last resized) with `layout`, and nothing uses it any more.
    ///
    /// # Errors
    /// What the source says about a large block. [`FreeError::Reentered`] if the lock is held further up this call stack
    /// and the mailbox is full, or the block is large; it then stays allocated.
    #[inline]
    pub unsafe fn free(&self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let Some(class) = class_of_layout(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { self.free_large(block, layout) };
        };
        self.pin.with(|slot| match self.front(slot) {
            Some(cell) => cell.with_mut(|front| {
                // SAFETY: the slot is exclusively ours until the closure returns (CpuPin).
                let front = unsafe { &mut (*front).0 };
                if front.push(class, block) { Ok(()) } else { self.overflow(front, class, block) }
            }),
            None => match self.with(|back| exchange::give(back, class, block)) {
                Ok(()) => Ok(()),
                Err(reentered) => self.leave(class, block, reentered),
            },
        })
    }

    /// Makes a block larger or smaller, moving it if it must: the first `min(old, new)` bytes are kept.
    ///
    /// # Safety
    /// As [`free`](Self::free); `new_size`, rounded up to the alignment, does not exceed `isize::MAX`. After `Ok` only the
    /// returned block is live.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate); the old block is as it was.
    pub unsafe fn reallocate(
        &self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, AllocError> {
        if exchange::resize::<S>(layout, new_size).is_ok() {
            return Ok(block);
        }
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return Err(AllocError::TooLarge);
        };
        let new = self.allocate(new_layout)?;
        // SAFETY: (1) both blocks are live and at least that long; (2) they do not overlap.
        unsafe { new.copy_from_nonoverlapping(block, layout.size().min(new_size)) };
        // SAFETY: the caller's promise; the copy is done. If it is not taken back it is lost; the new one is good.
        let _ = unsafe { self.free(block, layout) };
        Ok(new)
    }

    /// Gives back what the calling CPU's front holds: when it goes offline.
    ///
    /// # Errors
    /// [`Reentered`] if there is no slot, or the lock is held further up this call stack.
    pub fn flush(&self) -> Result<(), Reentered> {
        self.pin.with(|slot| self.front(slot).map_or(Err(Reentered), |cell| self.flush_cell(cell)))
    }

    /// Gives back what this CPU's front holds, and every empty slab to the source; how many frames.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn shrink(&self) -> Result<u64, Reentered> {
        let _ = self.flush();
        self.with(Back::shrink)
    }

    /// As [`shrink`](Self::shrink), with the fronts of every CPU that the pin can reach: under memory pressure. Must not be
    /// called inside the pin.
    ///
    /// # Errors
    /// As [`shrink`](Self::shrink).
    pub fn shrink_all(&self) -> Result<u64, Reentered>
    where
        Self: Sync,
    {
        self.pin.request_drain(&|slot| {
            if let Some(cell) = self.front(Some(slot)) {
                let _ = self.flush_cell(cell);
            }
        });
        self.shrink()
    }

    /// Blocks that were freed although they were not this heap's or free already, as far as their slabs could tell.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn rejected(&self) -> Result<u64, Reentered> {
        self.with(|back| back.rejected)
    }

    /// The figures of a class, below [`CLASSES`]: blocks in fronts are active. `None` if it has no slabs.
    ///
    /// # Errors
    /// [`Reentered`] if the lock is held further up this call stack.
    pub fn info(&self, class: usize) -> Result<Option<CacheInfo>, Reentered> {
        self.with(|back| back.info(class, crate::heap::name(class)))
    }

    /// Checks the slabs.
    ///
    /// # Errors
    /// The first violation found; if the lock is held further up this call stack, that.
    pub fn check_slabs(&self) -> Result<(), Violation> {
        let busy = Violation { rule: "the lock is held further up this call stack", at: 0 };
        self.with(|back| back.check()).unwrap_or(Err(busy))
    }

    #[inline(always)]
    fn front(&self, slot: Option<Slot>) -> Option<&UnsafeCell<Own>> {
        self.fronts.get(usize::from(slot?.number()))
    }

    /// Runs `f` with the back, under the lock, after what waits in the mailbox was taken in.
    fn with<R>(&self, f: impl FnOnce(&mut Back<S, W>) -> R) -> Result<R, Reentered> {
        self.lock.with(|| {
            self.back.with_mut(|back| {
                // SAFETY: the lock lets one closure in at a time (RawLock), so this is the only reference.
                let back = unsafe { &mut *back };
                self.mailbox.collect(|block, class| exchange::give(back, class, block));
                f(back)
            })
        })
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, front: &mut Front, class: usize) -> Result<NonNull<u8>, AllocError> {
        self.with(|back| exchange::refill(front, back, class))?
    }

    #[cold]
    #[inline(never)]
    fn overflow(&self, front: &mut Front, class: usize, block: NonNull<u8>) -> Result<(), FreeError> {
        let batch = front.batch(class);
        match self.with(|back| exchange::drain(front, back, class, batch)) {
            Ok(()) => {
                front.push(class, block);
                Ok(())
            }
            Err(reentered) => self.leave(class, block, reentered),
        }
    }

    #[cold]
    fn leave(&self, class: usize, block: NonNull<u8>, reentered: Reentered) -> Result<(), FreeError> {
        if self.mailbox.push(block, class) { Ok(()) } else { Err(reentered.into()) }
    }

    #[cold]
    fn allocate_shared(&self, class: usize) -> Result<NonNull<u8>, AllocError> {
        self.with(|back| back.take(class))?
    }

    /// The last attempt: this CPU's front back to the slabs, the empty ones back to the source, then from there.
    #[cold]
    fn allocate_under_pressure(&self, class: usize) -> Result<NonNull<u8>, AllocError> {
        let _ = self.flush();
        let _ = self.with(Back::shrink);
        self.allocate_shared(class)
    }

    #[cold]
    #[inline(never)]
    fn allocate_large(&self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        let count = exchange::frames::<S>(layout)?;
        match self.with(|back| back.take_frames(count, layout.align()))? {
            Err(AllocError::OutOfMemory | AllocError::Fragmented) => {
                let _ = self.flush();
                self.with(|back| {
                    back.shrink();
                    back.take_frames(count, layout.align())
                })?
            }
            result => result,
        }
    }

    /// # Safety
    /// As [`free`](Self::free), for a block that no class serves.
    #[cold]
    #[inline(never)]
    unsafe fn free_large(&self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let count = exchange::frames::<S>(layout).map_err(|_| FreeError::WrongSize)?;
        // SAFETY: the caller's promise: a run of so many frames that was taken here.
        self.with(|back| unsafe { back.give_frames(block.addr().get(), count) })?
    }

    /// Flushes the front of a slot that is exclusively the caller's (all callers are under the pin).
    fn flush_cell(&self, cell: &UnsafeCell<Own>) -> Result<(), Reentered> {
        cell.with_mut(|front| {
            // SAFETY: the slot is exclusively ours: the callers are closures of the pin.
            let front = unsafe { &mut (*front).0 };
            self.with(|back| exchange::flush(front, back))
        })
    }
}

/// Runs `f`; a panic that would leave it aborts the program instead, as `GlobalAlloc` demands.
#[inline(always)]
extern "C" fn never_unwind<R>(f: impl FnOnce() -> R) -> R {
    f()
}

fn or_null(block: Result<NonNull<u8>, AllocError>) -> *mut u8 {
    block.map_or(ptr::null_mut(), NonNull::as_ptr)
}

// SAFETY: (1) a block is an object of a slab or a run of frames, handed out once: it leaves its slab or front first; its
// class is at least as large and aligned (size_class); (2) `never_unwind` holds back panics of pin, lock and source.
unsafe impl<P: CpuPin, L: RawLock, S: FrameSource, W: PhysWindow, const CPUS: usize> GlobalAlloc
    for CpuHeap<P, L, S, W, CPUS>
{
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        never_unwind(|| or_null(self.allocate(layout)))
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        // SAFETY: the caller's promise: a live block of this layout.
        let _ = never_unwind(|| unsafe { self.free(block, layout) });
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        never_unwind(|| or_null(self.allocate_zeroed(layout)))
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(block) = NonNull::new(block) else { return ptr::null_mut() };
        // SAFETY: the caller's promise: a live block of this layout and a size that does not overflow.
        never_unwind(|| or_null(unsafe { self.reallocate(block, layout, new_size) }))
    }
}

impl<P, L, S: FrameSource, W: PhysWindow, const CPUS: usize> Drop for CpuHeap<P, L, S, W, CPUS> {
    /// Gives empty slabs back. Those with live blocks, and large blocks, are leaked.
    fn drop(&mut self) {
        self.back.with_mut(|back| {
            // SAFETY: `&mut self`: nobody else is here.
            let back = unsafe { &mut *back };
            self.mailbox.collect(|block, class| exchange::give(back, class, block));
            for cell in &self.fronts {
                cell.with_mut(|front| {
                    // SAFETY: as above.
                    let front = unsafe { &mut (*front).0 };
                    exchange::flush(front, back);
                });
            }
            back.shrink();
        });
    }
}

impl<P, L, S: FrameSource, W: PhysWindow, const CPUS: usize> fmt::Debug for CpuHeap<P, L, S, W, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuHeap")
            .field("largest", &LARGEST)
            .field("classes", &CLASSES)
            .finish_non_exhaustive()
    }
}
