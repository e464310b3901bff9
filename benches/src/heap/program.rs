//! A heap trace, decoded beforehand into what the timed loop reads: 16 bytes an operation.
//!
//! ```text
//!   slot      which object                      u32
//!   size      new size (allocate, reallocate)   u32
//!   old       size until now (free, reallocate) u32
//!   kind      allocate, zeroed, free, resize    u8
//!   align     log2 of the alignment             u8
//! ```
//! Carrying the old size in the operation keeps the loop's own table at one pointer for each object.

use core::alloc::Layout;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// Takes a block.
    Allocate,
    /// Takes a block of zeros.
    AllocateZeroed,
    /// Gives the block back.
    Free,
    /// Makes the block larger or smaller, at the same place or another.
    Reallocate,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The object, below [`Program::slots`].
    pub slot: u32,
    /// Bytes from now on; not 0 except for `Free`.
    pub size: u32,
    /// Bytes until now; not 0 for `Free` and `Reallocate`.
    pub old: u32,
    /// What to do.
    pub kind: OpKind,
    /// The base-2 logarithm of the alignment, 4 to 31.
    pub align_log2: u8,
}

impl Op {
    /// The layout of the block from now on.
    #[inline(always)]
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.with_size(self.size)
    }

    /// The layout of the block until now.
    #[inline(always)]
    #[must_use]
    pub fn old_layout(&self) -> Layout {
        self.with_size(self.old)
    }

    #[inline(always)]
    fn with_size(&self, size: u32) -> Layout {
        // SAFETY: the alignment is a power of two (align_log2 < 32), and a u32 rounded up to it stays below isize::MAX.
        unsafe { Layout::from_size_align_unchecked(size as usize, 1 << self.align_log2) }
    }
}

/// A valid sequence of operations: only live objects are freed or resized, only dead ones allocated. Built by
/// [`Builder`], which checks that.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    ops: Vec<Op>,
    survivors: Vec<Op>,
    slots: usize,
    peak_bytes: u64,
    peak_at: usize,
    /// From which operation on which thread was at work.
    switches: Vec<(usize, u32)>,
}

impl Program {
    /// The trace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operations, in order. Every slot is below [`slots`](Self::slots).
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// What frees the objects that are live at the end.
    #[must_use]
    pub fn survivors(&self) -> &[Op] {
        &self.survivors
    }

    /// The number of object slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The highest sum of live requested bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// The operation after which that peak is first reached.
    #[must_use]
    pub fn peak_at(&self) -> usize {
        self.peak_at
    }

    /// The number of recorded threads, at least 1.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.switches.iter().map(|switch| switch.1 as usize + 1).max().unwrap_or(1)
    }

    /// The thread of each operation, in order; below [`threads`](Self::threads).
    pub fn thread_of_each(&self) -> impl Iterator<Item = usize> {
        let mut rest = self.switches.iter().peekable();
        let mut thread = 0;
        (0..self.ops.len()).map(move |index| {
            while let Some(switch) = rest.next_if(|switch| switch.0 <= index) {
                thread = switch.1 as usize;
            }
            thread
        })
    }

    /// An arena of so many `times` the peak and 16 MiB. The timed passes use twice the peak.
    #[must_use]
    pub fn arena_bytes(&self, times: usize) -> usize {
        (times * usize::try_from(self.peak_bytes).unwrap_or(usize::MAX / 64) + (16 << 20))
            .next_multiple_of(4096)
    }
}

/// Why an operation cannot follow those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The object is not live (free, resize) or is live already (allocate).
    State,
    /// The size exceeds 2 GiB, or the alignment 2 GiB.
    Size,
}

/// Builds a [`Program`], keeping track of what is live.
#[derive(Debug, Default)]
pub struct Builder {
    ops: Vec<Op>,
    /// Size and alignment of each live object; size 0 = dead.
    live: Vec<(u32, u8)>,
    bytes: u64,
    peak_bytes: u64,
    peak_at: usize,
    switches: Vec<(usize, u32)>,
}

impl Builder {
    /// The operations that follow were made by this thread; before the first call, by thread 0.
    pub fn thread(&mut self, thread: u32) {
        self.switches.push((self.ops.len(), thread));
    }

