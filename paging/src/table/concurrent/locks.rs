//! One lock a table, in words beside the tables: a table is nothing but entries, so its lock is found by its address.
//!
//! ```text
//!   0 ──try_lock──► LOCKED ──unlock──► 0
//!   (new table) ──► LOCKED ──abandon──► STRAY        unlinked: whoever came too late looks again from the root
//! ```
#![expect(unsafe_code, reason = "declares an unsafe trait; wraps a frame source")]

use hectare_core::sync::atomic::AtomicU32;
use hectare_core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use hectare_core::{AllocError, FrameRequest, FrameRun, FrameSource, FreeError, PageSize, PhysAddr};

/// Where the lock words of tables are: beside a kernel's other records of frames, or in a slice ([`TableWords`]).
///
/// # Safety
/// The word of an address is the same one each time, as long as any table uses it; tables that exist at the same time
/// have different words; and nobody else changes the word of an address that a table is at.
pub unsafe trait TableLocks {
    /// The word of the table at `table`; `None` if there is none, and no table may be there.
    fn word(&self, table: PhysAddr) -> Option<&AtomicU32>;
}

// SAFETY: the inner one keeps the promises.
unsafe impl<L: TableLocks + ?Sized> TableLocks for &L {
    #[inline]
    fn word(&self, table: PhysAddr) -> Option<&AtomicU32> {
        (**self).word(table)
    }
}

/// A word for each frame of a range of physical memory: 4 bytes a frame.
///
/// Tables that were made one after the other often lie in neighbouring frames, and belong to different CPUs. So in whole groups of
/// 256 frames the words of neighbours are 128 bytes apart, which no cache fetches as one.
#[derive(Debug)]
pub struct TableWords<'m> {
    first: u64,
    log2: u8,
    words: &'m [AtomicU32],
}

impl<'m> TableWords<'m> {
    /// Words for the tables in frames of `frame` bytes from `first` on.
    ///
    /// # Safety
    /// All tables whose locks are found here lie in one physical memory, whose frames are handed out once at a time.
    /// (Tables of any number of address spaces, then, of one machine.)
    #[must_use]
    pub unsafe fn new(first: PhysAddr, frame: PageSize, words: &'m mut [AtomicU32]) -> Self {
        Self { first: first.value() >> frame.log2(), log2: frame.log2(), words }
    }
}

// SAFETY: (1) a fixed slice, borrowed exclusively by `new`; (2) tables that exist at the same time lie in different frames
// (promise of `new`; a table is aligned to its size, and takes a frame at least).
unsafe impl TableLocks for TableWords<'_> {
    #[inline]
    fn word(&self, table: PhysAddr) -> Option<&AtomicU32> {
        let nth = (table.value() >> self.log2).checked_sub(self.first)?;
        let nth = usize::try_from(nth).ok()?;
        self.words.get(if nth < self.words.len() & !0xFF { spread(nth) } else { nth })
    }
}

/// A permutation of each group of 256: the lowest three bits become the highest ones.
#[inline(always)]
const fn spread(nth: usize) -> usize {
    nth & !0xFF | ((nth & 0x07) << 5) | ((nth & 0xF8) >> 3)
}

const FREE: u32 = 0;
const LOCKED: u32 = 1;
const STRAY: u32 = 2;

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Somebody has it.
    Busy,
    /// The table is linked nowhere any more.
    Stray,
}

/// What is done with a lock word.
pub(super) trait Lock {
    fn try_lock(&self) -> Result<(), Refused>;
    /// Gives the table to the next one, who sees everything done under the lock.
    fn unlock(&self);
    /// Gives it up for ever.
    fn abandon(&self);
    /// Nobody uses the table: it is not locked.
    fn reset(&self);
    /// Waits a little.
    fn is_busy(&self) -> bool;
}

impl Lock for AtomicU32 {
    #[inline]
    fn try_lock(&self) -> Result<(), Refused> {
        match self.compare_exchange(FREE, LOCKED, Acquire, Acquire) {
            Ok(_) => Ok(()),
            Err(STRAY) => Err(Refused::Stray),
            Err(_) => Err(Refused::Busy),
        }
    }

    #[inline]
    fn unlock(&self) {
        self.store(FREE, if cfg!(hectare_plant = "shared_unlock_relaxed") { Relaxed } else { Release });
    }

    fn abandon(&self) {
        self.store(if cfg!(hectare_plant = "shared_no_stray") { FREE } else { STRAY }, Release);
    }

    fn reset(&self) {
        self.store(FREE, Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.load(Relaxed) == LOCKED
    }
}

/// A source whose tables are locked from the beginning: as soon as one is linked others can find it, and the transaction
/// that made it is not done yet.
pub(super) struct Born<'s, S, L> {
    pub(super) source: S,
    pub(super) locks: &'s L,
}

// SAFETY: the inner source keeps the promises; what it handed out for which there is no lock goes back at once.
unsafe impl<S: FrameSource, L: TableLocks> FrameSource for Born<'_, S, L> {
    const FRAME_SIZE: PageSize = S::FRAME_SIZE;
    const TAKES_PARTS: bool = S::TAKES_PARTS;

    fn allocate_frames(&mut self, request: FrameRequest) -> Result<FrameRun, AllocError> {
        let run = self.source.allocate_frames(request)?;
        let word = run.first().start(S::FRAME_SIZE).and_then(|table| self.locks.word(table));
        if let Some(word) = word {
            // Seen by whoever finds the table through its link, which is a release store.
            word.store(if cfg!(hectare_plant = "shared_born_free") { FREE } else { LOCKED }, Relaxed);
            return Ok(run);
        }
        // SAFETY: just taken, and not used.
        let _ = unsafe { self.source.free_frames(run) };
        Err(AllocError::OutOfMemory)
    }

    unsafe fn free_frames(&mut self, run: FrameRun) -> Result<(), FreeError> {
        if let Some(word) = run.first().start(S::FRAME_SIZE).and_then(|table| self.locks.word(table)) {
            word.reset();
        }
        // SAFETY: the caller's promise.
        unsafe { self.source.free_frames(run) }
    }
}
