//! A page heap that lives in its own region: words and table lie in the region's last frames.
//!
//! ```text
//!   region   │ rest │ frame │ frame │ … │ frame │ bank, words │ rest │
//! ```
#![expect(unsafe_code, reason = "keeps its metadata in the region")]

use core::alloc::Layout;
use core::ptr::NonNull;

use hectare_core::{
    AllocError, ByteAllocator, CheckInvariants, DirectMap, Figures, Fragmentation, Frame, FrameRun,
    FrameSource, FreeError, PhysAddr, Ratio, RegionError, RegionHeap, Usage, Violation,
};

use crate::banks::{Bank, Banks};
use crate::engine::Engine;
use crate::geometry::Rows64;
use crate::layout::words_for;
use crate::pages::Pages;
use crate::source::Frames;

type Inner = Pages<Frames<'static, Rows64>, DirectMap>;

/// Pages of 4 KiB in one region of memory, addressed by pointer: the heap behind [`Heap`].
#[derive(Debug)]
pub struct RegionPages {
    inner: Option<Inner>,
}

/// A page heap behind a lock: a `#[global_allocator]` for large blocks, in one region.
///
/// ```
/// # #[cfg(not(miri))] {
/// use core::alloc::{GlobalAlloc, Layout};
/// use core::mem::MaybeUninit;
///
/// static PAGES: hectare_buddy::Heap = hectare_buddy::Heap::empty();
/// static mut MEMORY: [MaybeUninit<u8>; 64 << 12] = [MaybeUninit::uninit(); 64 << 12];
///
/// // SAFETY: nothing else uses the buffer.
/// PAGES.init_static(unsafe { &mut *(&raw mut MEMORY) })?;
/// let layout = Layout::from_size_align(20_000, 4096).unwrap();
/// // SAFETY: the layout is not of size 0.
/// let block = unsafe { PAGES.alloc(layout) };
/// assert!(!block.is_null() && PAGES.used() == 5 << 12);
/// // SAFETY: the block is live, with its layout.
/// unsafe { PAGES.dealloc(block, layout) };
/// assert_eq!(PAGES.used(), 0);
/// # }
/// # Ok::<(), hectare_core::RegionError>(())
/// ```
#[cfg(target_has_atomic = "8")]
pub type Heap<L = hectare_core::SpinLock> = hectare_core::Heap<L, RegionPages>;

/// A page heap behind a lock. This target has no compare-and-swap, so the lock must be named.
#[cfg(not(target_has_atomic = "8"))]
pub type Heap<L> = hectare_core::Heap<L, RegionPages>;

impl RegionPages {
    const FRAME: usize = 1 << 12;

    fn inner(&mut self) -> Option<&mut Inner> {
        self.inner.as_mut()
    }
}

/// How a region is laid out.
struct Plan {
    /// The frames to hand out, numbered by address.
    frames: FrameRun,
    /// How far the first of them lies in the region, and the table and the words.
    first: usize,
    table: usize,
    words: usize,
    /// How many words.
    count: usize,
}

impl Plan {
    fn of(region: NonNull<[u8]>) -> Option<Self> {
        let start = region.cast::<u8>().addr().get();
        let end = start.checked_add(region.len())?;
        let first = start.checked_next_multiple_of(RegionPages::FRAME)?;
        // Words for all frames are enough for those that are left.
        let all = FrameRun::new(Self::number(first), (end.checked_sub(first)? / RegionPages::FRAME) as u64)?;
        let count = words_for::<Rows64>(all)?;
        let words = end.checked_sub(count.checked_mul(size_of::<u64>())?)? & !(align_of::<u64>() - 1);
        let table = words.checked_sub(size_of::<Bank>())? & !(align_of::<Bank>() - 1);
        let left = table.checked_sub(first)? / RegionPages::FRAME;
        let frames = FrameRun::new(Self::number(first), left as u64)?;
        Some(Self { frames, first: first - start, table: table - start, words: words - start, count })
    }

    fn number(address: usize) -> Frame {
        Frame::new((address / RegionPages::FRAME) as u64)
    }
}

