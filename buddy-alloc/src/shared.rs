//! The engine for many CPUs: atomic words, no lock on the common path, one compare-and-swap for a block.
#![forbid(unsafe_code)]

use core::fmt;

use hectare_core::sync::atomic::AtomicU64;
use hectare_core::{AllocError, CpuPin, Frame, FrameRun, FreeError, Order, RegionError};

use crate::banks::Banks;
use crate::geometry::{Geometry, Rows64};

mod bits;
mod check;
mod figures;
mod give;
mod group;
mod hand;
mod hints;
mod layout;
mod recover;
mod rows;
mod runs;
mod stock;
mod take;
mod words;

#[cfg(feature = "counted")]
pub use words::read_modify_writes;

pub use layout::words_for;

use hand::Hand;
use rows::Rows;

/// A buddy system over page frames that many CPUs share (`&self`).
///
/// It deals in numbers only and never touches a frame. Blocks are 2^k frames at multiples of 2^k, counted from frame 0,
/// and are given back by any run, whole blocks or parts; geometries that keep where blocks begin do not do so here.
///
/// ```text
///  level 2   ··01                                1 bit = 4096 frames
///              │└─────────────────────┐
///  level 1   0011···01              1111···11             1 bit = 64 frames
///              ││    └───────┐       full: its frames stand in the row above, or are allocated as a whole
///  level 0   0110···10    1111···11                       1 bit = 1 frame, set = free
///            speaks for
///            itself        slot 3: row 17, stock 0010···1 free frames that its CPU took out of row 17
/// ```
/// **Each free frame is one bit in one word**: of its own row, of the row above that has its whole row as a unit, and so
/// on, or in the stock of one slot. Who clears the bit by a compare-and-swap has the frames; no other word needs to
/// change. A row that is full has *nothing to take*: its frames stand further up. So
/// * a block of 2^k frames lies in one word, whatever k is, and is taken by one compare-and-swap: there is never a half
///   of a claim to undo;
/// * who takes a unit to split it finds the row below full, where nobody else takes anything, and writes by a plain
///   store what remains;
/// * of those who give frames back to a row, exactly one sees it become full: that one holds 64 frames then and carries
///   them up as a unit, by one compare-and-swap more.
///
/// A CPU with a slot works in a *tree* of its own (a row of level 1 and what is below) and takes a whole row as its
/// *stock*: single frames come from there, and go back to it, by loads and stores alone.
///
/// ```
/// use core::sync::atomic::AtomicU64;
/// use hectare_buddy::{Banks, Rows64, Shared, shared};
/// use hectare_core::{AllocError, CpuPin, Frame, FrameRun, FreeError, Order};
/// # let pin = hectare_testkit::stand_in::ThreadSlots::new(2);
///
/// // 32 MiB in frames of 4 KiB. `pin` tells which CPU this is; here two threads are the CPUs.
/// let memory = FrameRun::new(Frame::new(0), 8192).expect("not empty");
/// let mut table = [None; 1];
/// let mut banks = Banks::new(&mut table);
/// banks.add(memory)?;
/// let words = shared::words_for::<Rows64>(memory, pin.slots()).expect("not too many");
/// let words: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
/// let frames = Shared::<_, Rows64>::new(banks, &words, pin)?;
///
/// let huge = Order::new(9).expect("below 64");
/// std::thread::scope(|cpus| {
///     for _ in 0..2 {
///         cpus.spawn(|| {
///             let page = frames.allocate_order(Order::ZERO).expect("nearly all are free");
///             let block = frames.allocate_order(huge).expect("two of 16 at most are taken");
///             assert_eq!(frames.free_order(page, Order::ZERO), Ok(())); // into this CPU's stock
///             assert_eq!(frames.free_order(block, huge), Ok(()));
///         });
///     }
/// });
/// // What lies in stocks is not lost: 16 huge blocks are there again, and a 17th never was.
/// for _ in 0..16 {
///     frames.allocate_order(huge)?;
/// }
/// assert_eq!(frames.allocate_order(huge), Err(AllocError::OutOfMemory));
/// frames.free_order(Frame::new(512), huge)?;
/// assert_eq!(frames.free_order(Frame::new(512), huge), Err(FreeError::NotAllocated)); // freed twice: refused
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Invariants
/// While nobody calls:
/// * a set bit of a row that is not full is a free frame or unit inside a bank
/// * a unit's bit is set only if the row below is full; a row is full iff it is free as a whole or allocated as a whole
/// * no frame stands in a row and in a stock; a stock is of a row in a tree of its slot
/// * the frames counted as free are those that the bits say
///
/// At any time the first two hold for all words that are not being carried from one to another.
///
/// # Refusals
/// While nobody else calls, and [`CpuPin::request_drain`] reaches every slot, a request is refused iff no run of the
/// frames serves it. Slots that it does not reach may keep up to 64 frames each (less than two rows) from others.
///
/// While others call, a request is refused only after it saw each row without such a run, at a time when nobody was
/// carrying frames from word to word: splitting or merging a block never lets another caller fail. What others allocate
/// and free *between* its looks can hide a run from it, as can what other CPUs have in stock. If a CPU is stopped
/// in the middle of a move of some tens of instructions, others wait for it before they refuse, but not for
/// ever: they then refuse what they did not find. Requests for counts other than 2^k frames and
/// [`allocate_at`](Self::allocate_at) take a lock when they look across blocks; all else is free of locks.
///
/// # Bad frees
/// A free of frames that are free already, of frames outside the banks, or misaligned, is refused and changes
/// nothing, in release builds too, also while others use other frames. It does not know who took a frame: a free of
/// what somebody else holds is taken. Two frees of the *same* frames that race with each other are one good and
/// one bad free at once, and both may be taken if one of them comes from the CPU that has the row in stock. So may a bad
/// free of several rows at the moment in which another CPU carries one of them up, and a part of a bad free that is no
/// single block.
///
/// # Complexity
/// In the usual case O(levels). A CPU that gives frames of one row back, one after the other, has that row as its stock from
/// the second on, if the row lies in its tree or in nobody's. A refusal is O(rows of the level where the order lives, and
/// above). Memory use is [`words_for`] words: 0.142 bytes a frame of a gibibyte, and 128 bytes a slot.
pub struct Shared<'m, C, G: Geometry = Rows64> {
    rows: Rows<'m, G>,
    pin: C,
}

