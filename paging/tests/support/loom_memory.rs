//! Frames under loom: each has two words, which are loom's atomics, and a cell that a walk reads and the frame source writes, so
//! that a table that is freed under a walk is reported as a race.

use core::ptr::NonNull;

use hectare_core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use hectare_core::{
    AllocError, Frame, FrameRequest, FrameRun, FreeError, Page, PageRun, PageSize, Permissions, PhysAddr,
    SharedFrameSource,
};
use hectare_paging::format::Toy;
use hectare_paging::table::TableWindow;
use hectare_paging::{Attributes, Format, Touched};
use loom::cell::UnsafeCell;

/// The first frame.
pub(crate) const BASE: u64 = 0x100;
/// What fresh frames hold: a leaf that maps what nobody asked for.
pub(crate) const GARBAGE: u64 = 0xBAD;

struct Cells {
    words: [AtomicU64; 2],
    used: UnsafeCell<()>,
}

/// Frames, what they hold, and which are free.
pub(crate) struct Memory<const FRAMES: usize> {
    cells: [Cells; FRAMES],
    free: AtomicU32,
}

// SAFETY: loom's cells report unordered accesses.
unsafe impl<const FRAMES: usize> Sync for Memory<FRAMES> {}

impl<const FRAMES: usize> Memory<FRAMES> {
    pub(crate) fn new() -> &'static Self {
        let cells = core::array::from_fn(|_| Cells {
            words: [AtomicU64::new(0), AtomicU64::new(0)],
            used: UnsafeCell::new(()),
        });
        Box::leak(Box::new(Self { cells, free: AtomicU32::new((1 << FRAMES) - 1) }))
    }

    /// The words of a table, which is in use as long as anybody may look at them.
    pub(crate) fn words(&self, table: u64) -> Option<&[AtomicU64; 2]> {
        let cells = self.cells.get(usize::try_from((table >> 12).checked_sub(BASE)?).ok()?)?;
        cells.used.with(|_| ());
        Some(&cells.words)
    }
}

// SAFETY: the words of a frame, always the same; loom's atomics stand for entries.
unsafe impl<const FRAMES: usize> TableWindow for &'static Memory<FRAMES> {
    fn table(&self, address: PhysAddr, _bytes: u64) -> Option<NonNull<u8>> {
        Some(NonNull::from(self.words(address.value())?).cast())
    }
}

// SAFETY: a frame is whoever's bit it took; loom's cells report it where that is not so.
unsafe impl<const FRAMES: usize> SharedFrameSource for Memory<FRAMES> {
    const FRAME_SIZE: PageSize = PageSize::SIZE_4K;

    fn allocate_frames(&self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        assert_eq!(request.count.get(), 1);
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            if free == 0 {
                return Err(AllocError::OutOfMemory);
            }
            let rest = free & (free - 1);
            match self.free.compare_exchange(free, rest, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => free = now,
            }
        }
        let nth = free.trailing_zeros();
        let cells = &self.cells[nth as usize];
        cells.used.with_mut(|_| ());
        cells.words.iter().for_each(|word| word.store(leaf(GARBAGE), Ordering::Relaxed));
        Ok(FrameRun::new(Frame::new(BASE + u64::from(nth)), 1).unwrap())
    }

    unsafe fn free_frames(&self, run: FrameRun) -> Result<(), FreeError> {
        let nth = usize::try_from(run.first().number() - BASE).unwrap();
        self.cells[nth].used.with_mut(|_| ());
        self.free.fetch_or(1 << nth, Ordering::Release);
        Ok(())
    }
}

pub(crate) fn user() -> Attributes {
    Attributes::new(Permissions::READ | Permissions::WRITE)
}

/// A leaf of a base page.
pub(crate) fn leaf(frame: u64) -> u64 {
    Toy::<2, 1, 0>::leaf(PhysAddr::new(frame << 12), user(), Touched::DIRTY, 0).unwrap()
}

pub(crate) fn pages(first: u64, count: u64) -> PageRun {
    PageRun::new(Page::new(first), count).unwrap()
}
