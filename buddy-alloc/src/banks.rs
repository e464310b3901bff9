//! Which frames are managed: disjoint runs, read from a firmware's memory map.
#![forbid(unsafe_code)]

use core::num::NonZero;
use core::ops::Range;

use hectare_core::{Frame, FrameRun, RegionError};

/// A place for one bank.
pub type Bank = Option<FrameRun>;

/// The banks of memory that an engine manages, in a table of the caller's.
///
/// ```
/// use hectare_buddy::Banks;
/// use hectare_core::{Frame, FrameRun};
///
/// let run = |first, count| FrameRun::new(Frame::new(first), count).unwrap();
/// let mut table = [None; 8];
/// let mut banks = Banks::new(&mut table);
/// banks.add(run(0x100, 0x100))?; // entries of the map may touch and overlap
/// banks.add(run(0x180, 0x200))?;
/// banks.remove(run(0x140, 0x10))?; // reserved wins: the kernel's image
/// assert!(banks.iter().eq([run(0x100, 0x40), run(0x150, 0x230)]));
/// # Ok::<(), hectare_core::RegionError>(())
/// ```
///
/// # Invariants
/// * the runs are sorted, apart from each other (one that would touch another is joined to it), and come first
/// * `last` is one of them, or empty
#[derive(Debug)]
pub struct Banks<'m> {
    table: &'m mut [Bank],
    used: usize,
    frames: u64,
    /// The bank of the last question: first frame and length.
    last: (u64, u64),
}

impl<'m> Banks<'m> {
    /// No bank yet; at most as many as the table is long.
    #[must_use]
    pub const fn new(table: &'m mut [Bank]) -> Self {
        Self { table, used: 0, frames: 0, last: (0, 0) }
    }

    /// Adds frames; those that it has already are no error. O(banks).
    ///
    /// # Errors
    /// [`RegionError::TableFull`] iff one bank more would be needed than the table holds. Nothing is changed then.
    pub fn add(&mut self, run: FrameRun) -> Result<(), RegionError> {
        let (mut start, mut end) = (run.first().number(), run.end().number());
        let before = self.count(|bank| bank.end().number() < start);
        let joined = self.count(|bank| bank.first().number() <= end) - before;
        for bank in self.iter().skip(before).take(joined) {
            start = start.min(bank.first().number());
            end = end.max(bank.end().number());
        }
        let whole = FrameRun::new(Frame::new(start), end - start);
        self.replace(before, joined, [whole, None])
    }

    /// Removes frames; those that it does not have are no error. O(banks).
    ///
    /// # Errors
    /// [`RegionError::TableFull`] iff one bank more would be needed than the table holds. Nothing is changed then.
    pub fn remove(&mut self, run: FrameRun) -> Result<(), RegionError> {
        let (start, end) = (run.first().number(), run.end().number());
        let before = self.count(|bank| bank.end().number() <= start);
        let touched = self.count(|bank| bank.first().number() < end) - before;
        let mut inside = self.iter().skip(before).take(touched);
        let (lowest, highest) = match (inside.next(), inside.last()) {
            (None, _) => return Ok(()),
            (Some(lowest), highest) => (lowest, highest.unwrap_or(lowest)),
        };
        let left = start.checked_sub(lowest.first().number()).and_then(|n| FrameRun::new(lowest.first(), n));
        let right = highest.end().number().checked_sub(end).and_then(|n| FrameRun::new(run.end(), n));
        self.replace(before, touched, if left.is_some() { [left, right] } else { [right, None] })
    }

    /// Keeps the frames of one range and removes all others: the part of a memory map that is one zone. O(banks).
    pub fn keep(&mut self, range: Range<Frame>) {
        let (start, end) = (range.start.number(), range.end.number().max(range.start.number()));
        let below = FrameRun::new(Frame::new(0), start);
        let above = FrameRun::new(Frame::new(end), u64::MAX - end);
        for run in below.into_iter().chain(above) {
            let removed = self.remove(run);
            debug_assert!(removed.is_ok(), "cutting at one side needs no bank more");
        }
    }

    /// Removes `count` frames and returns them: memory for the engine's own words, say. The last ones of the highest
    /// bank that has so many, so that low memory is left for devices; `None` if no bank has. O(banks).
    #[must_use]
    pub fn carve(&mut self, count: NonZero<u64>) -> Option<FrameRun> {
        let bank = self.iter().rev().find(|bank| bank.count() >= count.get())?;
        let run = FrameRun::new(bank.end().checked_sub(count.get())?, count.get())?;
        self.remove(run).ok()?;
        Some(run)
    }

    /// The banks, in order.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = FrameRun> + '_ {
        self.table.iter().take(self.used).flatten().copied()
    }

    /// Bank number `number`.
    pub(crate) fn get(&self, number: usize) -> Bank {
        self.table.get(number).copied().flatten().filter(|_| number < self.used)
    }

    /// How many frames.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// From the first frame to the last, holes included; `None` without a bank.
    #[must_use]
    pub fn span(&self) -> Option<FrameRun> {
        let (first, last) = (self.iter().next()?, self.iter().next_back()?);
        FrameRun::new(first.first(), last.end().number() - first.first().number())
    }

    /// Whether one bank holds all these frames. O(1) in the bank of the last question, else O(banks).
    #[must_use]
    pub fn hold(&self, first: Frame, count: u64) -> bool {
        self.find(first, count).is_some()
    }

    /// As [`hold`](Self::hold), and remembers the bank.
    #[inline]
    pub(crate) fn manage(&mut self, first: Frame, count: u64) -> bool {
        if self.last_holds(first, count) {
            return true;
        }
        let Some(bank) = self.find(first, count) else { return false };
        self.last = (bank.first().number(), bank.count());
        true
    }

    /// Whether the bank of the last question holds all these frames. O(1).
    #[inline(always)]
    pub(crate) fn last_holds(&self, first: Frame, count: u64) -> bool {
        let (start, length) = self.last;
        let distance = first.number().wrapping_sub(start);
        distance < length && count <= length - distance
    }

    #[inline(never)]
    fn find(&self, first: Frame, count: u64) -> Option<FrameRun> {
        let run = FrameRun::new(first, count)?;
        self.iter().find(|bank| bank.contains(run))
    }

    /// How many banks from the lowest on are so.
    fn count(&self, so: impl Fn(&FrameRun) -> bool) -> usize {
        self.iter().take_while(so).count()
    }

    /// Puts one or two banks in the place of `old` ones from number `at` on.
    fn replace(&mut self, at: usize, old: usize, new: [Bank; 2]) -> Result<(), RegionError> {
        let length = new.iter().flatten().count();
        let used = self.used - old + length;
        if used > self.table.len() {
            return Err(RegionError::TableFull);
        }
        if let Some(tail) = self.table.get_mut(at..self.used.max(used)) {
            // The banks behind the place move up or down.
            if length > old {
                tail.rotate_right(length - old);
            } else {
                tail.rotate_left(old - length);
            }
            for (place, bank) in tail.iter_mut().zip(new).take(length) {
                *place = bank;
            }
        }
        self.used = used;
        self.frames = self.iter().map(FrameRun::count).sum();
        self.last = (0, 0);
        Ok(())
    }
}