impl<'m, C: CpuPin, G: Geometry> Shared<'m, C, G> {
    /// An engine over these banks, all free. `words` need not be cleared; it needs
    /// [`words_for`]`(banks.span(), pin.slots())` words. Without a slot, and for slots beyond
    /// those that there is room for, callers take the shared path. O(words).
    ///
    /// # Errors
    /// [`RegionError::TooSmall`] iff there is no frame or `words` is too short, [`RegionError::TooLarge`] iff the span
    /// from the first to the last frame is too long for this machine or geometry.
    pub fn new(banks: Banks<'m>, words: &'m [AtomicU64], pin: C) -> Result<Self, RegionError> {
        let span = banks.span().ok_or(RegionError::TooSmall)?;
        let rows = Rows::all_allocated(span, banks, words, pin.slots())?;
        let mut hand = rows.hand(None);
        for bank in rows.banks.iter() {
            rows.give_held(&mut hand, rows.offset(bank.first()), bank.count());
        }
        rows.forget_counts();
        Ok(Self { rows, pin })
    }

    /// The frames it manages.
    #[must_use]
    pub fn banks(&self) -> &Banks<'m> {
        &self.rows.banks
    }

    /// How many frames it manages. O(1).
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.rows.banks.frames()
    }

    /// How many frames are free: exact while nobody calls. O(slots).
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.capacity().saturating_sub(self.rows.used())
    }

    /// Takes a block of 2^k frames at a multiple of 2^k. Their contents are unspecified.
    ///
    /// # Errors
    /// [`AllocError::TooLarge`] if it exceeds all frames together, [`AllocError::OutOfMemory`] if fewer frames are free,
    /// else [`AllocError::Fragmented`]; see [what a refusal means](Self#refusals).
    #[inline]
    pub fn allocate_order(&self, order: Order) -> Result<Frame, AllocError> {
        let order = u32::from(order.get());
        // Paths of their own, where the order is a constant.
        if order == 0 {
            if let Some(offset) = self.pin.with(|slot| self.rows.take_frame(slot)) {
                return Ok(self.rows.frame(offset));
            }
        }
        if order == G::HUGE {
            if let Some(offset) = self.pin.with(|slot| self.rows.take_huge(slot)) {
                return Ok(self.rows.frame(offset));
            }
        }
        match self.find(order, 1 << order, |hand| self.rows.take(hand, order)) {
            Some(offset) => Ok(self.rows.frame(offset)),
            None => Err(self.refuse(1 << order)),
        }
    }

    /// Gives back 2^k frames at a multiple of 2^k: a block, a part of one, or several that fill it. For k below 6 (rows of
    /// 64) one compare-and-swap, or none if the row is the caller's stock.
    ///
    /// # Errors
    /// [`FreeError::Misaligned`] if the frame is no multiple of 2^k, [`FreeError::Foreign`] if a frame lies outside the
    /// banks, [`FreeError::NotAllocated`] if one is free already. Nothing is changed then; see
    /// [what is seen](Self#bad-frees).
    #[inline]
    pub fn free_order(&self, frame: Frame, order: Order) -> Result<(), FreeError> {
        if !frame.is_aligned(order) {
            return Err(FreeError::Misaligned);
        }
        if !self.rows.manages(frame, order.frames()) {
            return Err(FreeError::Foreign);
        }
        let offset = self.rows.offset(frame);
        if order == Order::ZERO && self.pin.with(|slot| self.rows.give_frame(slot, offset)) {
            return Ok(());
        }
        let huge = u32::from(order.get()) == G::HUGE;
        if huge && self.pin.with(|slot| self.rows.give_huge(slot, offset)) {
            return Ok(());
        }
        self.pin.with(|slot| self.rows.give(&mut self.rows.hand(slot), offset, order.get().into()))
    }

    /// Gives back any run of allocated frames: a whole one, a part, several side by side.
    ///
    /// # Errors
    /// As [`free_order`](Self::free_order).
    pub fn free(&self, run: FrameRun) -> Result<(), FreeError> {
        if !self.rows.manages(run.first(), run.count()) {
            return Err(FreeError::Foreign);
        }
        let offset = self.rows.offset(run.first());
        self.pin.with(|slot| {
            let mut hand = self.rows.hand(slot);
            if !self.rows.is_block(offset, run.count())
                && !self.rows.is_run_allocated(&hand, offset, run.count())
            {
                return Err(FreeError::NotAllocated);
            }
            self.rows.give_run(&mut hand, offset, run.count())
        })
    }

    /// Puts the stock of this CPU back, so that others can have it: before it idles, or goes offline.
    pub fn drain(&self) {
        self.pin.with(|slot| self.rows.put_back(&mut self.rows.hand(slot)));
    }

    /// Searches for so many frames; if there are none, again with what other CPUs have in stock.
    #[inline]
    fn find<T>(&self, order: u32, frames: u64, search: impl Fn(&mut Hand) -> Option<T>) -> Option<T> {
        let searched = self.pin.with(|slot| {
            let mut hand = self.rows.hand(slot);
            let Some(found) = search(&mut hand) else { return Err(hand) };
            self.rows.count_taken(&hand, frames);
            Ok(found)
        });
        match searched {
            Ok(found) => Some(found),
            Err(hand) => self.find_after_drain(&hand, order, frames, search),
        }
    }

    #[cold]
    fn find_after_drain<T>(
        &self,
        before: &Hand,
        order: u32,
        frames: u64,
        search: impl Fn(&mut Hand) -> Option<T>,
    ) -> Option<T> {
        let rows = &self.rows;
        if rows.stocks_could_serve(order) {
            self.pin.request_drain(&|slot| {
                rows.put_back(&mut rows.hand(Some(slot)));
            });
        } else if cfg!(hectare_plant = "shared_no_drain")
            || before.seen.is_some() && rows.moves(before) == before.seen
        {
            // (The planted fault: somebody else has drained them, and nobody looks again.)
            // And nobody has put one back since.
            return None;
        }
        self.pin.with(|slot| {
            let mut hand = rows.hand(slot);
            let found = search(&mut hand)?;
            rows.count_taken(&hand, frames);
            Some(found)
        })
    }

    /// Why a request for so many frames cannot be served; it is counted.
    #[cold]
    fn refuse(&self, frames: u64) -> AllocError {
        let short = frames > self.free_frames();
        self.pin.with(|slot| self.rows.count_refused(&self.rows.hand(slot), short));
        if !short {
            AllocError::Fragmented
        } else if frames > self.capacity() {
            AllocError::TooLarge
        } else {
            AllocError::OutOfMemory
        }
    }
}

impl<C, G: Geometry> fmt::Debug for Shared<'_, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("rows", &self.rows.layout).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(hectare_loom)))]
mod tests;