    /// Adds an allocation. Size 0 counts as 1, an alignment below 16 as 16, as C's `malloc` has it.
    ///
    /// # Errors
    /// If the object is live already, or size or alignment exceed 2 GiB.
    pub fn allocate(&mut self, slot: u32, size: u64, align_log2: u8, zeroed: bool) -> Result<(), Invalid> {
        let (size, align_log2) = (checked_size(size)?, align_log2.max(4));
        if align_log2 > 31 {
            return Err(Invalid::Size);
        }
        let index = slot as usize;
        if index >= self.live.len() {
            self.live.resize(index + 1, (0, 0));
        }
        if self.live[index].0 != 0 {
            return Err(Invalid::State);
        }
        self.live[index] = (size, align_log2);
        let kind = if zeroed { OpKind::AllocateZeroed } else { OpKind::Allocate };
        self.push(Op { slot, size, old: 0, kind, align_log2 });
        Ok(())
    }

    /// Adds the free of a live object.
    ///
    /// # Errors
    /// If it is not live.
    pub fn free(&mut self, slot: u32) -> Result<(), Invalid> {
        let (old, align_log2) = self.state(slot)?;
        self.live[slot as usize] = (0, 0);
        self.push(Op { slot, size: 0, old, kind: OpKind::Free, align_log2 });
        Ok(())
    }

    /// Adds a change of size of a live object.
    ///
    /// # Errors
    /// If it is not live, or the size exceeds 2 GiB.
    pub fn reallocate(&mut self, slot: u32, size: u64) -> Result<(), Invalid> {
        let (old, align_log2) = self.state(slot)?;
        let size = checked_size(size)?;
        self.live[slot as usize].0 = size;
        self.push(Op { slot, size, old, kind: OpKind::Reallocate, align_log2 });
        Ok(())
    }

    /// The program.
    #[must_use]
    pub fn finish(self, name: &str) -> Program {
        let survivor = |(slot, &(old, align_log2)): (usize, &(u32, u8))| Op {
            slot: u32::try_from(slot).unwrap_or(u32::MAX),
            size: 0,
            old,
            kind: OpKind::Free,
            align_log2,
        };
        Program {
            name: name.to_owned(),
            survivors: self.live.iter().enumerate().filter(|(_, state)| state.0 != 0).map(survivor).collect(),
            ops: self.ops,
            slots: self.live.len(),
            peak_bytes: self.peak_bytes,
            peak_at: self.peak_at,
            switches: self.switches,
        }
    }

    fn state(&self, slot: u32) -> Result<(u32, u8), Invalid> {
        self.live.get(slot as usize).copied().filter(|state| state.0 != 0).ok_or(Invalid::State)
    }

    fn push(&mut self, op: Op) {
        self.bytes = self.bytes + u64::from(op.size) - u64::from(op.old);
        if self.bytes > self.peak_bytes {
            (self.peak_bytes, self.peak_at) = (self.bytes, self.ops.len());
        }
        self.ops.push(op);
    }
}

fn checked_size(size: u64) -> Result<u32, Invalid> {
    match u32::try_from(size.max(1)) {
        Ok(size) if size <= 1 << 31 => Ok(size),
        _ => Err(Invalid::Size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builder_tracks_sizes_peak_and_survivors_and_refuses_nonsense() {
        let mut b = Builder::default();
        b.allocate(0, 0, 0, false).unwrap();
        b.allocate(1, 100, 6, true).unwrap();
        assert_eq!(b.allocate(1, 5, 0, false), Err(Invalid::State));
        assert_eq!(b.free(2), Err(Invalid::State));
        assert_eq!(b.reallocate(1, 1 << 40), Err(Invalid::Size));
        assert_eq!(b.allocate(2, 1, 32, false), Err(Invalid::Size));
        b.reallocate(1, 300).unwrap();
        b.free(0).unwrap();
        assert_eq!(b.free(0), Err(Invalid::State));
        let p = b.finish("x");
        assert_eq!((p.slots(), p.peak_bytes(), p.peak_at()), (2, 301, 2));
        assert_eq!(p.ops()[0].layout(), Layout::from_size_align(1, 16).unwrap());
        assert_eq!(p.ops()[2].old_layout(), Layout::from_size_align(100, 64).unwrap());
        assert_eq!(p.survivors(), [Op { slot: 1, size: 0, old: 300, kind: OpKind::Free, align_log2: 6 }]);
        assert_eq!(size_of::<Op>(), 16);
    }
}