// SAFETY: every promise is that of `Pages`, which is there or not, and stays.
unsafe impl ByteAllocator for RegionPages {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<u8>, AllocError> {
        self.inner().ok_or(AllocError::TooLarge)?.allocate(layout)
    }

    unsafe fn deallocate(&mut self, block: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.inner().ok_or(FreeError::Foreign)?.deallocate(block, layout) }
    }

    unsafe fn resize_in_place(
        &mut self,
        block: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<(), AllocError> {
        let inner = self.inner().ok_or(AllocError::BadBlock(FreeError::Foreign))?;
        // SAFETY: the caller's promise is the one asked for.
        unsafe { inner.resize_in_place(block, layout, new_size) }
    }
}

// SAFETY: it touches only its words and its table, which the plan puts inside the region.
unsafe impl RegionHeap for RegionPages {
    const EMPTY: Self = Self { inner: None };

    /// Takes one region; a second is [`RegionError::TableFull`].
    unsafe fn add_region(&mut self, region: NonNull<[u8]>) -> Result<(), RegionError> {
        if self.inner.is_some() {
            return Err(RegionError::TableFull);
        }
        let plan = Plan::of(region).ok_or(RegionError::TooSmall)?;
        let start = region.cast::<u8>();
        // SAFETY: the plan's places lie inside the region.
        let table = unsafe { start.add(plan.table) }.cast::<Bank>();
        // SAFETY: as above.
        let words = unsafe { start.add(plan.words) }.cast::<u64>();
        // SAFETY: as above.
        let first = unsafe { start.add(plan.first) };
        // SAFETY: (1) the region is writable (caller); (2) the plan aligned the place and left room for one bank.
        unsafe { table.write(None) };
        // SAFETY: (1), (2) as above, for `count` words.
        unsafe { words.write_bytes(0, plan.count) };
        // SAFETY: (1) the bank was just written; (2) nothing else uses the region as long as this lives (caller), and no
        // block has this place, because the frames end before it.
        let table: &'static mut [Bank] = unsafe { core::slice::from_mut(&mut *table.as_ptr()) };
        // SAFETY: (1), (2) as above, for the words.
        let words: &'static mut [u64] =
            unsafe { core::slice::from_raw_parts_mut(words.as_ptr(), plan.count) };
        let mut banks = Banks::new(table);
        banks.add(plan.frames)?;
        // SAFETY: the frames are the region's memory, which nothing else uses (caller); the engine is new.
        let source = unsafe { Frames::new(Engine::new(banks, words)?) };
        let address = plan.frames.first().start(Frames::<Rows64>::FRAME_SIZE).ok_or(RegionError::BadRange)?;
        let length = plan.frames.count() * Self::FRAME as u64;
        // SAFETY: so many bytes from `first` on lie in the region, which is valid as long as this lives (caller).
        let map = unsafe { DirectMap::new(first, PhysAddr::new(address.value()), length) };
        // SAFETY: the map shows exactly these frames.
        self.inner = map.and_then(|map| unsafe { Pages::new(source, map, plan.frames) });
        if self.inner.is_some() { Ok(()) } else { Err(RegionError::BadRange) }
    }
}

impl Figures for RegionPages {
    /// In bytes; what the region's metadata takes is not counted. O(1).
    fn usage(&self) -> Usage {
        self.inner.as_ref().map_or(Usage::new(1, 0, 0), Figures::usage)
    }

    /// In bytes. O(rows).
    fn fragmentation(&self) -> Fragmentation {
        self.inner.as_ref().map_or(Fragmentation::default(), Figures::fragmentation)
    }

    /// For a request of so many bytes. O(rows).
    fn unusable(&self, units: u64) -> Ratio {
        self.inner.as_ref().map_or(Ratio::default(), |inner| inner.unusable(units))
    }
}

impl CheckInvariants for RegionPages {
    /// Those of the engine.
    fn check_invariants(&self) -> Result<(), Violation> {
        self.inner.as_ref().map_or(Ok(()), CheckInvariants::check_invariants)
    }
}
